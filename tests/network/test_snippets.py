"""Lines for other people's DHCP servers, held against those servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from network.lab import Namespace, attached, bridged, needs_root
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


FOREIGN = {
    "dnsmasq": (
        ("port=0\nno-ping\nuser=root\npid-file=\ninterface=br0\nbind-dynamic\nlog-facility=-\n"
        "dhcp-range=10.77.0.100,10.77.0.199\ndhcp-leasefile={directory}/leases\n{snippet}"),
        ("dnsmasq", "--keep-in-foreground", "--conf-file={file}"),
        "started",
    ),
    "isc": (
        ("{snippet}authoritative;\nping-check off;\n"
        "subnet 10.77.0.0 netmask 255.255.255.0 {{ range 10.77.0.100 10.77.0.199; }}\n"),
        ("dhcpd", "-f", "-d", "-cf", "{file}", "-lf", "{directory}/leases",
         "--no-pid", "br0"),
        "Server starting service",
    ),
    "kea": (
        ('{{"Dhcp4": {{"interfaces-config": {{"interfaces": ["br0"]}},\n'
        '"lease-database": {{"type": "memfile", "persist": false}},\n'
        '"loggers": [{{"name": "kea-dhcp4", "severity": "INFO", '
        '"output_options": [{{"output": "stderr", "flush": true}}]}}],\n'
        '"subnet4": [{{"id": 1, "subnet": "10.77.0.0/24", '
        '"pools": [{{"pool": "10.77.0.100 - 10.77.0.199"}}]}}],\n{snippet}}} }}\n'),
        ("env", "KEA_LOCKFILE_DIR=none", "KEA_PIDFILE_DIR={directory}",
         "kea-dhcp4", "-c", "{file}"),
        "DHCP4_STARTED",
    ),
}  # fmt: skip
NAMES = (
    "004c4c4544004e3110805ac0c04f445332",  # firmware: the UUID
    "01525400123456",  # iPXE and initrd: the MAC address
    "ff00123456000200000ab11f2e3d4c5b6a7988",  # systems: a DUID
)
ASKED = {
    "bios.0": {60: "PXEClient", 93: "0000"},
    "arm64.efi": {60: "PXEClient:Arch:00011"},
    "x64.efi": {60: "PXEClient:Arch:00000", 93: "0007"},
}


@contextmanager
def foreign(kind: str, directory: Path) -> Iterator[Namespace]:
    """Yield a client beside somebody's DHCP server that has our lines."""
    text, words, ready = FOREIGN[kind]
    file = directory / "conf"
    said = {"snippet": snippet(kind), "directory": directory, "file": file}
    file.write_text(text.format_map(said))
    (directory / "leases").touch()
    with bridged("10.77.0.1/24") as server, attached(server) as client:
        argv = server.argv(*(word.format_map(said) for word in words))
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if ready in line:
                    break
            try:
                assert process.poll() is None, "".join(lines)
                yield client
            finally:
                process.kill()


@needs_root
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_server_gives_a_machine_one_address_and_each_its_program(
    kind: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    with foreign(kind, tmp_path) as client:
        given = set()
        for name in NAMES:
            offer = client.ask("eth0", options={61: name})
            chosen = {61: name, 50: address(offer["address"]), 54: offer["options"]["54"]}
            given.add(client.ask("eth0", kind=3, options=chosen)["address"])
        assert len(given) == 1
        for file, said in ASKED.items():
            options = {code: value.encode().hex() if code == 60 else value
                       for code, value in said.items()}  # fmt: skip
            answer = client.ask("eth0", options=options)
            assert file in (answer["file"], answer["option_file"])


def address(text: str) -> str:
    return bytes(map(int, text.split("."))).hex()


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
