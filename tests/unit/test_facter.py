"""Hardware reports: what of them is used, and what a damaged one does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from storeboot.config import Config, ServerSection
from storeboot.deploy.state import StateDirectory
from storeboot.deploy.systems import Systems
from storeboot.hosts.host import Host
from storeboot.initrd.facter import devices
from storeboot.initrd.modules import Needs
from storeboot.nix.store import Store

NIC = "pci:v00008086d000015F3sv00001043sd000087D2bc02sc00i00"
REPORT = {
    "version": 1,
    "hardware": {
        "network_controller": [
            {"index": 4, "module_alias": NIC, "driver_modules": ["igc"], "driver_module": "igc"}
        ],
        "system": {"form_factor": "desktop"},
    },
}


def test_devices_and_their_modules_are_found(tmp_path: Path) -> None:
    report = tmp_path / "lab1.json"
    assert devices(report) == ()
    report.write_text(json.dumps(REPORT))
    assert devices(report) == ("igc", NIC)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no report of nixos-facter"),
        ("[]", "it is no report of nixos-facter"),
        ('{"hardware": null}', "it names no device"),
        ('{"hardware": {"cpu": [{"module_alias": 7}]}}', "it names no device"),
        ("[" * 100_000, "it is no report of nixos-facter"),
    ],
)
def test_a_damaged_report_is_said_once_and_is_none(tmp_path: Path, text: str, reason: str) -> None:
    report = tmp_path / "lab1.json"
    report.write_text(text)
    with capture_logs() as logs:
        assert [devices(report), devices(report)] == [(), ()]
    assert [(each["file"], each["reason"]) for each in logs] == [(str(report), reason)]


def test_a_host_needs_what_its_report_has_unless_drivers_are_named(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    report = state.hardware_report("lab1")
    report.parent.mkdir()
    report.write_text(json.dumps(REPORT))
    systems = Systems(
        Config(server=ServerSection(address="127.0.0.1")), state, Store(tmp_path), bytes(32)
    )
    assert systems.needs(Host(name="lab1")) == Needs(devices=("igc", NIC))
    assert systems.needs(Host(name="lab2")) == Needs()
    assert systems.needs(Host(name="lab1", drivers=("e1000e",))) == Needs(("e1000e",))
    other = {"hardware": {"network_controller": [{"driver_module": "e1000e"}]}}
    report.write_text(json.dumps(other))
    os.utime(report, (1, 1))
    assert systems.needs(Host(name="lab1")) == Needs(devices=("e1000e",))
