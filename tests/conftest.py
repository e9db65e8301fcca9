"""Logs at the level a user sees, asserts that explain themselves, and machines first."""

from __future__ import annotations

import pytest

from storeboot import log

log.set_up()

# What the clients of the simulation find is told as well as what a test finds.
pytest.register_assert_rewrite("simulation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests with machines first: where two run side by side, the short ones fill up the end."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
