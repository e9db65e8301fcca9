"""A shell script that the micro system runs once it is up, and what it has to say.

The system fetches it from the address in `micro.run=URL` on its kernel command line. In front of
the script stand the given variables and `url`, to which it posts its results.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from storeboot.vm.qemu import HOST_ADDRESS
from storeboot.vm.trial import TrialSpec, started


async def run_errand(
    spec: TrialSpec,
    script: str,
    variables: Mapping[str, str],
    *,
    seconds: float,
    progress: Callable[[str], None] = lambda _text: None,
) -> str:
    """Boot, let the script run, power off; returns what it posted within so many seconds."""
    async with _errand(script, variables) as (url, results):
        params = (*spec.kernel_params, f"micro.run={url}")
        async with started(replace(spec, kernel_params=params), progress) as trial:
            boot = await trial.reach("multi-user")
            await trial.until(results.done, seconds, "results of the errand")
            await trial.power_off(boot)
    return results.result()


@asynccontextmanager
async def _errand(
    script: str, variables: Mapping[str, str]
) -> AsyncIterator[tuple[str, asyncio.Future[str]]]:
    """Where the script is, and what is posted."""
    results: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def give(request: web.Request) -> web.Response:
        words = {**variables, "url": f"http://{request.host}/results"}
        lines = [f"{name}='{value}'" for name, value in words.items()]
        return web.Response(text="\n".join([*lines, script]))

    async def take(request: web.Request) -> web.Response:
        text = await request.text()
        if not results.done():
            results.set_result(text)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/script", give), web.post("/results", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://{HOST_ADDRESS}:{runner.addresses[0][1]}/script", results
    finally:
        await runner.cleanup()
