"""Finds boots: recorded, still to be recorded, or remembered while the database is away.

Blocking, except for `spoke` and `is_replay`.
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
        self._spoken: OrderedDict[str, None] = OrderedDict()

    def boot(self, identity: str) -> Boot | None:
        """The boot of that id; as it is remembered where the database is away.

        DatabaseAwayError if it is not known, and might be.
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
        """A boot that somebody has proved to speak for.

        While the database is away one may be unknown whose key is right; it is believed.
        """
        try:
            return self.boot(identity)
        except DatabaseAwayError:
            return Boot(identity, "", "", "", "", "", "", 0.0, 0.0)

    def host_of(self, identity: str) -> str:
        found = self.boot(identity)
        return found.host if found is not None else ""

    def latest(self, host: str) -> Boot | None:
        """The host's newest boot, as far as is known."""
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
        """Whether a boot of the host was heard of since: its agent speaks."""
        boot = self.latest(host)
        return boot is not None and boot.seen_at > since

    def stages_of(self, identity: str) -> set[str]:
        """What is known of a boot's way; nothing while the database is away."""
        try:
            return {event.stage for event in self._current.inventory.boots.events_of(identity)}
        except DatabaseAwayError:
            return set()

    def begin(self, boot: Boot) -> tuple[Boot, Future[bool] | None]:
        """The boot, or the one that the same nonce has begun; and what tells when it is written.

        Its view is held from here on.
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
            # Again, should it have had to make room for others: it is the one that is told of.
            return known, self._recorder.begin(known)

    def _remember(self, boot: Boot) -> None:
        with self._guard:
            self._put(boot)

    def _put(self, boot: Boot) -> None:
        _keep(self._known, boot.id, boot)
        _keep(self._nonces, boot.nonce, boot.id)

    def spoke(self, identity: str) -> None:
        """The boot's machine has gone on; called from the event loop only, as is `is_replay`."""
        _keep(self._spoken, identity, None)

    def is_replay(self, boot: Boot) -> bool:
        """Once the machine has gone on, its first answer, keys included, is not given again."""
        return boot.spoken or boot.id in self._spoken


def _keep(table: OrderedDict[str, T], key: str, value: T) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > MAX_KNOWN:
        table.popitem(last=False)
