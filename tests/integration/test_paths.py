"""Questions go one way through the rooms: what they have passed they do not enter again."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import aiohttp

import storeboot
from integration.deploying import WAIT, Machine, make_system
from integration.deploying import storeboot as command
from storeboot.config import Config
from storeboot.nfs.views import view_id
from storeboot.serve import server, threads

SOURCE = f"{Path(storeboot.__file__).parent}/"
HANDLERS = "serve/http/app.py"


class Ways:
    """The files through which each call has come, from the handler on.

    An await is a call as well. What a pool does in a thread was called by whoever brought it.
    """

    def __init__(self) -> None:
        self.seen: set[tuple[str, ...]] = set()
        self._brought: dict[int, tuple[str, ...]] = {}  # ways, by the function that was brought

    def note(self, frame: FrameType, event: str, _argument: object) -> None:
        """For sys.setprofile."""
        if event != "call" or not frame.f_code.co_filename.startswith(SOURCE):
            return
        way = self._to(frame)
        if HANDLERS in way:
            self.seen.add(way[way.index(HANDLERS) :])
        if frame.f_code is threads.Pool.run.__code__:
            self._brought[id(frame.f_locals["function"])] = way

    def _to(self, frame: FrameType | None) -> tuple[str, ...]:
        way: list[str] = []
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(SOURCE):
                name = code.co_filename.removeprefix(SOURCE)
                if not way or way[-1] != name:
                    way.append(name)
                if name == "serve/threads.py" and code.co_name == "<lambda>":
                    way += self._brought.get(id(frame.f_locals["function"]), ())[-2::-1]
                    break
            frame = frame.f_back
        return tuple(reversed(way))


@contextmanager
def watched() -> Iterator[Ways]:
    """In this thread and in those that start meanwhile."""
    ways, before = Ways(), sys.getprofile()
    threading.setprofile(ways.note)
    sys.setprofile(ways.note)
    try:
        yield ways
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


async def test_no_question_enters_a_file_twice(config: Config, path: Path, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(command, path, "deploy", "lab1", one)
    await asyncio.to_thread(command, path, "deploy", "--test", "lab1", two, WAIT)
    view = view_id([two.text]).hex()
    with watched() as ways:
        async with (
            server.running(config) as running,
            aiohttp.ClientSession(running.service.url) as http,
        ):
            machine = Machine(http)
            assert f"init={two}/init" in await machine.script()
            async with http.get(f"/views/{view}/initrd", params={"host": "lab1"}) as response:
                assert response.status == 200
            boot = await machine.begin(two)
            await machine.heartbeat(boot)
            await machine.report(boot, "facts")
            await machine.reach(boot, "failed", "mount: no such file")
    ends = {way[-2:] for way in ways.seen}
    assert ("boot/plan.py", "boot/script.py") in ends, "the script was seen being made"
    decided = ("service/decisions.py", "deploy/testing.py")
    assert decided in ends, "the last of those who are told was seen being told"
    again = [way for way in ways.seen if len(set(way)) < len(way)]
    assert not again, "\n".join(" > ".join(way) for way in sorted(again))
