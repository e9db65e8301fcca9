"""A host's ssh key: created once and kept by the server, so that it is the same at every boot."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot import files
from storeboot.deploy.damage import is_private_key
from storeboot.errors import DamagedError
from storeboot.process import run

SECONDS = 60.0  # for a program that takes a moment
_INSTALL_SSH = "install OpenSSH, or set ssh_host_key = false"


def host_key(file: Path, host: str) -> str:
    """Return the private key, in the format of sshd(8); create it with ssh-keygen on first use.

    The key is on disk before a machine gets it. A damaged key is not replaced, because others
    recognise the machine by it.
    """
    with files.reported(f"host {host} has no ssh key"):
        if not file.exists():
            files.make_directory(file.parent, 0o700)
            files.link_new(file, _made(host))  # another request may be first; then its key counts
        data = file.read_bytes()
    if not is_private_key(data):
        raise DamagedError(
            f"{file} is damaged", "restore it from a backup, or remove it: a new one is made then"
        )
    return data.decode()


def _made(host: str) -> bytes:
    with TemporaryDirectory(prefix="storeboot-") as place:
        made = Path(place, "key")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{host}", "-f", made],
            hint=_INSTALL_SSH, seconds=SECONDS)  # fmt: skip
        return made.read_bytes()
