"""Checks that a machine is the one it claims to be. All proofs are derived from the server key."""

from __future__ import annotations

import hmac
from hashlib import blake2b

from storeboot.boot.plan import ticket
from storeboot.hosts.boot import Boot
from storeboot.hosts.host import Host, Machine


def agent_key(boot: str, key: bytes) -> str:
    """Return the agent key of a boot. It is derived, so nothing has to be stored."""
    return blake2b(boot.encode(), key=key, person=b"sb-agent", digest_size=16).hexdigest()


def is_agent(boot: str, given: str, key: bytes) -> bool:
    """Return whether `given` is the boot's agent key."""
    return hmac.compare_digest(agent_key(boot, key).encode(), given.encode(errors="replace"))


def is_host(host: Host, machine: Machine, given: str, key: bytes) -> bool:
    """Return whether a machine is the host: its matchers say so, or it has its script's ticket."""
    own = ticket(host.name, machine.mac, key)
    return host.matches(machine) or hmac.compare_digest(own.encode(), given.encode())


def next_ticket(boot: Boot, key: bytes) -> str:
    """Return the ticket with which a boot's machine begins its next boot."""
    return ticket(boot.host, boot.machine.partition(" ")[0], key)
