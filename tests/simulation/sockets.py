"""Sockets, disk and event loop of a simulated process, around the real connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simulation.model import SECRET, data
from simulation.world import Link, World
from storeboot.nfs.xdr import FileSlice


class SimLoop:
    """`Loop` of the connections of one process; each event comes when the world says so."""

    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        return self._world.now

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        self._world.after(0, partial(callback, *arguments))

    def add_reader(self, fd: Any, callback: Callable[..., object], *arguments: Any) -> None:
        fd.on_bytes = lambda: callback(*arguments)
        fd.look()

    def remove_reader(self, fd: Any) -> bool:
        fd.on_bytes = None
        return True

    def add_writer(self, fd: Any, callback: Callable[..., object], *arguments: Any) -> None:
        fd.on_room = lambda: callback(*arguments)
        fd.look()

    def remove_writer(self, fd: Any) -> bool:
        fd.on_room = None
        return True


class SimSocket:
    """The server's end of a link: the peer's bytes, and room for so many of its own.

    Room comes back as the peer reads: at once, in small pieces, or after long pauses.
    """

    def __init__(self, world: World, link: Link) -> None:
        self._world = world
        self._link = link
        dice = world.dice
        self._room = self._limit = dice.choice([800, 5000, 30_000, 1 << 20])
        self._pause = dice.choice([0.0, 0.0, 0.001, 0.02])  # seconds until the peer reads more
        self._arrived: deque[bytes] = deque()
        self._ended = False
        self._open = True
        self._looking = False
        self.on_bytes: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None

    def arrive(self, piece: bytes) -> None:
        self._arrived.append(piece)
        self.look()

    def end(self) -> None:
        """The peer has gone."""
        self._ended = True
        self.look()

    def fileno(self) -> int:
        return 1 if self._open else -1

    def recv(self, size: int) -> bytes:
        """All that has arrived, as much as one segment takes: perhaps many calls."""
        if not self._arrived:
            if self._ended:
                return b""
            raise BlockingIOError
        taken = b"".join(self._arrived)
        self._arrived.clear()
        if len(taken) > size:
            self._arrived.append(taken[size:])
        return taken[:size]

    def send(self, piece: bytes | memoryview, _flags: int = 0) -> int:
        return self._take(bytes(piece))

    def sendmsg(self, pieces: list[bytes | memoryview], _ancillary: Any, _flags: int = 0) -> int:
        return self._take(b"".join(pieces))

    def die(self) -> None:
        """Its process is gone."""
        self._open = False
        self.on_bytes = self.on_room = None

    def close(self) -> None:
        self._open = False
        self.on_bytes = self.on_room = None
        self._link.cut()

    def _take(self, piece: bytes) -> int:
        if self._ended:
            raise BrokenPipeError
        taken = piece[: self._room]
        if not taken:
            raise BlockingIOError
        self._room -= len(taken)
        assert SECRET not in taken, "a name from outside the view"
        self._link.to_client(taken)
        self._world.after(self._pause, lambda: self._read_by_peer(len(taken)))
        return len(taken)

    def _read_by_peer(self, size: int) -> None:
        self._room = min(self._limit, self._room + size)
        self.look()

    def look(self) -> None:
        """Tell of what is awaited and there, a moment later, as epoll(7) does: level-triggered."""
        if not self._looking and self._open:
            self._looking = True
            # A busy server looks late, and finds many calls in one segment.
            late = self._world.dice.choice([0.0005, 0.0005, 0.0005, 0.05])
            self._world.after(self._world.dice.uniform(0, late), self._tell)

    def _tell(self) -> None:
        self._looking = False
        if self.on_bytes is not None and (self._arrived or self._ended):
            self.on_bytes()
        if self.on_room is not None and (self._room or self._ended):
            self.on_room()
        bytes_wait = self.on_bytes is not None and (self._arrived or self._ended)
        room_waits = self.on_room is not None and (self._room or self._ended)
        if bytes_wait or room_waits:
            self.look()


@dataclass(eq=False)
class SimPending:
    """`Pending`: a result that the world brings later."""

    world: World
    value: Any = None
    done: bool = False
    gone: bool = False
    callbacks: list[Callable[[SimPending], object]] = field(default_factory=list)

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        if self.done:
            self.world.after(0, partial(callback, self))
        else:
            self.callbacks.append(callback)

    def result(self) -> Any:
        return self.value

    def cancelled(self) -> bool:
        return self.gone

    def cancel(self) -> bool:
        self.gone = True
        return True

    def finish(self, value: Any) -> None:
        if self.done or self.gone:
            return
        self.done, self.value = True, value
        for callback in self.callbacks:
            callback(self)


class SimDisk:
    """File data that is in the page cache, or comes there a while after it is fetched."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cold = world.dice.choice([0.0, 0.3])
        self._fetched: FileSlice | None = None

    def read(self, piece: FileSlice, into: memoryview) -> bool:
        if self._is_cold(piece):
            return False
        into[:] = data(piece)
        return True

    def send(self, connection: Any, piece: FileSlice) -> int | None:
        return None if self._is_cold(piece) else connection.send(data(piece))

    def fetch(self, piece: FileSlice) -> SimPending:
        self._fetched = piece
        pending = SimPending(self._world)
        self._world.after(self._world.dice.uniform(0, 0.1), lambda: pending.finish(None))
        return pending

    def _is_cold(self, piece: FileSlice) -> bool:
        assert SECRET not in piece.store_path, f"data from outside the view: {piece}"
        return piece != self._fetched and self._world.dice.random() < self._cold
