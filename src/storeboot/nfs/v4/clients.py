"""Clients, their sessions and slots, as bounded soft state.

Nothing that is kept here is ever needed: ids are derived (`identity.py`), and an id that this
process does not know, but that the key has signed, is accepted as it is. This state adds the
strictness that RFC 8881 asks for if one process sees all of a client: sequence ids in order,
repeated replies, and ids that are dead after they were destroyed.

A client is identified by its owner string and its address. Diskless machines that mount before they
have a name all use the same owner string, and one of them must not end another's sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from storeboot.nfs.limits import MAX_CACHED_REPLY, MAX_READ, MAX_REPLY, MAX_REQUEST
from storeboot.nfs.memo import Memo
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.identity import IdentityCodec
from storeboot.nfs.xdr import Writer

MAX_SLOTS = 64
MAX_OPERATIONS = 64  # in a compound
MAX_CLIENTS = 4096
MAX_SESSIONS = 32  # of one client, and on one connection
MAX_ALL_SESSIONS = 8192
REPLAY_MEMORY = 4 << 20  # bytes of replies that must not be computed twice
MAX_DEAD = 8192
UNKNOWN = -1  # sequence id of a slot that another process has used

Principal = tuple[int, int]  # authentication flavor, uid


@dataclass(frozen=True, slots=True)
class Channel:
    """The limits of a session's fore channel (RFC 8881 section 18.36, channel_attrs4)."""

    request: int = MAX_REQUEST
    response: int = MAX_REPLY
    cached: int = MAX_CACHED_REPLY
    operations: int = MAX_OPERATIONS
    slots: int = MAX_SLOTS


FULL = Channel()


