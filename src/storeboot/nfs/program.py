"""Who answers what: one record in, one reply out."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.nfs import rpc
from storeboot.nfs.handle import HandleCodec
from storeboot.nfs.rpc import AcceptStat, AuthFlavor, Call
from storeboot.nfs.v3 import acl, mount, procedures
from storeboot.nfs.v4.compound import Server, compound
from storeboot.nfs.v4.constants import VERSION as VERSION_4
from storeboot.nfs.v4.identity import IdentityCodec
from storeboot.nfs.views import Catalogue
from storeboot.nfs.xdr import Segment, Writer, XdrError

_VERSION = 3  # of all three programs; NFS has version 4 as well
_TABLES = {
    procedures.PROGRAM: procedures.PROCEDURES,
    mount.PROGRAM: mount.PROCEDURES,
    acl.PROGRAM: acl.PROCEDURES,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A framed reply, and what was called, for whoever counts; zeros for what does not exist."""

    segments: list[Segment]
    program: int
    version: int
    procedure: int


class Programs:
    """NFSv3 with MOUNT and NFSACL, and NFSv4, on one port, over one catalogue."""

    def __init__(self, key: bytes) -> None:
        self.codec = HandleCodec(key)
        self.catalogue = Catalogue(self.codec)
        self._v4 = Server(self.catalogue, IdentityCodec(key))

    def answer(self, record: bytes) -> Answer:
        """Raises RpcError when the connection is to end, NotLoadedError to be asked again."""
        try:
            call = rpc.read_call(record)
        except rpc.RpcMismatchError as error:
            return Answer(rpc.framed(rpc.denied_rpc_version(error.xid).segments()), 0, 0, 0)
        segments = rpc.framed(self._reply(call).segments())
        if not self._knows(call):
            return Answer(segments, 0, 0, 0)
        return Answer(segments, call.program, call.version, call.procedure)

    def _knows(self, call: Call) -> bool:
        """Whether there is such a procedure: what is counted must not be the peer's to invent."""
        if call.program == procedures.PROGRAM and call.version == VERSION_4:
            return call.procedure <= 1
        return call.version == _VERSION and call.procedure in _TABLES.get(call.program, {})

    def _reply(self, call: Call) -> Writer:
        if call.flavor not in (AuthFlavor.NONE, AuthFlavor.SYS):
            return rpc.denied_credential(call.xid)
        if call.program not in _TABLES:
            return rpc.accepted(call.xid, AcceptStat.PROG_UNAVAIL)
        try:
            return self._dispatch(call)
        except XdrError:
            return rpc.accepted(call.xid, AcceptStat.GARBAGE_ARGS)

    def _dispatch(self, call: Call) -> Writer:
        results = rpc.accepted(call.xid)
        if call.program == procedures.PROGRAM and call.version == VERSION_4:
            return self._dispatch_v4(call, results)
        if call.version != _VERSION:
            high = VERSION_4 if call.program == procedures.PROGRAM else _VERSION
            return rpc.version_mismatch(call.xid, _VERSION, high)
        procedure = _TABLES[call.program].get(call.procedure)
        if procedure is None:
            return rpc.accepted(call.xid, AcceptStat.PROC_UNAVAIL)
        procedure(self.catalogue, call.arguments, results)
        return results

    def _dispatch_v4(self, call: Call, results: Writer) -> Writer:
        match call.procedure:
            case 0:
                call.arguments.end()
            case 1:
                compound(self._v4, call.arguments, results)
            case _:
                return rpc.accepted(call.xid, AcceptStat.PROC_UNAVAIL)
        return results
