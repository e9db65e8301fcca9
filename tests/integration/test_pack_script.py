"""What the initrd's own script says while it fetches a pack: run by busybox, over HTTP."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from storeboot.initrd.busybox import find_busybox
from storeboot.process import run
from unit.initrd_scripts import SCRIPTS


@dataclass(slots=True)
class Teller:
    """A server with a pack that is damaged, so that no script goes as far as to mount it."""

    late: bool  # it gives the pack when it was told that the machine waits for it
    told: list[str] = field(default_factory=list)
    waits: asyncio.Event = field(default_factory=asyncio.Event)

    async def event(self, request: web.Request) -> web.Response:
        self.told.append(request.query["stage"])
        if self.told[-1] == "await-pack":
            self.waits.set()
        return web.Response()

    async def pack(self, _request: web.Request) -> web.Response:
        if self.late:
            await self.waits.wait()
        return web.Response(body=b"pack")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/boots/b/events", self.event)
        app.router.add_get("/views/v/pack/p", self.pack)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize(
    ("pack", "late", "told"),
    [
        ("", False, []),
        ("p", False, ["plain"]),
        ("p", True, ["await-pack", "plain"]),
    ],
    ids=["none", "there", "late"],
)
async def test_only_a_pack_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, pack: str, late: bool, told: list[str]
) -> None:
    busybox, programs, state = find_busybox(platform.machine()), tmp_path / "bin", tmp_path / "run"
    programs.mkdir()
    state.mkdir()
    run([busybox, "--install", "-s", programs])
    teller = Teller(late)
    async with teller.listening() as url:
        facts = {"boot": "b", "key": "k", "view": "v", "url": url, "pack": pack}
        for name, value in {**facts, "pack_sha256": "0" * 64}.items():
            (state / f"fact.{name}").write_text(f"{value}\n" if value else "")
        script = f"""
            exec >{state}/output 2>&1
            CONSOLE='' SOURCE=initrd
            . {SCRIPTS}/common.sh
            SB={state}
            . {SCRIPTS}/pack.sh
            fetch_pack &
            PACK_FETCHED=$!
            {"" if late else 'wait "$PACK_FETCHED"'}
            mount_pack || echo plainly
        """
        environment = {"PATH": str(programs)}
        await asyncio.to_thread(run, ["sh", "-c", script], environment=environment, seconds=60)
    assert teller.told == told
    assert (state / "output").read_text() == "plainly\n"
