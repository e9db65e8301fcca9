"""Logs at the level a user sees, asserts that explain themselves, and the order of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from storeboot import log

log.set_up()

# What the clients of the simulation find is told as well as what a test finds.
pytest.register_assert_rewrite("simulation")

# Modules whose tests share something that takes seconds to make, or a port that is not theirs to
# choose (2049, where a system's own stage 1 looks for its store): one process runs all of them.
TOGETHER = (
    "systemd/test_unit", "systemd/test_dnsmasq_unit", "integration/test_postgresql",
    "e2e/test_native",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put machines first: where two tests run side by side, the short ones fill up the end."""
    for item in items:
        name = "/".join(Path(item.path).with_suffix("").parts[-2:])
        if name in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
