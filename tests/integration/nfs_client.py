"""A few NFS questions over a blocking socket."""

from __future__ import annotations

import socket
from types import TracebackType

from storeboot.nfs.rpc import RecordReader
from storeboot.nfs.xdr import Reader
from unit.nfs_tree import call, opaque

NFS, MOUNT = 100003, 100005


class NfsClient:
    """One connection; results are behind the header of an accepted reply."""

    def __init__(self, port: int, *, source: str = "127.0.0.1", timeout: float = 20) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout, source_address=(source, 0)
        )
        self._records = RecordReader(4 << 20)

    def __enter__(self) -> NfsClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def ask(self, program: int, version: int, procedure: int, arguments: bytes) -> Reader:
        record = call(program, version, procedure, arguments)
        self.socket.sendall((0x8000_0000 | len(record)).to_bytes(4) + record)
        while True:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the server has closed the connection")
            for reply in self._records.feed(data):
                reader = Reader(reply)
                assert [reader.uint32() for _ in range(6)] == [7, 1, 0, 0, 0, 0]
                return reader

    def mount(self, path: str) -> bytes | None:
        """The root's handle, or None when it is refused."""
        reply = self.ask(MOUNT, 3, 1, opaque(path.encode()))
        return None if reply.uint32() else reply.opaque(64)

    def lookup(self, handle: bytes, name: bytes) -> bytes | None:
        reply = self.ask(NFS, 3, 3, opaque(handle) + opaque(name))
        return None if reply.uint32() else reply.opaque(64)

    def read(self, handle: bytes, offset: int = 0, count: int = 1 << 20) -> bytes:
        arguments = opaque(handle) + offset.to_bytes(8) + count.to_bytes(4)
        reply = self.ask(NFS, 3, 6, arguments)
        assert reply.uint32() == 0
        reply.take(4 + 84)
        reply.take(8)
        return reply.opaque(1 << 20)
