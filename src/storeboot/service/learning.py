"""Lets packs learn from a boot which files it has read over NFS and which are in its page cache."""

from __future__ import annotations

import structlog

from storeboot.errors import StorebootError
from storeboot.hosts.boot import Boot
from storeboot.pack.hot import Witness
from storeboot.protocol.stages import Stage
from storeboot.service.current import Current
from storeboot.service.known_boots import KnownBoots
from storeboot.service.reading import StoreReads
from storeboot.service.work import MAKE_SECONDS, Work

log = structlog.get_logger()


class Learning:
    """Learns from boots that have come far enough."""

    def __init__(self, current: Current, work: Work, boots: KnownBoots, reads: StoreReads) -> None:
        self._current = current
        self._work = work
        self._boots = boots
        self._reads = reads

    async def learn(self, boot: Boot, pack: str | None, resident: set[bytes] | None) -> bool:
        """Learn from a boot; return whether it could be learned from. Failures are logged.

        `resident` are the pack's files that the machine has in memory, or None if it cannot tell.
        """
        inventory = self._current.inventory
        host = await self._work.ask(inventory.registry.get, boot.host)
        view = await self._work.ask(inventory.state.views.get, boot.view)
        if host is None or host.mode != "pack" or view is None:
            return False
        read = await self._reads.of(boot.address)
        if Stage.MULTI_USER not in await self._work.ask(self._boots.stages_of, boot.id):
            return False  # it has not come up, so its reads may not be those of a real boot
        by = Witness(boot.id, boot.host, boot.address)
        learn = inventory.systems.packs.learn
        try:
            await self._work.making.run(MAKE_SECONDS, learn, view, pack, read, resident, by)
        except TimeoutError:
            log.warning("pack.learning_slowly", host=boot.host, boot=boot.id)
        except (OSError, StorebootError) as error:
            log.error("pack.not_learned", host=boot.host, boot=boot.id, reason=str(error))
        else:
            log.info("pack.learned", host=boot.host, boot=boot.id, over_nfs=len(read),
                     in_memory=None if resident is None else len(resident))  # fmt: skip
        return True
