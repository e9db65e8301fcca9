"""How dnsmasq is started: as a user that can read its own files and nothing else of ours.

There are three ways. A unit of systemd runs it for us (`link`); that is how an installed
server does it. A server that is root starts it as another user. Any other server starts it as its
own user, with three of the capabilities that the server must then have.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from storeboot import files
from storeboot.config import DhcpSection
from storeboot.dhcp.dnsmasq import Places
from storeboot.errors import CommandError, ConfigError
from storeboot.process import Child, find_program

CAPABILITIES = ("net_bind_service", "net_admin", "net_raw")
USER, FALLBACK = "dnsmasq", "nobody"  # the first is what Debian's package makes
INSTALL = "install dnsmasq (on Debian: apt-get install dnsmasq-base)"
# Where the units show dnsmasq its files, and where it keeps what it writes.
UNIT_SEES, UNIT_KEEPS = Path("/run/storeboot-dhcp"), Path("/var/lib/storeboot-dnsmasq")
KEPT = "kept"
_INSTALL_TOOLS = "install util-linux and try again"
_MODE = 0o2750  # what is put into a directory gets the directory's group
# The state directory is closed to dnsmasq's user. It is shown its part of it at another place.
_SHOW = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


class Runner(Protocol):
    """A dnsmasq that runs, here or in a unit."""

    @property
    def pid(self) -> int: ...

    def lines(self) -> AsyncIterator[str]: ...

    def send(self, number: Signals) -> None: ...

    async def stop(self, patience: float = ...) -> None: ...


@dataclass(frozen=True, slots=True)
class User:
    """Whom dnsmasq becomes."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Quarters:
    """Dnsmasq's files: `own` is where we write them, `seen` is where it sees the same ones."""

    own: Path
    seen: Path
    keeps: Path  # as it sees it
    user: User | None = None  # whose they are to be, if not ours

    @property
    def configuration(self) -> Path:
        return self.seen / "dnsmasq.conf"

    def places(self) -> Places:
        """As it sees them."""
        return Places(self.seen / "tftp", self.seen / "hosts", self.keeps / "leases")

    def prepare(self) -> None:
        """Make the directories, with the owners and modes that they need."""
        self.own.mkdir(0o750, parents=True, exist_ok=True)
        programs = self.own / "tftp"
        if programs.is_dir() and programs.stat().st_gid != self.own.stat().st_gid:
            files.remove_tree(programs)  # made before dnsmasq had a group; all of it is a copy
        programs.mkdir(0o750, exist_ok=True)
        if self.keeps == UNIT_KEEPS:
            return
        kept = self.own / KEPT
        kept.mkdir(0o750, exist_ok=True)
        before = self.own / "leases"  # where it was when dnsmasq was the same user as we
        if before.is_file():
            before.replace(kept / "leases")
        if self.user is not None:
            self._hand_over(self.user, kept)

    def leave(self) -> None:
        """Remove the place at which it saw its files. Nothing was ever mounted there for others."""
        if self.user is not None:
            with suppress(OSError):
                self.seen.rmdir()

    def _hand_over(self, user: User, kept: Path) -> None:
        """Dnsmasq may read all of it and write what it keeps."""
        for place, _, names in os.walk(self.own):
            directory = Path(place)
            if directory == kept:
                continue
            os.chown(directory, -1, user.gid)
            directory.chmod(_MODE)
            for name in names:
                os.chown(directory / name, -1, user.gid, follow_symlinks=False)
        for path in (kept, *kept.iterdir()):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
        self.seen.mkdir(0o755, parents=True, exist_ok=True)


def quarters(section: DhcpSection, directory: Path, unit: Path | None) -> Quarters:
    """Where dnsmasq's files are when it is started in the way that this process can."""
    if unit is not None:
        return Quarters(directory, UNIT_SEES, UNIT_KEEPS)
    if os.geteuid() != 0:
        return Quarters(directory, directory, directory / KEPT)
    name = hashlib.sha256(str(directory.absolute()).encode()).hexdigest()[:8]
    seen = Path(f"{UNIT_SEES}-{name}")
    return Quarters(directory, seen, seen / KEPT, find_user(section.user))


def find_user(name: str | None) -> User:
    """The user of that name; without a name the one of the distribution, or nobody."""
    for each in (name,) if name is not None else (USER, FALLBACK):
        try:
            found = pwd.getpwnam(each)
        except KeyError:
            continue
        if found.pw_uid == 0:
            raise ConfigError(f"dhcp.user is {each!r}, which is root", "name another user")
        return User(found.pw_uid, found.pw_gid)
    raise ConfigError(f"there is no user {name or USER!r}", "create it, or set dhcp.user")


async def start(section: DhcpSection, where: Quarters) -> Child:
    """Start it from this process."""
    program = section.dnsmasq or find_program("dnsmasq", INSTALL)
    argv = [*arguments(where), str(program), f"--conf-file={where.configuration}"]
    return await Child.start(argv, piped=True)


def arguments(where: Quarters) -> list[str]:
    """What goes before the command, so that it has its three capabilities and no other."""
    only = ",".join(("-all", *(f"+{name}" for name in CAPABILITIES)))
    setpriv = str(find_program("setpriv", _INSTALL_TOOLS))
    limits = [f"--inh-caps={only}", f"--ambient-caps={only}", "--no-new-privs"]
    if where.user is None:
        return [setpriv, *limits]
    unshare = str(find_program("unshare", _INSTALL_TOOLS))
    return [
        unshare, "--mount", "--propagation=private",
        "sh", "-c", _SHOW, "sh", str(where.own.absolute()), str(where.seen),
        setpriv, f"--reuid={where.user.uid}", f"--regid={where.user.gid}", "--clear-groups",
        *limits, f"--bounding-set={only}",
    ]  # fmt: skip


def require_unit(path: Path) -> None:
    """CommandError if systemd does not listen there."""
    if not path.is_socket():
        raise CommandError(
            f"{path} does not exist, so dnsmasq cannot be started",
            "systemctl enable --now storeboot-dnsmasq.socket",
        )
