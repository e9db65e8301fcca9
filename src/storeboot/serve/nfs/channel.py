"""The socket between the process that accepts NFS connections and one worker process.

Messages are JSON objects, in order, some with one file descriptor (SCM_RIGHTS). Neither end ever
waits for the other: what does not fit into the socket stays in a queue.
"""

from __future__ import annotations

import array
import asyncio
import errno
import json
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MESSAGE = 64 << 10  # bytes of one message
RETRY = 0.1  # seconds until a send is tried again if no event will report room
_NO_ROOM = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
Words = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is told before its first connection, over a socket that only it has."""

    key: str  # hexadecimal
    service: str
    lease: int  # seconds
    reply_memory: int  # bytes
    store: str
    state_directory: str
    verbose: bool = False


class Channel:
    """One end of the socket, on the running event loop."""

    def __init__(
        self,
        end: socket.socket,
        on_words: Callable[[Words, int | None], None],
        on_end: Callable[[], None],
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `on_words` with each message, and its file descriptor if it has one.

        `on_end` is called once, when the other end is closed, and `on_room` when the queue has been
        sent.
        """
        end.setblocking(False)
        self._socket = end
        self._on_words = on_words
        self._on_end = on_end
        self._on_room = on_room
        self._unsaid: deque[tuple[bytes, int | None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._loop.add_reader(end, self._hear)

    @property
    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""
        return len(self._unsaid)

    def say(self, words: Words, descriptor: int | None = None) -> None:
        """Send a message. The channel owns the file descriptor, and closes it when it was sent."""
        self._unsaid.append((json.dumps(words).encode(), descriptor))
        if len(self._unsaid) == 1:
            self._say_all()

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._retry is not None:
            self._retry.cancel()
        self._socket.close()
        while self._unsaid:
            _close(self._unsaid.popleft()[1])

    def _say_all(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._loop.remove_writer(self._socket)
        while self._unsaid:
            message, descriptor = self._unsaid[0]
            try:
                if descriptor is None:
                    self._socket.send(message)
                else:
                    socket.send_fds(self._socket, [message], [descriptor])
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket, self._say_all)
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._retry = self._loop.call_later(RETRY, self._say_all)
                return  # otherwise the other end is gone, and `_hear` will notice
            self._unsaid.popleft()
            _close(descriptor)
        self._on_room()

    def _hear(self) -> None:
        try:
            message, descriptor = _receive(self._socket)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message, descriptor = b"", None
        if message:
            self._on_words(json.loads(message), descriptor)
        else:
            self._loop.remove_reader(self._socket)
            self._on_end()


def _receive(end: socket.socket) -> tuple[bytes, int | None]:
    """Receive a message with at most one file descriptor.

    socket.recv_fds cannot set close-on-exec.
    """
    space = socket.CMSG_LEN(array.array("i").itemsize)
    message, extra, _flags, _address = end.recvmsg(MESSAGE, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, descriptors[0] if descriptors else None


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        with suppress(OSError):
            os.close(descriptor)
