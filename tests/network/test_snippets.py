"""Lines for other people's DHCP servers, held against those servers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from storeboot.cli.main import cli
from storeboot.dhcp.firmware import FIRMWARE
from storeboot.dhcp.snippets import KINDS, lines

SAID = lines(
    "10.77.0.1",
    "http://10.77.0.1:8080",
    "10.77.0.1",
    {firmware.program for firmware in FIRMWARE},
)


def snippet(kind: str) -> str:
    return "".join(line + "\n" for line in KINDS[kind](SAID))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_names_script_and_programs(kind: str) -> None:
    text = snippet(kind)
    assert "http://10.77.0.1:8080/boot.ipxe" in text
    assert "bios.0" in text
    assert "x64.efi" in text
    assert "http://10.77.0.1:8080/firmware/x64.efi" in text


def test_dnsmasq_takes_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text("port=0\ndhcp-range=10.77.0.100,10.77.0.200\n" + snippet("dnsmasq"))
    subprocess.run(["dnsmasq", "--test", f"--conf-file={file}"], check=True)


def test_isc_takes_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "dhcpd.conf"
    file.write_text(snippet("isc") + "subnet 10.77.0.0 netmask 255.255.255.0 {}\n")
    subprocess.run(["dhcpd", "-t", "-cf", file], check=True)


def test_kea_takes_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "kea.conf"
    file.write_text('{ "Dhcp4": { "subnet4": [],\n' + snippet("kea") + "} }\n")
    subprocess.run(["kea-dhcp4", "-t", file], check=True)


def test_the_command_prints_them(tmp_path: Path) -> None:
    file = tmp_path / "storeboot.toml"
    file.write_text(f'[server]\naddress = "10.1.2.3"\nstate_directory = "{tmp_path}"\n'
                    '[networks.lab]\ninterface = "eth9"\naddress = "10.9.0.1/24"\n')  # fmt: skip
    done = CliRunner().invoke(cli, ["dhcp-snippet", "isc", "--config", str(file)])
    assert done.exit_code == 0
    assert 'filename "http://10.1.2.3:8080/boot.ipxe"' in done.output
    words = ["dhcp-snippet", "isc", "--network", "lab", "--config", str(file)]
    assert "http://10.9.0.1:8080/boot.ipxe" in CliRunner().invoke(cli, words).output
    words[3] = "nowhere"
    assert CliRunner().invoke(cli, words).exit_code == 2
