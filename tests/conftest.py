"""Logs at the level a user sees, and asserts that explain themselves."""

from __future__ import annotations

import pytest

from storeboot import log

log.set_up()

# What the clients of the simulation find is told as well as what a test finds.
pytest.register_assert_rewrite("simulation")
