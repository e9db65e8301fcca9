"""The cache of replies: the same call gets the same reply.

A view never changes, so a reply stays right forever and for every client. The key is the call
without the fields that belong to one caller; these are put into the cached reply each time. Most
calls of a site have been answered before, to another machine.

A call after its record mark (RFC 5531 section 9); a star marks what is the caller's own:

    offset  size  field
         0     4  * transaction id
         4     8  CALL, RPC version
        12    12  program, version, procedure
        24     4  flavor of the credential
        28     4  * size of the credential
        32        * credential, padded to a multiple of four
     ... 8  verifier: flavor NONE and no bytes; otherwise the reply is not cached
     start  arguments

The arguments of a COMPOUND that begins with SEQUENCE (RFC 8881 sections 16.2 and 18.46), counted
from `start`, and the fields of its reply, counted from the record mark:

    offset  size  argument              offset  size  result
         0     4  size of the tag: 0         0     4  record mark
         4     4  minor version              4     4  * transaction id
         8     4  count of operations        8    20  rest of the RPC header
        12     4  SEQUENCE                  28     4  status
        16    16  * session id              32     8  size of the tag: 0, count of results
        32     4  * sequence id             40     8  SEQUENCE, its status
        36     4  * slot id                 48    24  * session id, sequence id, slot id
        40     4  * highest slot id used    72        the server's slots; all other results
        44     4  whether to cache
        48        all other operations

In any other reply only the transaction id is the caller's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from struct import Struct

from storeboot.nfs.memo import Memo
from storeboot.nfs.rpc import MAX_AUTH_BODY
from storeboot.nfs.v4.clients import Clients, Peer
from storeboot.nfs.v4.compound import Outcome
from storeboot.nfs.xdr import FileSlice, Segment

# Of a call.
_HEADER = slice(4, 28)  # all before the credential but the transaction id
_PROCEDURE = slice(12, 24)
_credential_size = Struct(">28xI").unpack_from
_FIXED = 40  # bytes before the arguments of a call with an empty credential
_VERIFIER = 8  # bytes before the arguments
_NO_VERIFIER = bytes(_VERIFIER)
_COMPOUND = Struct(">III").pack(100003, 4, 1)  # program, version, procedure

# Of its arguments. The reply echoes 24 bytes of them: session id, sequence id, slot id.
_SESSION, _SLOT_AT, _ECHO_END, _CACHE, _REST = 16, 32, 40, 44, 48
_SLOT = Struct(">II")  # sequence id, slot id

# Of a reply.
_XID, _XID_END, _ECHOED, _ECHOED_END = 4, 8, 48, 72


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply in pieces; the caller's own bytes go between them."""

    mark: bytes
    head: bytes  # between transaction id and echo; empty if there is no echo
    tail: bytes
    file: FileSlice | None
    padding: bytes

    @property
    def cost(self) -> int:
        size = len(self.head) + len(self.tail) + 300
        return size if self.file is None else size + 200 + len(self.file.relative)


class Replies:
    """The cached replies of one process, and how often each procedure was answered from them."""

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

    def answer(self, record: bytes, peer: Peer) -> list[Segment] | None:
        """Answer a call from the cache, or return None if it has to be run.

        The call is counted, and uses up a sequence id of its slot, as if it were run. This handles
        only the simple case: the session that the connection used last, and a slot whose next
        sequence id this is.
        """
        if len(record) < _FIXED:
            return None
        (size,) = _credential_size(record)
        if size > MAX_AUTH_BODY:
            return None
        start = _FIXED + size + (-size & 3)
        procedure = record[_PROCEDURE]
        if procedure != _COMPOUND:
            reply = self._memo.get(record[_HEADER] + record[start - _VERIFIER :])
            if reply is None:
                return None
            self._counts[procedure] = self._counts.get(procedure, 0) + 1
            first = reply.mark + record[:4] + reply.tail
        else:
            session = self._sessions.get(record[start + _SESSION : start + _SLOT_AT])
            if session is None or session is not peer.session or not session.roomy:
                return None
            reply = self._memo.get(_compound_key(record, start))
            if reply is None:
                return None
            sequence, slot = _SLOT.unpack_from(record, start + _SLOT_AT)
            slots = session.slots
            if slot >= len(slots) or slots[slot] + 1 != sequence or not sequence:
                return None
            slots[slot] = sequence
            self._counts[procedure] = self._counts.get(procedure, 0) + 1
            echo = record[start + _SESSION : start + _ECHO_END]
            first = b"".join((reply.mark, record[:4], reply.head, echo, reply.tail))
        if reply.file is None:
            return [first]
        return [first, reply.file, reply.padding]

    def keep(self, record: bytes, segments: list[Segment], outcome: Outcome) -> None:
        """Cache a reply that depends on nothing but its call."""
        (size,) = _credential_size(record)
        start = _FIXED + size + (-size & 3)
        first = segments[0]
        if record[start - _VERIFIER : start] != _NO_VERIFIER or not isinstance(first, bytes):
            return
        file, padding = None, b""
        if len(segments) == 3 and isinstance(segments[1], FileSlice):
            file, last = segments[1], segments[2]
            assert isinstance(last, bytes)
            padding = last
        elif len(segments) > 1:
            return
        if record[_PROCEDURE] != _COMPOUND:
            reply = _Reply(first[:_XID], b"", first[_XID_END:], file, padding)
            self._memo.put(record[_HEADER] + record[start - _VERIFIER :], reply)
        elif outcome.in_session and not any(record[start : start + 4]):  # without a tag
            head, tail = first[_XID_END:_ECHOED], first[_ECHOED_END:]
            reply = _Reply(first[:_XID], head, tail, file, padding)
            self._memo.put(_compound_key(record, start), reply)


def _compound_key(record: bytes, start: int) -> bytes:
    """Return everything of a call except what is the caller's own."""
    return b"".join(
        (
            record[_HEADER],
            record[start - _VERIFIER : start + _SESSION],
            record[start + _CACHE : start + _REST],
            record[start + _REST :],
        )
    )
