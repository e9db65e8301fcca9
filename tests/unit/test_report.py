from __future__ import annotations

from dataclasses import replace

import pytest

from storeboot.boot.report import (
    GuestReport,
    MountStats,
    compare,
    parse_facts,
    parse_hashes,
    parse_mountstats,
)

MOUNTSTATS = """\
device proc mounted on /proc with fstype proc
device 10.0.2.2:/view/x mounted on /nix/.ro-store with fstype nfs statvers=1.1
\topts:\tro,vers=3,rsize=1048576
\tbytes:\t9 0 0 0 4096 0 0 0
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t        READ: 12 12 0 1 1 1 1 1 0
\t       WRITE: 0 0 0 0 0 0 0 0 0
device tmpfs mounted on /run with fstype tmpfs
"""


def test_mountstats_of_the_stores_mount() -> None:
    stats = parse_mountstats(MOUNTSTATS)
    assert stats == MountStats("3", {"READ": 12, "NULL": 1}, 4096)
    assert stats.total == 13


def test_mountstats_without_the_mount_are_zero() -> None:
    assert parse_mountstats("device proc mounted on /proc with fstype proc\n").total == 0


GOOD = GuestReport(
    parse_facts(
        "system=s\nstore_fstype=overlay\nlower_fstype=nfs\nwrite_ok=yes\nclosure_valid=yes\n"
    ),
    files_hashed=10,
    mismatches=(),
    boot=MountStats("3", {}, 0),
    after=MountStats("3", {}, 0),
)


def test_a_good_report_has_no_fault() -> None:
    assert GOOD.faults(system="s", least_files=10, nix=True) == []


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [("system", "t", "runs t instead of s"),
     ("store_fstype", "nfs", "no overlay"), ("lower_fstype", "ext4", "not NFS"),
     ("write_ok", "no", "writing"), ("closure_valid", "no", "valid"),
     ("failed_units", "sshd.service ", "failed units: sshd.service")],
)  # fmt: skip
def test_each_wrong_fact_is_a_fault(fact: str, value: str, said: str) -> None:
    bad = replace(GOOD, facts={**GOOD.facts, fact: value})
    assert [fault for fault in bad.faults(system="s", least_files=10, nix=True) if said in fault]


def test_too_few_files_and_differing_ones_are_faults() -> None:
    bad = replace(GOOD, files_hashed=9, mismatches=("/nix/store/x",))
    assert len(bad.faults(system="s", least_files=10, nix=False)) == 2


def test_compare_finds_changed_missing_and_added_files() -> None:
    ours = {b"a": "1", b"b": "2", b"c": "3"}
    assert compare({b"a": "1", b"b": "x", b"d": "4"}, ours) == ("b", "c", "d")
    assert compare(parse_hashes(b"1  a\n2  b\n3  c\n"), ours) == ()
