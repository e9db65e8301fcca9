"""Logs at the level a user sees."""

from __future__ import annotations

from storeboot import log

log.set_up()
