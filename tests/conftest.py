"""Logs at the level a user sees, asserts that explain themselves, and the order of tests."""

from __future__ import annotations

import pytest
from typing_extensions import override
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from storeboot import log

log.set_up()

# What the clients of the simulation find is told as well as what a test finds.
pytest.register_assert_rewrite("simulation")

# Tests that share something: what takes seconds to make, a port that is not theirs to choose (2049,
# where a system's own stage 1 looks for its store), the directory of `storeboot demo`, a disk. One
# process runs all of a group. Each beginning of a test's id, with its group.
GROUPS = {
    "tests/systemd/test_unit.py": "unit",
    "tests/systemd/test_dnsmasq_unit.py": "dnsmasq unit",
    "tests/integration/test_postgresql.py": "postgresql",
    "tests/reliability/test_power_cuts.py": "power",
    "tests/e2e/test_native.py": "port 2049",
    "tests/e2e/test_alias.py": "port 2049",
    "tests/integration/test_nfs_workers.py": "port 2049",
    "tests/integration/test_refusals.py": "port 2049",
    "tests/integration/test_alias.py": "port 2049",
    "tests/integration/test_native.py": "port 2049",
    "tests/e2e/test_systems.py::test_the_demo_command": "demo",
    "tests/integration/test_cli.py::test_demo__": "demo",
}


LONG = "tests/systemd/test_signals.py"  # has machines too, beside all else


class Grouped(LoadScopeScheduling):  # type: ignore[misc]
    """Gives tests to processes one by one, and groups as a whole.

    The marker `xdist_group` does not: with pytest 9.2 it has no effect.
    """

    @override
    def _split_scope(self, nodeid: str) -> str:
        return next((group for start, group in GROUPS.items() if nodeid.startswith(start)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Grouped:
    return Grouped(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put machines first: where tests run side by side, the short ones fill up the end."""
    items.sort(key=lambda item: not (item.get_closest_marker("e2e") or LONG in item.nodeid))
