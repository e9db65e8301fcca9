"""Passes each call to its program: one record in, one reply out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from storeboot.nfs import rpc
from storeboot.nfs.handle import HandleCodec
from storeboot.nfs.limits import LEASE_SECONDS, REPLY_MEMORY
from storeboot.nfs.replies import Replies
from storeboot.nfs.rpc import AcceptStat, AuthFlavor, Call
from storeboot.nfs.v3 import acl, mount, procedures
from storeboot.nfs.v3.dispatch import Request, answer
from storeboot.nfs.v4.clients import Clients, Peer
from storeboot.nfs.v4.compound import Outcome, compound
from storeboot.nfs.v4.constants import VERSION as VERSION_4
from storeboot.nfs.v4.identity import IdentityCodec
from storeboot.nfs.views import Catalogue, Lack
from storeboot.nfs.walk import Walk
from storeboot.nfs.xdr import Segment, Writer, XdrError

_VERSION = 3  # of all three programs; NFS has version 4 as well
_TABLES = {
    procedures.PROGRAM: procedures.PROCEDURES,
    mount.PROGRAM: mount.PROCEDURES,
    acl.PROGRAM: acl.PROCEDURES,
}
_PURE = Outcome(pure=True, in_session=False)
_IMPURE = Outcome(pure=False, in_session=False)


class Programs:
    """NFSv3 with MOUNT and NFSACL, and NFSv4, on one port, over one catalogue."""

    def __init__(
        self,
        key: bytes,
        service: str = "",
        clock: Callable[[], float] = lambda: 0.0,
        *,
        lease: int = LEASE_SECONDS,
        reply_memory: int = REPLY_MEMORY,
    ) -> None:
        """`service` is the address that clients mount from; `clock` returns seconds."""
        self.codec = HandleCodec(key)
        self.catalogue = Catalogue(self.codec, lease)
        self.clients = Clients(IdentityCodec(key, service), clock, lease)
        self._replies = Replies(self.clients, reply_memory)
        self._slow: Counter[tuple[int, int, int]] = Counter()

    @property
    def calls(self) -> Counter[tuple[int, int, int]]:
        """Return how often each (program, version, procedure) was called; zeros stand for unknown
        ones."""
        return self._slow + self._replies.calls

    def answer(self, record: bytes, peer: Peer, lack: Lack | None = None) -> list[Segment]:
        """Return a framed reply; `lack` is what the reply has to do without.

        A lack is not remembered, because a view that another server made may arrive here later.
        Raises RpcError if the connection must end, and NotLoadedError if the call must be repeated.
        """
        # The long way sees what a peer shows, so it answers a peer that has proved nothing yet.
        if peer.proven and lack is None:
            again = self._replies.answer(record, peer)
            if again is not None:
                return again
        try:
            call = rpc.read_call(record)
        except rpc.RpcMismatchError as error:
            self._slow[0, 0, 0] += 1
            return rpc.framed(rpc.denied_rpc_version(error.xid).segments())
        walk = Walk(self.catalogue, lack)
        try:
            results, outcome = self._reply(walk, call, peer, len(record))
        finally:
            if walk.shown:
                peer.prove()
            if walk.refusal is not None:
                peer.refuse(walk.refusal)
        if outcome.replay is not None:
            segments: list[Segment] = [call.xid.to_bytes(4, "big") + outcome.replay]
        else:
            segments = results.segments()
        segments = rpc.framed(segments)
        self._slow[self._counted(call)] += 1
        if outcome.pure and not walk.met_broken and lack is None:
            self._replies.keep(record, segments, outcome)
        return segments

    def uncount(self, record: bytes) -> None:
        """Do not count a reply that is not sent: the call will be answered, and counted, again."""
        program, version, procedure = (int.from_bytes(record[at : at + 4]) for at in (12, 16, 20))
        self._slow[program, version, procedure] -= 1

    def leave(self, peer: Peer) -> None:
        """Note that a connection has ended."""
        peer.leave(self.clients)

    def _counted(self, call: Call) -> tuple[int, int, int]:
        """Return what to count for a call. A peer must not be able to invent entries."""
        if call.program == procedures.PROGRAM and call.version == VERSION_4:
            known = call.procedure <= 1
        else:
            known = call.version == _VERSION and call.procedure in _TABLES.get(call.program, {})
        return (call.program, call.version, call.procedure) if known else (0, 0, 0)

    def _reply(self, walk: Walk, call: Call, peer: Peer, size: int) -> tuple[Writer, Outcome]:
        if call.flavor not in (AuthFlavor.NONE, AuthFlavor.SYS):
            return rpc.denied_credential(call.xid), _IMPURE
        if call.program not in _TABLES:
            return rpc.accepted(call.xid, AcceptStat.PROG_UNAVAIL), _IMPURE
        try:
            if call.version == VERSION_4 and call.program == procedures.PROGRAM:
                return self._reply_4(walk, call, peer, size)
            return self._reply_3(walk, call, peer)
        except XdrError:
            return rpc.accepted(call.xid, AcceptStat.GARBAGE_ARGS), _IMPURE

    def _reply_3(self, walk: Walk, call: Call, peer: Peer) -> tuple[Writer, Outcome]:
        if call.version != _VERSION:
            high = VERSION_4 if call.program == procedures.PROGRAM else _VERSION
            return rpc.version_mismatch(call.xid, _VERSION, high), _IMPURE
        procedure = _TABLES[call.program].get(call.procedure)
        if procedure is None:
            return rpc.accepted(call.xid, AcceptStat.PROC_UNAVAIL), _IMPURE
        request = Request(walk, call.arguments, peer.alias)
        return answer(procedure, request, call.xid), _PURE if procedure.pure else _IMPURE

    def _reply_4(self, walk: Walk, call: Call, peer: Peer, size: int) -> tuple[Writer, Outcome]:
        results = rpc.accepted(call.xid)
        match call.procedure:
            case 0:
                call.arguments.end()
                return results, _PURE
            case 1:
                return results, compound(walk, self.clients, call, results, peer, size)
            case _:
                return rpc.accepted(call.xid, AcceptStat.PROC_UNAVAIL), _IMPURE
