"""Decides which NFS connections there is room for.

A connection that has shown a mount token, or a filehandle inside a view, belongs to a boot. All
others are strangers; every machine is one until its first call. Each kind has its own places, so no
number of strangers takes a machine's place. Within a kind, the address with most connections makes
room first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from storeboot.nfs.v4.clients import Peer

MAX_CONNECTIONS = 8192
MAX_PEER_CONNECTIONS = 512  # from one address; a machine has one, or `nconnect` of them (16)
MAX_STRANGERS = 1024  # machines that reconnect after a restart of the server are strangers at first
MAX_PEER_STRANGERS = 32  # more than `nconnect` opens at the same time


@dataclass(slots=True)
class _Places:
    """The connections of one kind, by address, oldest first."""

    most: int
    most_of_one: int
    yields: bool  # whether a connection makes room for one of an address that has as many
    by_address: dict[str, dict[Peer, None]] = field(default_factory=dict)
    count: int = 0

    def add(self, peer: Peer) -> Peer | None:
        """Add a connection; return the one to close for it, which may be the same one, or None."""
        own = self.by_address.setdefault(peer.address, {})
        own[peer] = None
        self.count += 1
        if len(own) > self.most_of_one:
            victim = next(iter(own))
        elif self.count > self.most:
            victim = self._of_the_greediest(peer)
        else:
            return None
        self.remove(victim)
        return victim

    def remove(self, peer: Peer) -> bool:
        """Remove a connection; return whether it was there."""
        own = self.by_address.get(peer.address, {})
        if peer not in own:
            return False
        del own[peer]
        self.count -= 1
        if not own:
            del self.by_address[peer.address]
        return True

    def _of_the_greediest(self, newcomer: Peer) -> Peer:
        """Return the oldest connection of the address that has most."""
        own = self.by_address[newcomer.address]
        others = (each for each in self.by_address.values() if each is not own)
        greediest = max(others, key=len, default={})
        greedier = len(greediest) > len(own) - self.yields
        return next(iter(greediest if greedier and greediest else own))


class Admission:
    """All connections, as strangers and as machines."""

    def __init__(self, room: int = MAX_CONNECTIONS) -> None:
        """`room` is how many connections the processes behind this one can hold."""
        room = min(room, MAX_CONNECTIONS)
        strangers = max(1, min(MAX_STRANGERS, room // 4))
        self._strangers = _Places(
            strangers, max(1, min(MAX_PEER_STRANGERS, strangers // 2)), yields=True
        )
        self._machines = _Places(max(1, room - strangers), MAX_PEER_CONNECTIONS, yields=False)

    def enter(self, peer: Peer) -> Peer | None:
        """Note an accepted connection; return a connection to close for it, or None."""
        return self._strangers.add(peer)

    def prove(self, peer: Peer) -> Peer | None:
        """Note that a stranger has proved to be a machine; return a connection to close, or
        None."""
        return self._machines.add(peer) if self._strangers.remove(peer) else None

    def leave(self, peer: Peer) -> None:
        """Note that a connection is closed."""
        if not self._strangers.remove(peer):
            self._machines.remove(peer)

    def has(self, address: str) -> bool:
        """Return whether an address holds a connection."""
        return any(address in each.by_address for each in (self._strangers, self._machines))

    def addresses(self) -> list[str]:
        """Return the addresses that hold a connection."""
        return list(self._strangers.by_address | self._machines.by_address)
