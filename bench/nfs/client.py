"""A small blocking NFS client: walks a tree and keeps the calls that a load is made of."""

from __future__ import annotations

import os
import socket
import struct

from storeboot.nfs.xdr import Reader, Writer

PROGRAM, MOUNT = 100003, 100005
_AUTH_SYS = struct.pack(">II", 0, 5) + b"bench\0\0\0" + struct.pack(">III", 0, 0, 0)
HEADER = 40 + len(_AUTH_SYS)  # bytes of a call before its arguments
SEQUENCE_ARGUMENTS = HEADER + 16  # offset in a compound with an empty tag
# What Linux asks for with each LOOKUP: type, change, size, fsid, fileid, mode, links, owner, …
ATTRIBUTES = frozenset({1, 3, 4, 8, 20, 33, 35, 36, 37, 41, 45, 47, 52, 53, 55})


def call(program: int, version: int, procedure: int, arguments: bytes) -> bytes:
    """A call with AUTH_SYS, without its record mark; the transaction id is 0."""
    words = struct.pack(">6I", 0, 0, 2, program, version, procedure)
    return words + struct.pack(">II", 1, len(_AUTH_SYS)) + _AUTH_SYS + bytes(8) + arguments


def opaque(data: bytes) -> bytes:
    writer = Writer()
    writer.opaque(data)
    return writer.getvalue()


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def bitmap(bits: frozenset[int]) -> bytes:
    writer = Writer()
    writer.bitmap(bits)
    return writer.getvalue()


class Connection:
    """One TCP connection on which calls are made one by one."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30, (source, 0))
        self._stream = self._socket.makefile("rb")

    def ask(self, record: bytes) -> Reader:
        """The results of a call that is accepted, its status included."""
        self._socket.sendall(words(0x8000_0000 | len(record)) + record)
        mark = int.from_bytes(self._stream.read(4))
        reader = Reader(self._stream.read(mark & 0x7FFF_FFFF))
        header = [reader.uint32() for _ in range(6)]
        if header[1:] != [1, 0, 0, 0, 0]:
            raise ConnectionError(f"not an accepted reply: {header}")
        return reader

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def expect_ok(reader: Reader) -> Reader:
    status = reader.uint32()
    if status:
        raise ConnectionError(f"status {status}")
    return reader


class V3:
    """Calls of NFSv3."""

    sequence_offset = 0

    def __init__(self, port: int, mount_port: int, path: str) -> None:
        mount = Connection(mount_port)
        reader = expect_ok(mount.ask(call(MOUNT, 3, 1, opaque(path.encode()))))
        mount.close()
        self.root = reader.opaque(64)
        self.connection = Connection(port)

    def lookup(self, directory: bytes, name: bytes) -> bytes:
        return expect_ok(self.connection.ask(self.lookup_call(directory, name))).opaque(64)

    def lookup_call(self, directory: bytes, name: bytes) -> bytes:
        return call(PROGRAM, 3, 3, opaque(directory) + opaque(name))

    def getattr_call(self, handle: bytes) -> bytes:
        return call(PROGRAM, 3, 1, opaque(handle))

    def access_call(self, handle: bytes) -> bytes:
        return call(PROGRAM, 3, 4, opaque(handle) + words(0x2D))

    def read_call(self, handle: bytes, offset: int, count: int) -> bytes:
        return call(PROGRAM, 3, 6, opaque(handle) + struct.pack(">QI", offset, count))

    def sessions(self, _count: int) -> bytes:
        """NFSv3 has none."""
        return b""


class V4:
    """Calls of NFSv4.2; each has a SEQUENCE with room for a session, a slot and its number."""

    sequence_offset = SEQUENCE_ARGUMENTS

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self.connection = Connection(port)
        self._session = self._new_session(self.connection)
        self._sequence = 0
        handle = None
        for name in path.strip("/").split("/"):
            handle = self.lookup(handle, name.encode())
        assert handle is not None
        self.root = handle

    def _compound(self, count: int, operations: bytes) -> bytes:
        return call(PROGRAM, 4, 1, words(0, 2, count) + operations)

    def _new_session(self, connection: Connection) -> bytes:
        exchange = words(42) + os.urandom(8) + opaque(os.urandom(16)) + words(0, 0, 0)
        reader = expect_ok(connection.ask(self._compound(1, exchange)))
        reader.take(16)
        client, sequence = reader.take(8), reader.uint32()
        channel = words(0, 1049620, 1049480, 7584, 8, 64, 0)
        create = words(43) + client + words(sequence, 0) + channel * 2 + words(0, 1, 0)
        reader = expect_ok(connection.ask(self._compound(1, create)))
        reader.take(16)
        session = reader.take(16)
        # On the last slot, so that a load starts on fresh ones.
        complete = words(53) + session + words(1, 63, 63, 0) + words(58, 0)
        expect_ok(connection.ask(self._compound(2, complete)))
        return session

    def _in_session(self, count: int, operations: bytes) -> bytes:
        return self._compound(count + 1, words(53) + bytes(16) + words(0, 0, 0, 0) + operations)

    def lookup(self, directory: bytes | None, name: bytes) -> bytes:
        self._sequence += 1
        first = words(24) if directory is None else words(22) + opaque(directory)
        sequence = words(53) + self._session + words(self._sequence, 0, 0, 0)
        operations = sequence + first + words(15) + opaque(name) + words(10)
        reader = expect_ok(self.connection.ask(self._compound(4, operations)))
        reader.take(8 + 8 + 36 + 8 + 8 + 8)
        return reader.opaque(128)

    def lookup_call(self, directory: bytes, name: bytes) -> bytes:
        operations = words(22) + opaque(directory) + words(15) + opaque(name) + words(10, 9)
        return self._in_session(4, operations + bitmap(ATTRIBUTES))

    def getattr_call(self, handle: bytes) -> bytes:
        return self._in_session(2, words(22) + opaque(handle) + words(9) + bitmap(ATTRIBUTES))

    def access_call(self, handle: bytes) -> bytes:
        operations = words(22) + opaque(handle) + words(3, 0x2D, 9)
        return self._in_session(3, operations + bitmap(frozenset({3, 4, 52, 53})))

    def read_call(self, handle: bytes, offset: int, count: int) -> bytes:
        position = struct.pack(">QI", offset, count)
        return self._in_session(2, words(22) + opaque(handle) + words(25) + bytes(16) + position)

    def sessions(self, count: int) -> bytes:
        """New sessions of new clients, each from the address that the load uses it from."""
        made = []
        for number in range(count):
            connection = Connection(self._port, f"127.0.1.{1 + number}")
            made.append(self._new_session(connection))
            connection.close()
        return b"".join(made)
