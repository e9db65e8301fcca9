"""A few NFS questions over a blocking socket."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from nfs_codec import MOUNT, NFS, XID, call, marked, opaque, results
from storeboot.nfs.rpc import RecordReader
from storeboot.nfs.xdr import Reader

__all__ = ["MOUNT", "NFS", "Connection", "NfsClient"]


class Connection:
    """One TCP connection, on which calls are made one by one."""

    def __init__(self, port: int, source: str = "127.0.0.1", timeout: float = 20) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout, source_address=(source, 0)
        )
        self._records = RecordReader(4 << 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, record: bytes, xid: int = XID) -> Reader:
        """The results of a call that is accepted."""
        self.socket.sendall(marked(record))
        while True:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the server has closed the connection")
            for reply in self._records.feed(data):
                return results(reply, xid)


class NfsClient(Connection):
    """Calls of NFSv3."""

    def ask(self, program: int, version: int, procedure: int, arguments: bytes) -> Reader:
        return self.send(call(program, version, procedure, arguments))

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
