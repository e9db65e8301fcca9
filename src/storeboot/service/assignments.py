"""Finds the prepared system of a host or a view, and prepares it if necessary."""

from __future__ import annotations

from storeboot.deploy.systems import Assignment
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.nix.store import StorePath
from storeboot.service import choosing
from storeboot.service.current import Current
from storeboot.service.refusals import BusyError, RefusedError
from storeboot.service.work import MAKE_SECONDS, Work


class Assignments:
    """Deploying has prepared the systems. After a restart that may have to be done again."""

    def __init__(self, current: Current, work: Work) -> None:
        self._current = current
        self._work = work

    async def of_host(self, host: Host, choice: str = "") -> Assignment:
        """Return what the host boots next, or what was chosen.

        RefusedError with the reason if that cannot boot, BusyError while it is being prepared.
        """
        assigned = self._current.assigned
        system, found = await self._work.ask(choosing.system_of, assigned, host, choice)
        return found if found is not None else await self._prepared(system, host)

    async def of_view(self, view: str, host: str | None = None) -> Assignment | None:
        """Return the assignment of a view that is rooted; None if it is not.

        Rooted are the views of generations that are kept or run. The initrd is that of the named
        host, or any if no host is named.
        """
        inventory = self._current.inventory
        found, system, known = await self._work.ask(choosing.system_of_view, inventory, view, host)
        if found is not None or system is None:
            return found
        return await self._prepared(system, known)

    async def _prepared(self, system: StorePath, host: Host | None) -> Assignment:
        prepare = self._current.inventory.systems.prepare
        try:
            return await self._work.making.run(MAKE_SECONDS, prepare, system, host)
        except TimeoutError:
            raise BusyError(f"{system.name} is being prepared") from None
        except (StorebootError, OSError) as error:
            reason = error.message if isinstance(error, StorebootError) else str(error)
            raise RefusedError(f"{system} cannot boot: {reason}") from None
