"""A host's ssh key: made once, kept by the server, the same at every boot."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot.process import run

_INSTALL_SSH = "install OpenSSH, or set ssh_host_key = false"


def host_key(file: Path, host: str) -> str:
    """The private key, as sshd(8) takes it; made by ssh-keygen when it is asked for first."""
    if not file.exists():
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with TemporaryDirectory(dir=file.parent) as place:
            made = Path(place, "key")
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{host}", "-f", made],
                hint=_INSTALL_SSH)  # fmt: skip
            with suppress(FileExistsError):  # another request was first, and its key counts
                os.link(made, file)
    return file.read_text()
