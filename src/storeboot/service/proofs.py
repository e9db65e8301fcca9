"""What machines show to be believed; all of it is derived from the server's key."""

from __future__ import annotations

import hmac
from hashlib import blake2b

from storeboot.boot.plan import ticket
from storeboot.hosts.boot import Boot
from storeboot.hosts.host import Host, Machine


def agent_key(boot: str, key: bytes) -> str:
    """What a boot's agent proves itself with; derived, so that nothing has to be kept."""
    return blake2b(boot.encode(), key=key, person=b"sb-agent", digest_size=16).hexdigest()


def is_agent(boot: str, given: str, key: bytes) -> bool:
    """Whether somebody has shown the boot's agent key."""
    return hmac.compare_digest(agent_key(boot, key).encode(), given.encode(errors="replace"))


def is_host(host: Host, machine: Machine, given: str, key: bytes) -> bool:
    """Whether a machine is the host, by what it says of itself or by its script's ticket."""
    own = ticket(host.name, machine.mac, key)
    return host.matches(machine) or hmac.compare_digest(own.encode(), given.encode())


def next_ticket(boot: Boot, key: bytes) -> str:
    """The ticket with which the machine of a boot begins its next one."""
    return ticket(boot.host, boot.machine.partition(" ")[0], key)
