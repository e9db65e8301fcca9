"""The event loop of a process: uvloop for NFS where it is installed, asyncio's own for HTTP.

uvloop has no `sendfile`: over HTTP it would copy kernels, initrds and packs through Python, and a
boot would cost the server half as much processor time again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, nfs: bool) -> T:
    """Run `main` to its end and return its result. `nfs`: this process answers NFS itself."""
    with asyncio.Runner(loop_factory=_factory() if nfs else None) as runner:
        return runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return factory
