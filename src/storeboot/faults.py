"""Named points at which a test can kill the process, to see what is left behind."""

from __future__ import annotations

import os
import signal

POINTS = ("view.rooted", "deploy.prepared", "deploy.switched", "test.begun", "test.added",
          "test.passed", "rollout.given",
          "gc.generations", "view.unwritten", "gc.views")  # fmt: skip
_DEADLY = os.environ.get("STOREBOOT_DIE_AT", "")


def reach(point: str) -> None:
    """Passes, unless STOREBOOT_DIE_AT names this point: then like kill -9."""
    assert point in POINTS
    if point == _DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
