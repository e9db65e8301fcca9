"""Replies that were made once, found again by the bytes of the question.

A view never changes, so what was answered is right for ever and for everybody: the key is the call
without what belongs to one caller (transaction id, credential, and in NFSv4 the slot). Most of a
lab's questions have been asked before, by the machine at the next desk.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from struct import Struct

from storeboot.nfs.memo import Memo
from storeboot.nfs.v4.clients import Clients, Peer
from storeboot.nfs.v4.compound import Outcome
from storeboot.nfs.xdr import FileSlice, Segment

# Offsets in a call (RFC 5531 section 9) behind the record mark.
_PROCEDURE = slice(12, 24)  # program, version, procedure
_HEADER = slice(4, 28)  # and what is before them, and the flavor of the credential
_CREDENTIAL_SIZE = slice(28, 32)
_NO_VERIFIER = bytes(8)
_FIXED = 40  # bytes of a call with an empty credential
_COMPOUND = (100003).to_bytes(4, "big") + (4).to_bytes(4, "big") + (1).to_bytes(4, "big")

# Offsets in COMPOUND4args with an empty tag that begins with SEQUENCE.
_SESSION, _ECHO, _CACHED, _REST = 16, 40, 44, 48
_SLOT = Struct(">II")  # sequence id, slot id

# Offsets in a reply with its record mark: xid, and the SEQUENCE result that echoes the question.
_MARK, _BEHIND_XID, _ECHO_START, _ECHO_END = 4, 8, 48, 72


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply in pieces, between which a caller's own words go."""

    mark: bytes
    head: bytes  # between xid and the echo of session, sequence id and slot; NFSv4 only
    tail: bytes
    file: FileSlice | None
    padding: bytes

    @property
    def cost(self) -> int:
        size = len(self.head) + len(self.tail) + 300
        return size if self.file is None else size + 200 + len(self.file.relative)


class Replies:
    """The replies of one process, and how often each procedure was answered from them."""

    def __init__(self, clients: Clients, memory: int) -> None:
        self._memo: Memo[_Reply] = Memo(memory)
        self._sessions = clients.sessions
        self._counts: dict[bytes, int] = {}

    @property
    def calls(self) -> Counter[tuple[int, int, int]]:
        counts: Counter[tuple[int, int, int]] = Counter()
        for key, count in self._counts.items():
            program, version, procedure = (int.from_bytes(key[i : i + 4]) for i in (0, 4, 8))
            counts[program, version, procedure] = count
        return counts

    def known(self, record: bytes, peer: Peer) -> list[Segment] | None:
        """The reply to a call if it was made before, and nothing stands against giving it."""
        size = int.from_bytes(record[_CREDENTIAL_SIZE])
        start = _FIXED + size + (-size & 3)
        if record[start - 8 : start] != _NO_VERIFIER or size > 400:
            return None
        procedure = record[_PROCEDURE]
        if procedure != _COMPOUND:
            reply = self._memo.get(record[_HEADER] + record[start:])
            if reply is None:
                return None
            self._counts[procedure] = self._counts.get(procedure, 0) + 1
            first = reply.mark + record[:4] + reply.tail
        else:
            session = self._sessions.get(record[start + _SESSION : start + 32])
            if session is None or session is not peer.session or not session.roomy:
                return None
            reply = self._memo.get(_compound_key(record, start))
            if reply is None:
                return None
            sequence, slot = _SLOT.unpack_from(record, start + 32)
            slots = session.slots
            if slot >= len(slots) or slots[slot] + 1 != sequence or not sequence:
                return None
            slots[slot] = sequence
            self._counts[procedure] = self._counts.get(procedure, 0) + 1
            echo = record[start + _SESSION : start + _ECHO]
            first = b"".join((reply.mark, record[:4], reply.head, echo, reply.tail))
        if reply.file is None:
            return [first]
        return [first, reply.file, reply.padding]

    def keep(self, record: bytes, segments: list[Segment], outcome: Outcome) -> None:
        """Remember a reply that follows from its question alone."""
        size = int.from_bytes(record[_CREDENTIAL_SIZE])
        start = _FIXED + size + (-size & 3)
        first = segments[0]
        if record[start - 8 : start] != _NO_VERIFIER or not isinstance(first, bytes):
            return
        file, padding = None, b""
        if len(segments) == 3 and isinstance(segments[1], FileSlice):
            file, last = segments[1], segments[2]
            assert isinstance(last, bytes)
            padding = last
        elif len(segments) > 1:
            return
        if record[_PROCEDURE] != _COMPOUND:
            reply = _Reply(first[:_MARK], b"", first[_BEHIND_XID:], file, padding)
            self._memo.put(record[_HEADER] + record[start:], reply)
        elif outcome.in_session and not any(record[start : start + 4]):
            head, tail = first[_BEHIND_XID:_ECHO_START], first[_ECHO_END:]
            reply = _Reply(first[:_MARK], head, tail, file, padding)
            self._memo.put(_compound_key(record, start), reply)


def _compound_key(record: bytes, start: int) -> bytes:
    """Flavor, tag, minor version, count, whether to cache; then what is behind SEQUENCE."""
    return b"".join(
        (
            record[_HEADER],
            record[start : start + _SESSION],
            record[start + _CACHED : start + _REST],
            record[start + _REST :],
        )
    )
