"""What a host boots: everything that its script, its initrd and its mount are made from."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from hashlib import blake2b

from storeboot.boot.commandline import BOOTIF_ROOM, TICKET_DIGITS, command_line
from storeboot.boot.script import boot_script
from storeboot.hosts.host import Host
from storeboot.nix.system import System
from storeboot.protocol.parameters import Parameter


@dataclass(frozen=True, slots=True)
class Plan:
    """A host's next boot. The same host, system and key always give the same plan."""

    host: Host
    view: str  # 32 hexadecimal digits
    init: str
    system_params: tuple[str, ...]
    machine_id: str

    def command_line(self, url: str, room: int = BOOTIF_ROOM) -> str:
        return command_line(
            init=self.init,
            url=url,
            host=self.host.name,
            view=self.view,
            hostname=self.host.hostname,
            machine_id=self.machine_id,
            system_params=self.system_params,
            host_params=self.host.kernel_params,
            room=room,
        )

    def script(self, url: str, ticket: str, menu_query: str | None = None) -> str:
        return boot_script(
            url=url,
            view=self.view,
            command_line=f"{self.command_line(url)} {Parameter.TICKET.given(ticket)}",
            host=self.host.name,
            menu_query=menu_query,
        )


def make_plan(host: Host, system: System, view: str, key: bytes) -> Plan:
    params = system.kernel_params
    if any(entry.is_swap for entry in system.masked):
        params = (*params, Parameter.SWAP.given("no"))  # systemd-fstab-generator(8)
    if host.console:
        # If a device is named twice, Linux uses the options that come first.
        params = (
            *(param for param in params if not param.startswith("console=")),
            *(f"console={console}" for console in host.console),
        )
    identity = machine_id(host.name, key)
    if host.mode == "native":
        # Machines with the same host name must not be one NFSv4 client; kmod reads this line.
        params = (*params, Parameter.CLIENT_ID.given(f"storeboot-{identity}"))
    return Plan(host, view, system.init, params, identity)


def ticket(host: str, mac: str, key: bytes) -> str:
    """Return the proof that the server gave a host's script to a machine.

    The boot may begin with it, because only firmware can tell some of a host's matchers.
    """
    said = f"{host} {mac}".encode()
    return blake2b(said, key=key, person=b"sb-ticket", digest_size=TICKET_DIGITS // 2).hexdigest()


def machine_id(host: str, key: bytes) -> str:
    """Return a host's machine-id (machine-id(5)): the same at every boot, and not guessable."""
    digest = blake2b(host.encode(), key=key, person=b"sb-machine-id", digest_size=16).digest()
    return uuid.UUID(bytes=digest, version=4).hex
