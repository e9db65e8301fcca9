"""Runs `storeboot serve` over a prepared state, without preparing its host's system."""

from __future__ import annotations

from collections.abc import Callable

from storeboot.cli.main import main
from storeboot.service.upkeep import Upkeep


async def nothing(
    _upkeep: Upkeep, _seconds: float, _progress: Callable[[str], None] = lambda _text: None
) -> None:
    """Stand in for `Upkeep.assign`."""


Upkeep.assign = nothing  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    main()
