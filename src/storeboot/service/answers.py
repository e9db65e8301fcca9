"""Answers machines whose boot has begun: what they need now, and for their next boot."""

from __future__ import annotations

import structlog

from storeboot.boot.commandline import KEXEC_ROOM
from storeboot.boot.plan import machine_id
from storeboot.errors import StorebootError
from storeboot.hosts.boot import Boot
from storeboot.hosts.host import Host
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.protocol.fields import AnswerField, NextField
from storeboot.protocol.parameters import Parameter
from storeboot.service.assignments import Assignments
from storeboot.service.current import Current
from storeboot.service.proofs import agent_key, next_ticket
from storeboot.service.questions import key_of, pack_of
from storeboot.service.refusals import BusyError, RefusedError, UnavailableError
from storeboot.service.work import Work

log = structlog.get_logger()
KEY_SECONDS = 8.0


class Answers:
    """Answers as fields by name. Their values contain no white space."""

    def __init__(self, current: Current, work: Work, assignments: Assignments) -> None:
        self._current = current
        self._work = work
        self._assignments = assignments

    async def first(self, boot: Boot, host: Host, local: str, now: float) -> dict[str, str]:
        """Return what a machine needs to carry on; `local` is the server address that it asked."""
        inventory = self._current.inventory
        config, key = inventory.config, inventory.systems.key
        token = MountToken(bytes.fromhex(boot.view), bytes.fromhex(boot.id))
        return {
            AnswerField.BOOT: boot.id,
            AnswerField.KEY: agent_key(boot.id, key),
            AnswerField.TOKEN: HandleCodec(key).encode_token(token),
            AnswerField.TIME: str(int(now)),
            AnswerField.HOSTNAME: host.hostname,
            AnswerField.MACHINE_ID: machine_id(host.name, key),
            AnswerField.NFS_SERVER: config.address_towards(local),
            AnswerField.NFS_PORT: str(config.nfs.port),
            **await self._work.ask(pack_of, inventory, boot, host),
            **host.answered(),
            AnswerField.HEARTBEAT: str(config.agent.heartbeat),
        }

    async def next(self, boot: Boot, local: str) -> dict[str, str]:
        """Return what a running machine needs for its next boot without firmware, by kexec(8)."""
        inventory = self._current.inventory
        host = await self._work.ask(inventory.registry.get, boot.host)
        if host is None:
            raise RefusedError(f"host {boot.host} no longer exists")
        plan = inventory.systems.plan(host, await self._assignments.of_host(host))
        try:
            line = plan.command_line(inventory.url_towards(local), KEXEC_ROOM)
        except StorebootError as error:
            raise RefusedError(error.message) from None
        seal = next_ticket(boot, inventory.systems.key)
        return {
            NextField.KERNEL: f"/views/{plan.view}/kernel?host={host.name}",
            NextField.INITRD: f"/views/{plan.view}/initrd?host={host.name}",
            NextField.COMMAND_LINE: f"{line} {Parameter.TICKET.given(seal)}",
        }

    async def host_key(self, boot: Boot) -> str | None:
        """Return the private ssh key of the boot's host, or None if the server keeps none for it.

        Raises UnavailableError if the key cannot be made, and BusyError if the machine may ask
        again.
        """
        inventory = self._current.inventory
        try:
            return await self._work.boots.run(KEY_SECONDS, key_of, inventory, boot.host)
        except TimeoutError:
            raise BusyError("the server is busy making keys") from None
        except (StorebootError, OSError) as error:
            reason = error.message if isinstance(error, StorebootError) else str(error)
            log.error("host.no_ssh_key", host=boot.host, reason=reason)
            raise UnavailableError("the server cannot make an ssh key") from None
