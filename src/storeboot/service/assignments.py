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
    """Finds prepared systems. Deploying has prepared them; after a restart that may be repeated."""

    def __init__(self, current: Current, work: Work) -> None:
        self._current = current
        self._work = work

    async def of_host(self, host: Host, choice: str = "") -> Assignment:
        """Return the system that the host boots next, or the one that was chosen.

        Raises RefusedError with the reason if it cannot boot, and BusyError while it is being
        prepared.
        """
        assigned = self._current.assigned
        system, found = await self._work.ask(choosing.system_of, assigned, host, choice)
        return found if found is not None else await self._prepared(system, host)

    async def of_view(self, view: str, host: str | None = None) -> Assignment | None:
        """Return the assignment of a rooted view, or None if the view is not rooted.

        The views of generations that are kept, or that a machine runs, are rooted. The initrd is
        the one for the named host, or any if no host is named.
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
