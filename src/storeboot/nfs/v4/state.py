"""What one COMPOUND passes from operation to operation."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.nfs.index import Kind
from storeboot.nfs.limits import MAX_CACHED_REPLY, MAX_REPLY
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.clients import Channel, Client, Clients, Peer, Principal, Session
from storeboot.nfs.walk import Entry, Walk


@dataclass(slots=True)
class Compound:
    """Current and saved filehandle (RFC 8881 section 16.2.3.1), until the reply is made."""

    walk: Walk
    clients: Clients
    peer: Peer
    principal: Principal
    minor: int
    count: int  # of operations
    size: int  # of the whole call, bytes
    position: int = 0  # of the operation that runs
    session: Session | None = None
    slot: int = 0
    sequence: int = 0
    replay: bytes | None = None  # the earlier reply, without its xid
    pure: bool = True  # whether the reply so far depends on nothing but the call's bytes
    once: bool = False  # whether it must not run again, but its reply be repeated
    reclaimed: Client | None = None  # by a RECLAIM_COMPLETE, once everything has run
    listed: int = 0  # bytes of directory entries so far
    room: int = MAX_REPLY  # bytes that the reply may take
    too_big: Status = Status.REP_TOO_BIG
    current_or_none: Entry | None = None
    saved: Entry | None = None

    def run_once(self) -> None:
        """Note that an operation is not pure: the reply is this peer's own, and kept in its
        slot."""
        self.pure, self.once = False, True
        if self.session is not None:
            self.room = min(self.room, MAX_CACHED_REPLY)

    def alias_root(self) -> Entry:
        """Return the root of the view that this peer may mount through the alias.

        The alias leads other peers to other views, so the reply is for this peer only.
        """
        self.pure = False
        alias = self.peer.alias
        if isinstance(alias, Refusal):
            raise self.walk.refused(alias)
        return self.walk.view_root(alias)

    @property
    def current(self) -> Entry:
        if self.current_or_none is None:
            raise NfsError(Status.NOFILEHANDLE)
        return self.current_or_none

    @property
    def current_directory(self) -> Entry:
        return directory_of(self.current)

    @property
    def saved_or_error(self) -> Entry:
        if self.saved is None:
            raise NfsError(Status.NOFILEHANDLE)
        return self.saved

    def set_room(self, channel: Channel, *, cached: bool) -> None:
        """Limit the reply to what the channel carries and, if it is to be cached, to what it
        caches."""
        self.room = channel.response
        if cached and channel.cached < channel.response:
            self.room, self.too_big = channel.cached, Status.REP_TOO_BIG_TO_CACHE


def directory_of(entry: Entry) -> Entry:
    """Return the entry, which must be a directory."""
    if entry.node.kind is Kind.SYMLINK:
        raise NfsError(Status.SYMLINK)
    if entry.node.kind is not Kind.DIRECTORY:
        raise NfsError(Status.NOTDIR)
    return entry
