from __future__ import annotations

import asyncio
import sys

import pytest

from storeboot.serve import loop


async def kind() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_uvloop_is_taken_where_it_is() -> None:
    assert loop.run(kind(), nfs=True) == "uvloop"


def test_asyncio_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop.run(kind(), nfs=True) == "asyncio.unix_events"


def test_http_alone_has_asyncio_which_sends_files_without_copying_them() -> None:
    assert loop.run(kind(), nfs=False) == "asyncio.unix_events"
