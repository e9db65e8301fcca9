"""Runs a shell script on a machine once it is up, and returns its output.

The machine fetches the script over HTTP. The script starts with the given variables and `url`, to
which it posts its results. `run_errand` boots the micro system in QEMU for it; `run_in_uml` a
user-mode machine that has busybox and the modules of the NFS client, and is up in two seconds.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from storeboot.errors import BootError
from storeboot.initrd import cpio, module_tree, modules
from storeboot.initrd.busybox import find_busybox
from storeboot.nix.store import StoreTree
from storeboot.protocol.stages import Stage
from storeboot.vm import uml
from storeboot.vm.demo.uml_kernel import UmlKernel
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
    """Boot, run the script, power off; return what it posted, in a limited number of seconds."""
    async with _errand(script, variables) as (url, results):
        params = (*spec.kernel_params, f"micro.run={url}")
        async with started(replace(spec, kernel_params=params), progress) as trial:
            boot = await trial.reach(Stage.MULTI_USER)
            await trial.until(results.done, seconds, "results of the errand")
            await trial.power_off(boot)
    return results.result()


async def run_in_uml(
    kernel: UmlKernel,
    directory: Path,
    script: str,
    variables: Mapping[str, str],
    *,
    seconds: float,
    memory: int = 512,
) -> str:
    """Run the script on a user-mode machine; return what it posted, in a limited time.

    The modules of the NFS client are loaded, and the host's loopback is at HOST_ADDRESS. Console
    and logs are left in `directory`.
    """
    initrd = await asyncio.to_thread(errand_initrd, kernel, directory / "errand.cpio")
    async with _errand(script, variables) as (url, results):
        spec = uml.UmlSpec(kernel, initrd, (f"errand={url}", "loglevel=4"), memory=memory)
        async with uml.running(spec, directory) as machine:
            ends = (asyncio.ensure_future(machine.wait()), results)
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            ends[0].cancel()
            await asyncio.gather(ends[0], return_exceptions=True)
            if not results.done():
                end = "went off" if machine.is_off else f"was busy for {seconds:.0f} s"
                raise BootError(
                    f"the machine {end} without results of the errand:\n{machine.console_tail()}",
                    f"console: {machine.console}",
                )
    return results.result()


def errand_initrd(kernel: UmlKernel, path: Path, script: str = "") -> Path:
    """Write an initrd with busybox, the NFS client's modules, and the start of an errand.

    If a script is given, the machine runs it and does not ask for one.
    """
    tree = module_tree.read_tree(StoreTree.plain(kernel.modules))
    files = modules.needed(tree, modules.Needs(drivers=("loop",)), kernel.version)
    base = f"lib/modules/{kernel.version}"
    busybox = find_busybox(platform.machine())
    members = [
        cpio.regular("bin/busybox", busybox.read_bytes(), 0o755),
        cpio.symlink("bin/sh", "busybox"),
        cpio.regular("init", Path(__file__).with_name("errand.init").read_bytes(), 0o755),
        *([cpio.regular("errand", script.encode())] if script else []),
        cpio.character_device("dev/console", 0o600, 5, 1),
        *(cpio.regular(f"{base}/{module_tree.plain(file)}", tree.load(file)) for file in files),
        *(
            cpio.regular(f"{base}/{name}", text.encode())
            for name, text in modules.index_files(tree, files).items()
        ),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(cpio.archive(cpio.with_parents(members))))
    return path


@asynccontextmanager
async def _errand(
    script: str, variables: Mapping[str, str]
) -> AsyncIterator[tuple[str, asyncio.Future[str]]]:
    """Serve a script; yield its URL and a future with what is posted."""
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
