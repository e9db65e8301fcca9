"""Systems to deploy, the commands, and a machine that boots what they give."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import aiohttp

from integration import forker
from integration.servers import MAC
from integration.stores import QUIET, add, toplevel_tree
from storeboot.config import Config
from storeboot.deploy.inventory import Inventory
from storeboot.hosts.boots import Boot
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.process import Child, run

STOREBOOT = Path(sys.executable).with_name("storeboot")
WAIT = "--wait-for-server"  # for a test that is deployed before its server starts


def make_system(
    config: Config, directory: Path, number: int, **specialisations: StorePath
) -> StorePath:
    """A system of its own path, that no root holds."""
    place = directory / f"system-{number}"
    place.mkdir()
    tree = toplevel_tree(place, specialisations)
    (tree / "generation").write_text(str(number))
    return add(Store(config.store.root), tree)


def storeboot(path: Path, *words: object) -> str:
    """What a command says, which must succeed."""
    return run([*forker.argv(), *map(str, words), "--config", path])


def collect_garbage(config: Config) -> None:
    run(["nix-collect-garbage", "-d", *QUIET], environment={"NIX_REMOTE": str(config.store.root)})


def exists(config: Config, system: StorePath) -> bool:
    return Store(config.store.root).physical(system).exists()


def generations(path: Path) -> list[tuple[int, str, bool]]:
    rows = json.loads(storeboot(path, "generations", "lab1", "--json"))
    return [(row["generation"], row["system"], row["next"]) for row in rows]


def lease(inventory: Inventory, system: StorePath, number: int, **changed: object) -> Boot:
    now = time.time()
    values = {
        "id": f"{number:016x}", "host": "lab1", "view": view_id([system.text]).hex(),
        "system": system.text, "nonce": f"{number:032x}", "machine": MAC, "address": "10.0.0.1",
        "began_at": now, "seen_at": now, **changed,
    }  # fmt: skip
    return inventory.boots.begin(Boot(**values))  # type: ignore[arg-type]


async def killed_at(point: str, path: Path, *words: object) -> None:
    child = await Child.start(
        ["/usr/bin/env", f"STOREBOOT_DIE_AT={point}", STOREBOOT, *map(str, words), "-c", path]
    )
    assert await child.wait() == -9, f"{point} was not reached"


class Machine:
    """Asks and reports as a machine does."""

    def __init__(self, http: aiohttp.ClientSession, host: str = "lab1", mac: str = MAC) -> None:
        self._http = http
        self.host = host
        self.mac = mac
        self._boots = 0

    async def script(self, place: str = "/boot", **said: str) -> str:
        async with self._http.get(place, params={"mac": self.mac, **said}) as response:
            return await response.text()

    async def begin(
        self, system: StorePath, nonce: str | None = None, **said: str
    ) -> dict[str, str]:
        self._boots += 1
        body = (
            f"host={self.host}\nview={view_id([system.text]).hex()}\nmac={self.mac}\n"
            f"nonce={nonce or self._nonce()}\n"
            + "".join(f"{name}={value}\n" for name, value in said.items())
        )
        async with self._http.post("/boots", data=body) as response:
            assert response.status == 200, response.reason
            lines = (await response.text()).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _nonce(self) -> str:
        return f"{self.mac}{self._boots}".replace(":", "").rjust(32, "0")

    async def reach(self, boot: dict[str, str], stage: str, words: str = "") -> None:
        url = f"/boots/{boot['boot']}/events?source=agent&stage={stage}"
        await self._post(url, boot, words)

    async def heartbeat(self, boot: dict[str, str]) -> str:
        return await self._post(f"/boots/{boot['boot']}/heartbeat", boot, "")

    async def report(self, boot: dict[str, str], part: str) -> None:
        headers = {"Authorization": f"Bearer {boot['key']}"}
        url = f"/boots/{boot['boot']}/reports/{part}"
        async with self._http.post(url, data=b"x=1\n", headers=headers) as response:
            response.raise_for_status()

    async def _post(self, url: str, boot: dict[str, str], words: str) -> str:
        headers = {"Authorization": f"Bearer {boot['key']}"}
        async with self._http.post(url, data=words.encode(), headers=headers) as response:
            assert response.status == 200
            return await response.text()
