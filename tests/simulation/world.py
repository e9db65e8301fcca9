"""Time, chance and wires: everything that a real network and clock would decide, under one seed."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Protocol

_CLIENT, _SERVER = 0, 1
_NEVER = float("inf")


class World:
    """A clock that jumps from event to event, and the dice for everything."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.now = 0.0  # seconds
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def after(self, delay: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), action))

    def run(self, until: float, done: Callable[[], bool]) -> None:
        """Let things happen until all is done, or nothing is left to happen, or it is too late."""
        while self._events and not done():
            self.now, _, action = heapq.heappop(self._events)
            if self.now > until:
                return
            action()


class End(Protocol):
    """One end of a link."""

    def receive(self, link: Link, data: bytes) -> None: ...

    def lost(self, link: Link) -> None: ...


class Link:
    """A TCP connection: bytes in their order, in other pieces than they were sent, and late."""

    def __init__(self, world: World, client: End, server: End) -> None:
        self._world = world
        self._ends = (client, server)
        self._arrival = [0.0, 0.0]
        self._open = [True, True]
        self.silent = False  # a machine without power: nothing arrives, and nobody is told

    def to_server(self, data: bytes) -> None:
        self._send(_SERVER, data)

    def to_client(self, data: bytes) -> None:
        self._send(_CLIENT, data)

    @property
    def is_whole(self) -> bool:
        """Return whether nothing has happened to it, so that what is sent arrives."""
        return all(self._open) and not self.silent and _NEVER not in self._arrival

    def cut(self) -> None:
        """Both ends hear of it, each in its time; what is on the way is lost."""
        dice = self._world.dice
        if not self.silent:
            self._world.after(dice.uniform(0, 0.2), lambda: self._lose(_CLIENT))
        self._world.after(dice.uniform(0, 300 if self.silent else 0.2), lambda: self._lose(_SERVER))
        self._arrival = [_NEVER] * 2

    def _send(self, end: int, data: bytes) -> None:
        if self._arrival[end] == _NEVER or self.silent:
            return
        dice = self._world.dice
        for piece in self._pieces(data):
            at = max(self._arrival[end], self._world.now + dice.uniform(0.0001, 0.01))
            self._arrival[end] = at
            self._world.after(at - self._world.now, partial(self._arrive, end, piece))

    def _pieces(self, data: bytes) -> list[bytes]:
        dice = self._world.dice
        if dice.random() < 0.9:
            return [data]
        at = dice.randrange(len(data) + 1)
        return [piece for piece in (data[:at], data[at:]) if piece]

    def _arrive(self, end: int, piece: bytes) -> None:
        if self._open[end] and not self.silent and self._arrival[end] != _NEVER:
            self._ends[end].receive(self, piece)

    def _lose(self, end: int) -> None:
        if self._open[end]:
            self._open[end] = False
            self._ends[end].lost(self)
