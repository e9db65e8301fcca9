"""Starts dnsmasq as a user that can read dnsmasq's own files and no others of the server.

There are three ways. A unit of systemd runs dnsmasq for the server (`link`); an installed server
does it this way. A server that runs as root starts it as another user. Any other server starts it
as its own user, with three of the capabilities that the server itself must then have.
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
USER, FALLBACK = "dnsmasq", "nobody"  # the first is the user of Debian's package
INSTALL = "install dnsmasq (on Debian: apt-get install dnsmasq-base)"
# Where dnsmasq's files appear in its unit, and where it writes its own.
UNIT_SEES, UNIT_KEEPS = Path("/run/storeboot-dhcp"), Path("/var/lib/storeboot-dnsmasq")
KEPT = "kept"
_INSTALL_TOOLS = "install util-linux and try again"
_MODE = 0o2750  # setgid: new files get the directory's group
# dnsmasq's user cannot enter the state directory. Its part of it appears at another place.
_SHOW = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


class Runner(Protocol):
    """A running dnsmasq, started by this process or by a unit."""

    @property
    def pid(self) -> int: ...

    def lines(self) -> AsyncIterator[str]: ...

    def send(self, number: Signals) -> None: ...

    async def stop(self, patience: float = ...) -> None: ...


@dataclass(frozen=True, slots=True)
class User:
    """The user that dnsmasq runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Quarters:
    """Where dnsmasq's files are.

    `own` is the directory that the server writes to; `seen` is the path of the same directory for
    dnsmasq.
    """

    own: Path
    seen: Path
    keeps: Path  # where dnsmasq writes its own files, as dnsmasq sees it
    user: User | None = None  # the files' owner, if not the server's own user

    @property
    def configuration(self) -> Path:
        return self.seen / "dnsmasq.conf"

    def places(self) -> Places:
        """Return the files' paths as dnsmasq sees them."""
        return Places(self.seen / "tftp", self.seen / "hosts", self.keeps / "leases")

    def prepare(self) -> None:
        """Create the directories, with the owners and modes that they need."""
        self.own.mkdir(0o750, parents=True, exist_ok=True)
        programs = self.own / "tftp"
        if programs.is_dir() and programs.stat().st_gid != self.own.stat().st_gid:
            files.remove_tree(programs)  # from before dnsmasq had a group; all of it is a copy
        programs.mkdir(0o750, exist_ok=True)
        if self.keeps == UNIT_KEEPS:
            return
        kept = self.own / KEPT
        kept.mkdir(0o750, exist_ok=True)
        before = self.own / "leases"  # from when dnsmasq ran as the server's own user
        if before.is_file():
            before.replace(kept / "leases")
        if self.user is not None:
            self._hand_over(self.user, kept)

    def leave(self) -> None:
        """Remove the directory at which dnsmasq saw its files. The server never mounts anything
        there."""
        if self.user is not None:
            with suppress(OSError):
                self.seen.rmdir()

    def _hand_over(self, user: User, kept: Path) -> None:
        """Let dnsmasq read all files, and write those in the directory that it keeps."""
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
    """Return where dnsmasq's files are, for the way in which this process can start it."""
    if unit is not None:
        return Quarters(directory, UNIT_SEES, UNIT_KEEPS)
    if os.geteuid() != 0:
        return Quarters(directory, directory, directory / KEPT)
    name = hashlib.sha256(str(directory.absolute()).encode()).hexdigest()[:8]
    seen = Path(f"{UNIT_SEES}-{name}")
    return Quarters(directory, seen, seen / KEPT, find_user(section.user))


def find_user(name: str | None) -> User:
    """Return the user of that name; without a name the distribution's dnsmasq user, or nobody."""
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
    """Start dnsmasq as a child of this process."""
    program = section.dnsmasq or find_program("dnsmasq", INSTALL)
    argv = [*arguments(where), str(program), f"--conf-file={where.configuration}"]
    return await Child.start(argv, piped=True)


def arguments(where: Quarters) -> list[str]:
    """Return the start of a command that gives dnsmasq its three capabilities and no others."""
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
    """Raise CommandError if systemd does not listen at this path."""
    if not path.is_socket():
        raise CommandError(
            f"{path} does not exist, so dnsmasq cannot be started",
            "systemctl enable --now storeboot-dnsmasq.socket",
        )
