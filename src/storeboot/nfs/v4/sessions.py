"""Operations on clients and sessions (RFC 8881 sections 18.34 to 18.37, 18.46, 18.50, 18.51)."""

from __future__ import annotations

from storeboot.nfs.limits import MAX_CACHED_REPLY, MAX_REPLY, MAX_REQUEST
from storeboot.nfs.rpc import AuthFlavor
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.clients import MAX_OPERATIONS, MAX_SLOTS, UNKNOWN, Channel, Session
from storeboot.nfs.v4.constants import MAX_OPAQUE, CreateSessionFlag, ExchangeFlag
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.xdr import Reader, Writer, XdrError

LEAST_CHANNEL = 128  # bytes: little more than a SEQUENCE and its reply
MAX_CALLBACK_SECURITY = 16
_SP4_NONE = 0
_WRAP = 1 << 32


def op_exchange_id(compound: Compound, arguments: Reader, results: Writer) -> None:
    verifier = arguments.take(8)
    owner = (compound.peer.address, arguments.opaque(MAX_OPAQUE))
    flags = arguments.uint32()
    if arguments.uint32() != _SP4_NONE:
        raise NfsError(Status.NOTSUPP)
    if arguments.uint32() > 1:
        raise XdrError("more than one nfs_impl_id4")
    fence = ExchangeFlag.SUPP_FENCE_OPS if compound.minor > 1 else 0
    if flags & ~int(ExchangeFlag.ARGUMENTS | fence):  # `~` of a flag has only defined bits
        raise NfsError(Status.INVAL)
    clients = compound.clients
    introduce = clients.update if flags & ExchangeFlag.UPD_CONFIRMED_REC_A else clients.introduce
    client = introduce(owner, verifier, compound.principal)
    results.raw(client.client_id)
    results.uint32(1 if client.sequence == UNKNOWN else (client.sequence + 1) % _WRAP)
    confirmed = ExchangeFlag.CONFIRMED_R if client.confirmed else 0
    results.uint32(ExchangeFlag.USE_NON_PNFS | confirmed)
    results.uint32(_SP4_NONE)
    results.uint64(0)  # so_minor_id
    results.opaque(clients.identities.server_owner)
    results.opaque(clients.identities.server_scope)
    results.uint32(0)  # no nfs_impl_id4


def op_create_session(compound: Compound, arguments: Reader, results: Writer) -> None:
    client_id = arguments.take(8)
    sequence, flags = arguments.uint32(), arguments.uint32()
    fore, back = _channel(arguments), _channel(arguments)
    arguments.uint32()  # program of callbacks, of which there are none
    _skip_callback_security(arguments)
    client = compound.clients.find(client_id, compound.peer.address)
    if sequence == client.sequence and client.reply:
        results.raw(client.reply)
        return
    if client.sequence not in (UNKNOWN, (sequence - 1) % _WRAP):
        raise NfsError(Status.SEQ_MISORDERED)
    if not client.confirmed and client.principal != compound.principal:
        raise NfsError(Status.CLID_INUSE)
    if flags & ~int(CreateSessionFlag.ALL):
        raise NfsError(Status.INVAL)
    if min(*fore[1:3], *back[1:3]) < LEAST_CHANNEL or not fore[4] or not fore[5]:
        raise NfsError(Status.TOOSMALL)
    # Neither a persistent reply cache nor a back channel is granted: there are no callbacks.
    limits = (0, MAX_REQUEST, MAX_REPLY, MAX_CACHED_REPLY, MAX_OPERATIONS, MAX_SLOTS)
    granted = [min(asked, most) for asked, most in zip(fore, limits, strict=True)]
    session = compound.clients.open_session(client, sequence, Channel(*granted[1:]))
    compound.peer.use(session, compound.clients)
    reply = Writer()
    reply.raw(session.session_id)
    for value in (sequence, 0, *granted, 0, *back, 0):
        reply.uint32(value)
    client.sequence, client.reply = sequence, reply.getvalue()
    results.raw(client.reply)


def _channel(arguments: Reader) -> list[int]:
    """Read a channel_attrs4 without its list of RDMA sizes."""
    values = [arguments.uint32() for _ in range(6)]
    count = arguments.uint32()
    if count > 1:
        raise XdrError("more than one ca_rdma_ird")
    arguments.take(4 * count)
    return values


