"""Names points at which a test can kill the process, to see what is left behind."""

from __future__ import annotations

import os
import signal

POINTS = ("view.rooted", "deploy.prepared", "deploy.switched", "test.begun", "test.added",
          "test.passed", "rollout.given",
          "gc.generations", "view.unwritten", "gc.views")  # fmt: skip
_DEADLY = os.environ.get("STOREBOOT_DIE_AT", "")


def reach(point: str) -> None:
    """Do nothing, or die as by kill -9 if STOREBOOT_DIE_AT names this point."""
    assert point in POINTS
    if point == _DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
