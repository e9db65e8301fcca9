"""Finds boots: recorded, waiting to be recorded, or remembered while the database is unreachable.

All methods block, except `spoke`, `heard` and `is_replay`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TypeVar

from storeboot.hosts.boot import Boot
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.recorder import Recorder
from storeboot.service.current import Current

T = TypeVar("T")
MAX_KNOWN = 10_000  # boots that are remembered


class KnownBoots:
    """All boots of the server. Any thread may ask."""

    def __init__(self, current: Current, recorder: Recorder) -> None:
        self._current = current
        self._recorder = recorder
        self._guard = threading.Lock()
        self._known: OrderedDict[str, Boot] = OrderedDict()
        self._nonces: OrderedDict[str, str] = OrderedDict()  # boots by nonce
        self._spoken: OrderedDict[str, float] = OrderedDict()  # by boot, when it was last

    def boot(self, identity: str) -> Boot | None:
        """Return the boot with that id, or None; from memory while the database is unreachable.

        Raises DatabaseAwayError if the boot is not in memory, because it may still exist.
        """
        waiting = next((each for each in self._recorder.boots() if each.id == identity), None)
        if waiting is not None:
            return waiting
        try:
            found = self._current.inventory.boots.get(identity)
        except DatabaseAwayError:
            with self._guard:
                known = self._known.get(identity)
            if known is None:
                raise
            return known
        if found is not None:
            self._remember(found)
        return found

    def spoken_for(self, identity: str) -> Boot | None:
        """Return a boot whose agent key was shown, or None if there is no such boot.

        While the database is unreachable an unknown boot is accepted, because the key is right.
        """
        try:
            return self.boot(identity)
        except DatabaseAwayError:
            return Boot(identity, "", "", "", "", "", "", 0.0, 0.0)

    def host_of(self, identity: str) -> str:
        found = self.boot(identity)
        return found.host if found is not None else ""

    def latest(self, host: str) -> Boot | None:
        """Return the host's newest boot, or None, as far as is known."""
        waiting = [each for each in self._recorder.boots() if each.host == host]
        if waiting:
            return waiting[-1]
        try:
            return self._current.inventory.boots.latest(host)
        except DatabaseAwayError:
            with self._guard:
                of_host = [each for each in self._known.values() if each.host == host]
            return max(of_host, key=lambda each: each.began_at, default=None)

    def has_spoken(self, host: str, since: float) -> bool:
        """Return whether the latest boot of the host was heard of since a time, from its agent."""
        boot = self.latest(host)
        return boot is not None and boot.seen_at > since

    def stages_of(self, identity: str) -> set[str]:
        """Return the stages that a boot has passed; nothing while the database is unreachable."""
        try:
            return {event.stage for event in self._current.inventory.boots.events_of(identity)}
        except DatabaseAwayError:
            return set()

    def begin(self, boot: Boot) -> tuple[Boot, Future[bool] | None]:
        """Begin a boot; return it, or the boot that the same nonce has begun before.

        The second value tells when the boot is written; it is None if it is written already. The
        boot's view is held from now on.
        """
        try:
            written = self._current.inventory.boots.by_nonce(boot.nonce)
        except DatabaseAwayError:
            written = None
        if written is not None:
            self._remember(written)
            return written, None
        with self._guard:
            known = self._known.get(self._nonces.get(boot.nonce, ""), boot)
            self._put(known)
            # Record it again, in case it was dropped to make room for others: this is the boot that
            # the machine is told of.
            return known, self._recorder.begin(known)

    def _remember(self, boot: Boot) -> None:
        with self._guard:
            self._put(boot)

    def _put(self, boot: Boot) -> None:
        _keep(self._known, boot.id, boot)
        _keep(self._nonces, boot.nonce, boot.id)

    def spoke(self, identity: str, at: float) -> None:
        """Note that the boot's machine has carried on, and when, in seconds since 1970.

        Call this, `heard` and `is_replay` in the event loop only.
        """
        _keep(self._spoken, identity, at)

    def heard(self) -> dict[str, float]:
        """Return when the machine of each boot has spoken last, since the server started.

        Unlike `Boot.seen_at`, this does not count an open NFS connection, which outlives a machine
        without power by minutes.
        """
        return dict(self._spoken)

    def is_replay(self, boot: Boot) -> bool:
        """Return whether the machine has carried on, so that its first answer must not be repeated.

        That answer contains keys.
        """
        return boot.spoken or boot.id in self._spoken


def _keep(table: OrderedDict[str, T], key: str, value: T) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > MAX_KNOWN:
        table.popitem(last=False)
