"""The view that each host was given last: the folder `given`, with a file for each host.

A machine that mounts through the alias shows no token, so the server has to know which system the
machine is booting. That is not always what the host boots next: a deployment, a rollback or the
beginning of a test may come between script and mount, and a choice in the menu is for one boot.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from storeboot import files

log = structlog.get_logger()
BOOTING = 600.0  # seconds from a script to its mount, at most: downloads, DHCP, a slow switch
MAX_KNOWN = 10_000  # hosts that are remembered; all others are in their files


@dataclass(frozen=True, slots=True)
class Given:
    """A host was given the script or the initrd of a view."""

    view: str  # 32 hexadecimal digits
    at: float  # seconds since 1970
    is_own: bool  # whether one of the host's own addresses has asked for it
    is_fetched: bool = False  # whether the initrd was fetched, and not only the script

    def yields(self, other: Given) -> bool:
        """Return whether a later one replaces this one.

        While a machine boots at the host's own address, nobody at another address changes what it
        is about to mount: anyone can ask for a script in a host's name.
        """
        return other.is_own or not self.is_own or other.at > self.at + BOOTING

    def holds(self, now: float) -> bool:
        """Return whether the host's machine may still mount this view.

        A script that somebody else has asked for, and from which nothing followed, was not for the
        host's machine.
        """
        return self.is_own or self.is_fetched or now <= self.at + BOOTING


class GivenViews:
    """What every host was given. Any thread may call.

    A file is written only if the view is another one than before: a room that boots the same again
    causes no write.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._known: OrderedDict[str, Given] = OrderedDict()
        self._unwritten: set[str] = set()

    def note(self, host: str, given: Given) -> None:
        """Remember what a host is given now, unless it is for another machine. Blocking.

        If the disk cannot be written, it is forgotten with this process; the boot goes on.
        """
        before = self.of(host)
        with self._guard:
            before = self._known.get(host, before)
            if before is not None and not before.yields(given):
                return
            self._put(host, given)
            if before is None or _lasting(before) != _lasting(given):
                self._unwritten.add(host)
            is_written = host not in self._unwritten
        if not is_written:
            self._write(host)

    def of(self, host: str) -> Given | None:
        """Return what the host was given last, or None. This reads at most one small file."""
        with self._guard:
            known = self._known.get(host)
        return known if known is not None else self._read(host)

    def forget(self, host: str) -> None:
        """Forget a host that was removed, also on disk."""
        with self._guard:
            self._known.pop(host, None)
        files.remove(self._file(host))

    def take_over(self, other: GivenViews) -> None:
        """Remember what another one remembers, as after a reload of the configuration."""
        with other._guard:
            known, unwritten = other._known.copy(), other._unwritten.copy()
        with self._guard:
            self._known, self._unwritten = known, unwritten

    def _file(self, host: str) -> Path:
        return self._directory / f"{host}.json"

    def _put(self, host: str, given: Given) -> None:
        self._known[host] = given
        self._known.move_to_end(host)
        while len(self._known) > MAX_KNOWN:
            self._unwritten.discard(self._known.popitem(last=False)[0])

    def _write(self, host: str) -> None:
        """Write what the host was given last, one host after another so that the newest stays."""
        with self._writing:
            with self._guard:
                given = self._known.get(host)
                if given is None or host not in self._unwritten:
                    return  # somebody else has written it
            try:
                files.make_directory(self._directory)
                files.write(self._file(host), json.dumps(asdict(given)))
            except OSError as error:
                log.error("alias.not_kept", host=host, view=given.view, reason=error.strerror)
                return
            with self._guard:
                if self._known.get(host) is given:
                    self._unwritten.discard(host)

    def _read(self, host: str) -> Given | None:
        file = self._file(host)
        try:
            said = json.loads(file.read_bytes())
            view = bytes.fromhex(said["view"]).hex()
            return Given(view, float(said["at"]), bool(said["is_own"]), bool(said["is_fetched"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("alias.unreadable", file=str(file), reason=str(error))
            return None


def _lasting(given: Given) -> tuple[str, bool]:
    """Return what must outlive this process: the view, and whether it holds for longer than a
    while."""
    return given.view, given.is_own or given.is_fetched