@dataclass(slots=True, eq=False)
class Session:
    """Slots, with the last sequence id of each."""

    session_id: bytes
    client: Client
    channel: Channel
    slots: list[int]
    roomy: bool  # like every Linux client's: a reply to one fits another
    connections: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A reply, without its transaction id."""

    reply: bytes

    @property
    def cost(self) -> int:
        return len(self.reply)


@dataclass(slots=True, eq=False)
class Client:
    """One instance of a client. Another verifier means another instance."""

    client_id: bytes
    address: str  # where it connects from
    owner: tuple[str, bytes] | None = None  # address and co_ownerid, if it introduced itself here
    verifier: bytes = b""
    principal: Principal | None = None
    confirmed: bool = True
    introduced: float = 0.0
    sequence: int = UNKNOWN  # of the last CREATE_SESSION
    reply: bytes = b""  # to that CREATE_SESSION
    reclaimed: bool = False
    sessions: dict[bytes, Session] = field(default_factory=dict)


class Clients:
    """All clients that this process has recently seen."""

    def __init__(self, identities: IdentityCodec, clock: Callable[[], float], lease: int) -> None:
        self.identities = identities
        self.sessions: dict[bytes, Session] = {}
        self._clock = clock
        self._lease = lease
        self._clients: dict[bytes, Client] = {}
        self._confirmed: dict[tuple[str, bytes], Client] = {}
        self._unconfirmed: dict[tuple[str, bytes], Client] = {}
        self._dead: dict[bytes, None] = {}
        self._replies: Memo[_Kept] = Memo(REPLAY_MEMORY)

    def introduce(self, owner: tuple[str, bytes], verifier: bytes, principal: Principal) -> Client:
        """Handle EXCHANGE_ID without an update: cases 1 to 5 of section 18.35.4."""
        known = self._confirmed.get(owner)
        if known is not None:
            same = known.principal == principal
            if same and known.verifier == verifier:
                return known
            if not same:
                if known.sessions:
                    raise NfsError(Status.CLID_INUSE)
                self.end(known)
        return self._new(owner, verifier, principal)

    def update(self, owner: tuple[str, bytes], verifier: bytes, principal: Principal) -> Client:
        """Handle EXCHANGE_ID with EXCHGID4_FLAG_UPD_CONFIRMED_REC_A: cases 6 to 9."""
        known = self._confirmed.get(owner)
        if known is None:
            raise NfsError(Status.NOENT)
        if known.verifier != verifier:
            raise NfsError(Status.NOT_SAME)
        if known.principal != principal:
            raise NfsError(Status.PERM)
        return known

    def _new(self, owner: tuple[str, bytes], verifier: bytes, principal: Principal) -> Client:
        replaced = self._unconfirmed.pop(owner, None)
        if replaced is not None:
            self._drop(replaced)
        # Instance 0, unless it was ended or replaced: then the clock chooses one.
        taken = replaced.client_id if replaced is not None else None
        now = int(self._clock() * 1024) & 0xFFFF_FFFF
        for instance in (0, now, now ^ 1):
            client_id = self.identities.client_id(owner, verifier, principal, instance)
            if client_id != taken and client_id not in self._dead:
                break
        else:
            raise NfsError(Status.DELAY)
        client = self._clients.get(client_id)
        if client is not None:  # its sessions outlived the process that knew its name
            client.owner, client.verifier, client.principal = owner, verifier, principal
            self._confirmed[owner] = client
            return client
        client = Client(
            client_id, owner[0], owner, verifier, principal, confirmed=False,
            introduced=self._clock(), sequence=0,
        )  # fmt: skip
        self._keep(client)
        self._unconfirmed[owner] = client
        return client

    def find(self, client_id: bytes, address: str) -> Client:
        """Return a client by its id. One that only another process knows is accepted as it is."""
        client = self._clients.get(client_id)
        if client is None:
            if client_id in self._dead:
                raise NfsError(Status.STALE_CLIENTID)
            self.identities.check_client(client_id, address)
            client = Client(client_id, address)
            self._keep(client)
        elif client.address != address:
            raise NfsError(Status.STALE_CLIENTID)
        elif not client.confirmed and self._clock() > client.introduced + self._lease:
            self.end(client)
            raise NfsError(Status.STALE_CLIENTID)
        return client

    def open_session(self, client: Client, sequence: int, channel: Channel) -> Session:
        """Open a new session. It confirms its client, which ends the client's earlier instance."""
        if len(client.sessions) >= MAX_SESSIONS:
            raise NfsError(Status.NOSPC)
        owner = client.owner
        if owner is not None:
            earlier = self._confirmed.get(owner)
            if earlier is not None and earlier is not client:
                self.end(earlier)
            if self._unconfirmed.get(owner) is client:
                del self._unconfirmed[owner]
            self._confirmed[owner] = client
        client.confirmed = True
        # Another process may already have opened a session of this client with this sequence id,
        # and its calls may still be on their way: the clock distinguishes the two.
        number = sequence + int(self._clock() * 1024)
        session_id = self.identities.session_id(client.client_id, client.address, number)
        self._dead.pop(session_id, None)
        return self._add_session(session_id, client, channel, 0)

    def session(self, session_id: bytes, address: str) -> Session:
        """Return a session by its id. One that only another process knows is accepted as it is."""
        session = self.sessions.get(session_id)
        if session is None:
            if session_id in self._dead or session_id[:8] in self._dead:
                raise NfsError(Status.BADSESSION)
            self.identities.check_session(session_id, address)
            client = self.find(session_id[:8], address)
            session = self._add_session(session_id, client, FULL, UNKNOWN)
        elif session.client.address != address:
            raise NfsError(Status.BADSESSION)
        return session

    def _add_session(
        self, session_id: bytes, client: Client, channel: Channel, sequence: int
    ) -> Session:
        roomy = (
            channel.request >= MAX_REQUEST
            and channel.response >= MAX_READ + 512  # Linux asks for 904 more than a READ
            and channel.cached >= MAX_CACHED_REPLY
            and channel.slots == MAX_SLOTS
        )
        session = Session(session_id, client, channel, [sequence] * channel.slots, roomy)
        self.sessions[session_id] = client.sessions[session_id] = session
        if len(self.sessions) > MAX_ALL_SESSIONS:
            self.forget(next(iter(self.sessions.values())))
        return session

    def keep_reply(self, session: Session, slot: int, sequence: int, results: Writer) -> None:
        """Keep the reply to a compound that must not run twice; `results` start with the xid."""
        if results.is_whole:
            self._replies.put(_reply_key(session, slot, sequence), _Kept(results.getvalue()[4:]))

    def kept_reply(self, session: Session, slot: int, sequence: int) -> bytes | None:
        kept = self._replies.get(_reply_key(session, slot, sequence))
        return None if kept is None else kept.reply

    def close_session(self, session: Session) -> None:
        """Handle DESTROY_SESSION: the session's id is dead from now on."""
        self.forget(session)
        self._bury(session.session_id)

    def forget(self, session: Session) -> None:
        """Forget a session. If it is used again, it is accepted as it is."""
        if self.sessions.get(session.session_id) is session:
            del self.sessions[session.session_id]
        if session.client.sessions.get(session.session_id) is session:
            del session.client.sessions[session.session_id]

    def end(self, client: Client) -> None:
        """End a client: it and its sessions are dead from now on."""
        for session in list(client.sessions.values()):
            self.close_session(session)
        self._drop(client)
        self._bury(client.client_id)

    def _keep(self, client: Client) -> None:
        self._clients[client.client_id] = client
        if len(self._clients) > MAX_CLIENTS:
            oldest = next(iter(self._clients.values()))
            for session in list(oldest.sessions.values()):
                self.forget(session)
            self._drop(oldest)

    def _drop(self, client: Client) -> None:
        self._clients.pop(client.client_id, None)
        if client.owner is not None:
            for table in (self._confirmed, self._unconfirmed):
                if table.get(client.owner) is client:
                    del table[client.owner]

    def _bury(self, identity: bytes) -> None:
        self._dead[identity] = None
        if len(self._dead) > MAX_DEAD:
            del self._dead[next(iter(self._dead))]


