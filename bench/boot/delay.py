"""Relays connections, and delays what comes back from a server, as a longer wire would.

`python -m bench.boot.delay MILLISECONDS RECORD LISTEN:PORT=SERVER:PORT …`, in a process of its own.
RECORD is a directory for what is said on each connection (N.up and N.down), or `-`.
"""

from __future__ import annotations

import itertools
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from integration.nfs_client import Connection
from nfs_codec import NFS, call

_PIECE = 1 << 18
_record_in: list[Path] = []
_connections = itertools.count()


@contextmanager
def relayed(
    milliseconds: float,
    routes: dict[tuple[str, int], tuple[str, int]],
    record: Path | None = None,
) -> Iterator[None]:
    """Relay from each place to each server."""
    words = [
        f"{here[0]}:{here[1]}={there[0]}:{there[1]}" for here, there in routes.items()
    ]  # fmt: skip
    argv = [sys.executable, "-m", "bench.boot.delay", str(milliseconds), str(record or "-"), *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the relay did not start")
            yield
        finally:
            process.kill()


def round_trip(port: int) -> float:
    """Return the milliseconds that an NFS server's NULL takes through whatever listens there."""
    connection = Connection(port)
    took = []
    for _ in range(20):
        start = time.perf_counter()
        connection.send(call(NFS, 3, 0))
        took.append((time.perf_counter() - start) * 1000)
    connection.close()
    return sorted(took)[len(took) // 2]


def _main() -> None:
    delay = float(sys.argv[1]) / 1000
    if sys.argv[2] != "-":
        _record_in.append(Path(sys.argv[2]))
    for route in sys.argv[3:]:
        here, _, there = route.partition("=")
        listener = socket.create_server(_address(here), backlog=64)
        threading.Thread(target=_accept, args=(listener, _address(there), delay)).start()
    print("ready", flush=True)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _accept(listener: socket.socket, server: tuple[str, int], delay: float) -> None:
    while True:
        client, _ = listener.accept()
        try:
            upstream = socket.create_connection(server)
        except OSError:
            # Refused here as it would be there.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            continue
        for each in (client, upstream):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = str(next(_connections))
        for way in (
            (client, upstream, 0.0, f"{name}.up"),
            (upstream, client, delay, f"{name}.down"),
        ):
            threading.Thread(target=_copy, args=way, daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket, delay: float, name: str) -> None:
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(256)
    threading.Thread(target=_release, args=(waiting, sink), daemon=True).start()
    with ExitStack() as stack:
        files = [stack.enter_context((place / name).open("wb", 0)) for place in _record_in]
        with suppress(OSError):
            while data := source.recv(_PIECE):
                for file in files:
                    file.write(data)
                waiting.put((time.monotonic() + delay, data))
    waiting.put((time.monotonic() + delay, b""))


def _release(waiting: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
    with suppress(OSError):
        while True:
            due, data = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)
    # The other side went away: take what still comes, so that its reader does not wait for ever.
    while waiting.get()[1]:
        continue


if __name__ == "__main__":
    _main()
