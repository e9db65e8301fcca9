"""The systems that are booted and deployed.

Building them downloads packages, which the groups cannot do in their own network. So `python -m
bench.systems GROUP...` builds them before, for all groups if none is named.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from storeboot.vm.demo.build import DemoSystem, build_demo
from storeboot.vm.demo.packages import Suite

# Nix takes no symbolic link on the way to a store.
CACHE = Path(
    os.environ.get("STOREBOOT_TEST_CACHE", Path(__file__).parents[1] / ".cache" / "demo")
).resolve()
SUITES: tuple[Suite, ...] = ("trixie", "bookworm")
WITHOUT_DEMO = {"client", "hosts", "leases"}
WITHOUT_ANY = {"nfs", "memory"}


def micro(edition: int = 1) -> DemoSystem:
    return build_demo(CACHE, kind="micro", edition=edition, progress=_say)


def demo(suite: Suite = "trixie", edition: int = 1) -> DemoSystem:
    return build_demo(CACHE, suite=suite, edition=edition, progress=_say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    groups = set(sys.argv[1:]) or {"all"}
    if groups <= WITHOUT_ANY:
        return
    for edition in (1, 2):
        micro(edition)
    if groups <= WITHOUT_ANY | WITHOUT_DEMO:
        return
    for suite in SUITES:
        for edition in (1, 2):
            demo(suite, edition)


if __name__ == "__main__":
    main()
