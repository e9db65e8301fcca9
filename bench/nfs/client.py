"""Walks a tree as a small blocking NFS client, and keeps the calls that make up a load."""

from __future__ import annotations

import os
import struct

from integration.nfs_client import Connection
from nfs_codec import (
    MOUNT,
    NFS,
    auth_sys,
    bitmap,
    call,
    compound_arguments,
    op,
    opaque,
    words,
)
from storeboot.nfs.v3.procedures import Proc
from storeboot.nfs.v4.constants import Op
from storeboot.nfs.xdr import Reader

_CREDENTIAL = auth_sys(b"bench")
_HEADER = len(call(NFS, 3, 0, credential=_CREDENTIAL))  # bytes of a call before its arguments
SEQUENCE_ARGUMENTS = _HEADER + 16  # offset in a compound with an empty tag
# What Linux asks for with each LOOKUP: type, change, size, fsid, fileid, mode, links, owner, …
ATTRIBUTES = frozenset({1, 3, 4, 8, 20, 33, 35, 36, 37, 41, 45, 47, 52, 53, 55})
_ACCESS = words(0x2D)
_CHANNEL = words(0, 1049620, 1049480, 7584, 8, 64, 0)


def is_served(port: int) -> bool:
    """Return whether an NFS server answers a NULL there."""
    try:
        with Connection(port) as connection:
            connection.send(call(NFS, 3, Proc.NULL))
    except OSError:
        return False
    return True


def expect_ok(reader: Reader) -> Reader:
    status = reader.uint32()
    if status:
        raise ConnectionError(f"status {status}")
    return reader


def _call(program: int, version: int, procedure: int, arguments: bytes) -> bytes:
    return call(program, version, procedure, arguments, credential=_CREDENTIAL)


def _position(offset: int, count: int) -> bytes:
    return struct.pack(">QI", offset, count)


class V3:
    """Calls of NFSv3."""

    sequence_offset = 0

    def __init__(self, port: int, mount_port: int, path: str) -> None:
        with Connection(mount_port) as mount:
            reply = mount.send(_call(MOUNT, 3, 1, opaque(path.encode())))
        self.root = expect_ok(reply).opaque(64)
        self.connection = Connection(port)

    def lookup(self, directory: bytes, name: bytes) -> bytes:
        return expect_ok(self.connection.send(self.lookup_call(directory, name))).opaque(64)

    def lookup_call(self, directory: bytes, name: bytes) -> bytes:
        return _call(NFS, 3, Proc.LOOKUP, opaque(directory) + opaque(name))

    def getattr_call(self, handle: bytes) -> bytes:
        return _call(NFS, 3, Proc.GETATTR, opaque(handle))

    def access_call(self, handle: bytes) -> bytes:
        return _call(NFS, 3, Proc.ACCESS, opaque(handle) + _ACCESS)

    def read_call(self, handle: bytes, offset: int, count: int) -> bytes:
        return _call(NFS, 3, Proc.READ, opaque(handle) + _position(offset, count))

    def sessions(self, _count: int) -> bytes:
        """Return no sessions: NFSv3 has none."""
        return b""


class V4:
    """Calls of NFSv4.2; each has a SEQUENCE with room for a session, a slot and its number."""

    sequence_offset = SEQUENCE_ARGUMENTS

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self.connection = Connection(port)
        self._session = _new_session(self.connection)
        self._sequence = 0
        handle = None
        for name in path.strip("/").split("/"):
            handle = self.lookup(handle, name.encode())
        assert handle is not None
        self.root = handle

    def lookup(self, directory: bytes | None, name: bytes) -> bytes:
        self._sequence += 1
        reader = _ask(
            self.connection,
            op(Op.SEQUENCE, self._session + words(self._sequence, 0, 0, 0)),
            op(Op.PUTROOTFH) if directory is None else op(Op.PUTFH, opaque(directory)),
            op(Op.LOOKUP, opaque(name)),
            op(Op.GETFH),
        )
        reader.take(8 + 8 + 36 + 8 + 8 + 8)
        return reader.opaque(128)

    def lookup_call(self, directory: bytes, name: bytes) -> bytes:
        found = op(Op.LOOKUP, opaque(name)), op(Op.GETFH)
        return _of_handle(directory, *found, op(Op.GETATTR, bitmap(ATTRIBUTES)))

    def getattr_call(self, handle: bytes) -> bytes:
        return _of_handle(handle, op(Op.GETATTR, bitmap(ATTRIBUTES)))

    def access_call(self, handle: bytes) -> bytes:
        attributes = op(Op.GETATTR, bitmap(frozenset({3, 4, 52, 53})))
        return _of_handle(handle, op(Op.ACCESS, _ACCESS), attributes)

    def read_call(self, handle: bytes, offset: int, count: int) -> bytes:
        return _of_handle(handle, op(Op.READ, bytes(16) + _position(offset, count)))

    def sessions(self, count: int) -> bytes:
        """Return new sessions of new clients, each from the address from which the load uses it."""
        made = []
        for number in range(count):
            with Connection(self._port, f"127.0.1.{1 + number}") as connection:
                made.append(_new_session(connection))
        return b"".join(made)


def _compound(*ops: bytes) -> bytes:
    return _call(NFS, 4, 1, compound_arguments(ops))


def _ask(connection: Connection, *ops: bytes) -> Reader:
    """Make a call; return the results behind the status."""
    return expect_ok(connection.send(_compound(*ops)))


def _of_handle(handle: bytes, *ops: bytes) -> bytes:
    """Return a call with operations on a handle; its session is filled in later."""
    return _compound(op(Op.SEQUENCE, bytes(32)), op(Op.PUTFH, opaque(handle)), *ops)


def _new_session(connection: Connection) -> bytes:
    client = os.urandom(8) + opaque(os.urandom(16)) + words(0, 0, 0)
    reader = _ask(connection, op(Op.EXCHANGE_ID, client))
    reader.take(16)
    client_id, sequence = reader.take(8), reader.uint32()
    channels = words(sequence, 0) + _CHANNEL * 2 + words(0, 1, 0)
    reader = _ask(connection, op(Op.CREATE_SESSION, client_id + channels))
    reader.take(16)
    session = reader.take(16)
    # On the last slot, so that a load starts on fresh ones.
    last = op(Op.SEQUENCE, session + words(1, 63, 63, 0))
    _ask(connection, last, op(Op.RECLAIM_COMPLETE, words(0)))
    return session
