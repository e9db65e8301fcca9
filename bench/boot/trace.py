"""Turns a recorded NFS conversation of a machine into one that can be replayed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OPEN, _SEQUENCE, _RECLAIM_COMPLETE = 18, 53, 58
_STATUS = 24  # offset of a compound's status in an accepted reply
_NFS = 100003
_SAME = 8  # bytes that a session's id and its stateids have in common
_RESULTS = 80  # offset of what follows the results of SEQUENCE, in a reply with an empty tag
_STATE = 16  # bytes of a stateid; its first four are a sequence number
_LAST = 1 << 31


@dataclass(frozen=True, slots=True)
class Call:
    """A call of NFSv3, or a compound that begins with SEQUENCE."""

    record: bytes
    reply: bytes
    sequence: int  # offset of the SEQUENCE arguments, 0 in NFSv3
    operations: int  # offset of the first operation


def records(file: Path) -> Iterator[bytes]:
    """Yield the RPC records of one direction of a connection."""
    data = file.read_bytes()
    at, record = 0, b""
    while at + 4 <= len(data):
        mark = int.from_bytes(data[at : at + 4])
        size = mark & (_LAST - 1)
        record += data[at + 4 : at + 4 + size]
        at += 4 + size
        if mark & _LAST:
            yield record
            record = b""


def replayable(directory: Path) -> tuple[bytes, int]:
    """Return a relay's recording in the form that `replay.c` reads, and its number of calls.

    The server is one whose stateids begin like its session ids, as NFS-Ganesha's do: so they are
    found in replies without knowing every operation's results.
    """
    said: list[bytes] = []
    told: dict[bytes, bytes] = {}
    for file in sorted(directory.glob("*.up")):
        if file.read_bytes()[8:16] == struct.pack(">II", 0, 2):  # a call of RPC version 2
            said += list(records(file))
            told |= {record[:4]: record for record in records(file.with_suffix(".down"))}
    calls = [call for record in said if (call := _call(record, told.get(record[:4]))) is not None]
    return _numbered(calls), len(calls)


def _call(record: bytes, reply: bytes | None) -> Call | None:
    """Return a call, or None if the replay makes it itself (mount, sessions) or if it has no reply."""
    if reply is None or record[12:16] != struct.pack(">I", _NFS):
        return None
    if record[16:20] == struct.pack(">I", 3):
        return Call(record, reply, 0, 0) if record[20:24] != bytes(4) else None
    if _first(record) != _SEQUENCE or _completes(record):
        return None
    return Call(record, reply, _operations(record) + 4, _operations(record))


def _numbered(calls: list[Call]) -> bytes:
    """Number every stateid that a reply contains; return the calls, with these numbers in them."""
    numbers: dict[bytes, int] = {}
    out = []
    for call in calls:
        used = [
            (offset, number)
            for other, number in numbers.items()
            if (offset := call.record.find(other, call.sequence + 32)) >= 0
        ]
        found = []
        if _opens(call):
            at = call.reply.index(call.record[call.sequence :][:_SAME], _RESULTS)
            number = numbers.setdefault(call.reply[at : at + _STATE - 4], len(numbers))
            found.append((at - 4, number))
        words = [struct.pack(">I", len(call.record)), call.record,
                 struct.pack(">I", call.sequence), call.reply[_STATUS : _STATUS + 4],
                 _places([(offset - 4, number) for offset, number in used]), _places(found)]  # fmt: skip
        out.append(b"".join(words))
    return b"".join(out)


def _places(places: list[tuple[int, int]]) -> bytes:
    return struct.pack(
        f">{1 + 2 * len(places)}I", len(places), *(n for pair in places for n in pair)
    )


def _operations(record: bytes) -> int:
    """Return the offset of the first operation of a COMPOUND call."""
    at = 24
    for _ in range(2):  # credential and verifier
        at += 8 + (int.from_bytes(record[at + 4 : at + 8]) + 3 & ~3)
    tag = int.from_bytes(record[at : at + 4])
    return at + 4 + (tag + 3 & ~3) + 8


def _first(record: bytes) -> int:
    """Return the first operation of a call, or -1 if it is no COMPOUND."""
    if record[12:16] != struct.pack(">I", 100003) or record[20:24] != struct.pack(">I", 1):
        return -1
    at = _operations(record)
    return int.from_bytes(record[at : at + 4])


def _completes(record: bytes) -> bool:
    at = _operations(record) + 4 + 32
    return record[at : at + 4] == struct.pack(">I", _RECLAIM_COMPLETE)


def _opens(call: Call) -> bool:
    """Return whether OPEN follows SEQUENCE and PUTFH."""
    if not call.sequence:
        return False
    at = call.operations + 4 + 32 + 4
    size = int.from_bytes(call.record[at : at + 4])
    at += 4 + (size + 3 & ~3)
    return call.record[at : at + 4] == struct.pack(">I", _OPEN)
