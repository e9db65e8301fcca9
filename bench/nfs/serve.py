"""`storeboot serve` over a prepared state: its host's system is not looked at and not built for."""

from __future__ import annotations

from collections.abc import Callable

from storeboot.cli.main import main
from storeboot.service.boot_service import BootService


def nothing(_service: BootService, _progress: Callable[[str], None]) -> None:
    """Stand in for `BootService.assign`."""


BootService.assign = nothing  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    main()
