"""What a hardware report of `nixos-facter` says about a machine's devices.

The report is JSON: `hardware` has lists of devices by class, and a device may have `module_alias`,
by which the kernel names it, and `driver_modules` (nixos-facter, pkg/hwinfo).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()
_AGAIN = "make it again on the machine (nixos-facter -o FILE), or remove it"


def devices(report: Path) -> tuple[str, ...]:
    """Return modaliases and driver modules of a machine's devices; () if there is no report.

    A report that cannot be used is logged once, and is none: the initrd then has every driver.
    """
    try:
        state = report.stat()
    except OSError:
        return ()
    return _devices(report, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1024)
def _devices(report: Path, _mtime: int, _size: int) -> tuple[str, ...]:
    try:
        found = set(_words(json.loads(report.read_bytes())["hardware"]))
    except OSError as error:
        return _ignored(report, f"it cannot be read: {error.strerror}")
    except (ValueError, KeyError, TypeError, RecursionError):
        return _ignored(report, "it is no report of nixos-facter")
    return tuple(sorted(found)) if found else _ignored(report, "it names no device")


def _ignored(report: Path, reason: str) -> tuple[str, ...]:
    log.warning("hardware.report_ignored", file=str(report), reason=reason, hint=_AGAIN)
    return ()


def _words(value: Any) -> list[str]:
    """Return what devices say of themselves, wherever the report has them."""
    if isinstance(value, list):
        return [word for each in value for word in _words(each)]
    if not isinstance(value, dict):
        return []
    own = [value.get("module_alias"), value.get("driver_module")]
    modules = value.get("driver_modules")
    own += modules if isinstance(modules, list) else []
    below = [word for each in value.values() for word in _words(each)]
    return [*(word for word in own if isinstance(word, str) and word), *below]