def _skip_callback_security(arguments: Reader) -> None:
    """Skip csa_sec_parms: how the client would want to be called back."""
    count = arguments.uint32()
    if count > MAX_CALLBACK_SECURITY:
        raise XdrError("too many callback_sec_parms4")
    for _ in range(count):
        flavor = arguments.uint32()
        if flavor == AuthFlavor.SYS:
            arguments.uint32()
            arguments.opaque(255)  # machine name
            arguments.take(8)  # uid, gid
            groups = arguments.uint32()
            if groups > 16:
                raise XdrError("more than 16 groups")
            arguments.take(4 * groups)
        elif flavor == AuthFlavor.GSS:
            arguments.uint32()
            arguments.opaque(MAX_OPAQUE)
            arguments.opaque(MAX_OPAQUE)
        elif flavor != AuthFlavor.NONE:
            raise XdrError(f"callback flavor {flavor}")


def op_sequence(compound: Compound, arguments: Reader, results: Writer) -> None:
    """Check session, slot and sequence id (section 18.46)."""
    session = compound.clients.session(arguments.take(16), compound.peer.address)
    sequence, slot = arguments.uint32(), arguments.uint32()
    arguments.uint32()  # highest slot that the client uses
    cached = arguments.boolean()
    channel = session.channel
    if compound.size > channel.request:
        raise NfsError(Status.REQ_TOO_BIG)
    if compound.count > channel.operations:
        raise NfsError(Status.TOO_MANY_OPS)
    if slot >= channel.slots:
        raise NfsError(Status.BADSLOT)
    last = session.slots[slot]
    if last not in (UNKNOWN, sequence, (sequence - 1) % _WRAP):
        raise NfsError(Status.SEQ_MISORDERED)
    compound.set_room(channel, cached=cached)
    compound.peer.use(session, compound.clients)
    compound.session, compound.slot, compound.sequence = session, slot, sequence
    if last in (UNKNOWN, sequence):
        compound.replay = compound.clients.kept_reply(session, slot, sequence)
        # Any other reply is computed again: it depends on nothing but the request.
    session.slots[slot] = sequence
    write_sequence(results, session, sequence, slot)


def write_sequence(results: Writer, session: Session, sequence: int, slot: int) -> None:
    """Write SEQUENCE4resok. Highest and target slot id are the last slot; no status flags."""
    results.raw(session.session_id)
    last = session.channel.slots - 1
    for value in (sequence, slot, last, last, 0):
        results.uint32(value)


def op_bind_conn_to_session(compound: Compound, arguments: Reader, results: Writer) -> None:
    """Bind a connection to a session. Any may carry any; the answer is the fore channel."""
    session = compound.clients.session(arguments.take(16), compound.peer.address)
    arguments.uint32()
    arguments.boolean()
    compound.peer.use(session, compound.clients)
    results.raw(session.session_id)
    results.uint32(1)  # CDFS4_FORE
    results.boolean(False)


def op_destroy_session(compound: Compound, arguments: Reader, _results: Writer) -> None:
    """Destroy a session; in a compound of that session it must come last (section 18.37.3)."""
    session = compound.clients.session(arguments.take(16), compound.peer.address)
    if session is compound.session and compound.position + 1 < compound.count:
        raise NfsError(Status.NOT_ONLY_OP)
    compound.clients.close_session(session)


def op_destroy_clientid(compound: Compound, arguments: Reader, _results: Writer) -> None:
    client = compound.clients.find(arguments.take(8), compound.peer.address)
    if client.sessions:
        raise NfsError(Status.CLIENTID_BUSY)
    compound.clients.end(client)


def op_reclaim_complete(compound: Compound, arguments: Reader, _results: Writer) -> None:
    """Do nothing, as there is nothing to reclaim; but a second one is an error."""
    if arguments.boolean():
        _ = compound.current
        return
    assert compound.session is not None
    client = compound.session.client
    if client.reclaimed:
        raise NfsError(Status.COMPLETE_ALREADY)
    compound.reclaimed = client