def _reply_key(session: Session, slot: int, sequence: int) -> bytes:
    return session.session_id + slot.to_bytes(4, "big") + sequence.to_bytes(4, "big")


@dataclass(slots=True, eq=False)
class Peer:
    """One connection: its address, and the sessions that were used on it."""

    address: str = ""
    # The view that it may mount without a token, or why it may mount none.
    alias: bytes | Refusal = Refusal.NO_ALIAS
    # Whether it has shown a mount token, or a filehandle inside a view. Sessions prove nothing,
    # because anyone may open one.
    proven: bool = False
    on_proof: Callable[[Peer], None] | None = None  # called once
    on_refusal: Callable[[Peer, Refusal], None] | None = None  # called for each refused mount
    session: Session | None = None  # the last one used
    sessions: dict[bytes, Session] = field(default_factory=dict)

    def prove(self) -> None:
        """Note that the connection belongs to a client that was given a view."""
        if not self.proven:
            self.proven = True
            if self.on_proof is not None:
                self.on_proof(self)

    def refuse(self, refusal: Refusal) -> None:
        """Note that the peer was refused a mount."""
        if self.on_refusal is not None:
            self.on_refusal(self, refusal)

    def use(self, session: Session, clients: Clients) -> None:
        """Note that a session is used on this connection."""
        self.session = session
        if self.sessions.get(session.session_id) is not session:
            self.sessions[session.session_id] = session
            session.connections += 1
            if len(self.sessions) > MAX_SESSIONS:
                self._part_from(self.sessions.pop(next(iter(self.sessions))), clients)

    def leave(self, clients: Clients) -> None:
        """Note that the connection has ended.

        A session without connections is forgotten: until it comes back here, another server may
        have seen more of it, and then its sequence ids would look wrong here.
        """
        for session in self.sessions.values():
            self._part_from(session, clients)
        self.sessions.clear()

    def _part_from(self, session: Session, clients: Clients) -> None:
        session.connections -= 1
        if not session.connections:
            clients.forget(session)
