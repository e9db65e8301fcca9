"""Measures how commands and boot service slow down with more hosts and generations.

No peer keeps such a list; what a deployment costs is held against Nix's own time for it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench import systems
from bench.rows import Row
from storeboot.config import BootsSection, Config, load
from storeboot.deploy.inventory import opened
from storeboot.hosts.registry import read_section
from storeboot.nix.profiles import Profile
from storeboot.nix.store import Store, StorePath
from storeboot.process import LONG, run
from storeboot.serve import server
from storeboot.vm.trial import free_ports

STOREBOOT = Path(sys.executable).with_name("storeboot")
SIZES = (100, 1_000, 10_000)
GENERATIONS = 10  # of each host
LIST_SECONDS, SCRIPT_MS, DEPLOY_MS = 1.0, 10.0, 20.0  # the targets, for a thousand hosts
TIMES = 5
ASKED = 500


def measure() -> list[Row]:
    """Measure all rows. Takes about ten minutes, most of them for ten thousand deployments."""
    built = [systems.micro(edition) for edition in (1, 2)]
    toplevels = [each.toplevel for each in built]
    return [row for size in SIZES for row in _measure(built[0].store, toplevels, size)]


def _measure(store: Store, systems: list[StorePath], size: int) -> list[Row]:
    with TemporaryDirectory() as place:
        directory = Path(place)
        file = directory / "storeboot.toml"
        file.write_text(_toml(directory, store))
        config = load(file)
        with opened(config) as inventory:
            sections = {
                f"host{number}": read_section(
                    f"host{number}", {"mac": [_mac(number)], "group": "room"}
                )
                for number in range(size)
            }
            inventory.registry.add_all(sections, time.time())
        own = [_alone(Profile(store, directory / f"alone{n}" / "p"), systems[0]) for n in range(20)]
        took = _seconds(
            lambda: run([STOREBOOT, "deploy", "room", systems[0].text, "-c", file], seconds=LONG)
        )
        nix = statistics.median(own)
        _add_generations(config, systems)
        listing = [_seconds(lambda: run([STOREBOOT, "host", "list", "-c", file]))
                   for _ in range(TIMES)]  # fmt: skip
        asking = asyncio.run(_ask(config, size))
        print(f"{size} hosts: list {min(listing):.2f} s, deploy {took / size * 1000:.1f} ms a host, "
              f"nix-env alone {nix * 1000:.1f} ms", file=sys.stderr)  # fmt: skip
    judged = size == 1_000
    deploy = took / size - nix
    return [
        _row(f"hosts.list_seconds.{size}", listing, "s", LIST_SECONDS if judged else None),
        _row(f"hosts.script_ms.{size}", asking, "ms", SCRIPT_MS if judged else None),
        Row(f"hosts.deploy_ms.{size}", round(deploy * 1000, 2), "ms", "lower",
            DEPLOY_MS if judged else None, "nix-env alone", (round(deploy * 1000, 2),) * 2,
            {"whole_ms": round(took / size * 1000, 2), "nix_env_ms": round(nix * 1000, 2)}),
    ]  # fmt: skip


def _row(identity: str, values: list[float], unit: str, target: float | None) -> Row:
    spread = (round(min(values), 3), round(max(values), 3))
    value = round(statistics.median(values), 3)
    return Row(identity, value, unit, "lower", target, "", spread, {"generations": GENERATIONS})


def _add_generations(config: Config, systems: list[StorePath]) -> None:
    """Add generations as links like those of nix-env, which is measured above."""
    for directory in (config.server.state_directory / "profiles").iterdir():
        for number in range(2, GENERATIONS + 1):
            link = directory / f"system-{number}-link"
            link.symlink_to(systems[number % len(systems)].text)


async def _ask(config: Config, size: int) -> list[float]:
    """Return the milliseconds of `GET /boot` over HTTP, one at a time."""
    times = []
    # None of them comes up, and none is to wait for its turn.
    config = config.model_copy(update={"boots": BootsSection(at_once=100_000)})
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        for number in range(ASKED):
            start = time.perf_counter()
            async with http.get("/boot", params={"mac": _mac(number * 7919 % size)}) as response:
                assert "kernel" in await response.text()
            times.append((time.perf_counter() - start) * 1000)
    return times


def _alone(profile: Profile, system: StorePath) -> float:
    """Return the seconds that nix-env takes for one generation."""
    return _seconds(lambda: profile.set(system))


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _mac(number: int) -> str:
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


def _toml(directory: Path, store: Store) -> str:
    http_port, nfs_port = free_ports(2)
    return f"""
[server]
address = "127.0.0.1"
state_directory = "{directory}/state"
[store]
root = "{store.root}"
[http]
listen = "127.0.0.1"
port = {http_port}
[nfs]
listen = "127.0.0.1"
port = {nfs_port}
workers = 0
[groups.room]
"""
