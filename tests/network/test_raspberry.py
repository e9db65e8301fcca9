"""The boot of a Raspberry Pi, as its firmware asks for it."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from integration.stores import add, toplevel_tree
from network.lab import Namespace, attached, bridged, needs_root
from network.serving import Served, What, served, settings
from storeboot.initrd.busybox import find_busybox
from storeboot.nix.store import Store, StorePath

pytestmark = [needs_root, pytest.mark.timeout(300)]
MAC, SERIAL = "dc:a6:32:01:02:03", "10000000abcdef12"
PXE = {60: b"PXEClient:Arch:00000:UNDI:002001".hex(), 93: "0000"}


@dataclass(slots=True)
class Board:
    """What it has fetched last, by name."""

    client: Namespace
    fetched: dict[str, str] = field(default_factory=dict)

    def fetch(self, name: str) -> bytes | None:
        answer = self.client.ask("eth0", server="10.77.0.1", get=name, content=True)
        return bytes.fromhex(answer["content"]) if "content" in answer else None

    def config(self) -> dict[str, str]:
        text = self.fetch("abcdef12/config.txt")
        assert text is not None
        pairs = (line.partition("=") for line in text.decode().splitlines() if "=" in line)
        return {name: value for name, _, value in pairs}

    def walk(self, config: dict[str, str]) -> dict[str, bytes | None]:
        """What config.txt leads to."""
        base = f"abcdef12/{config['os_prefix']}"
        names = ("cmdline.txt", "kernel8.img", "initramfs", "bcm2711-rpi-4-b.dtb")
        return {name: self.fetch(base + name) for name in names}


def pi_system(store: Store, directory: Path, number: int) -> StorePath:
    """A system for arm64 whose kernel is a few bytes."""
    tree = toplevel_tree(directory / str(number))
    (tree / "kernel").write_bytes(bytes(0x38) + b"ARM\x64" + bytes([number]) * 4096)
    (tree / "kernel-params").write_text(f"console=serial0 edition={number}")
    trees = tree / "dtbs" / "broadcom"
    trees.mkdir(parents=True)
    (trees / "bcm2711-rpi-4-b.dtb").write_bytes(bytes([number]) * 100)
    return add(store, tree)


def foreign_busybox(directory: Path) -> Path:
    """One with the header of an arm64 program: nothing runs it here."""
    made = directory / "busybox"
    data = bytearray(find_busybox(platform.machine()).read_bytes())
    data[18:20] = (183).to_bytes(2, "little")
    made.write_bytes(data)
    return made


@dataclass(frozen=True, slots=True)
class Lab:
    """A server with a board, and two systems for it."""

    toml: Path
    one: StorePath
    two: StorePath


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    store = Store(tmp_path / "root")
    for number in (1, 2, 3):
        (tmp_path / str(number)).mkdir()
    one, two = (pi_system(store, tmp_path, number) for number in (1, 2))
    other = add(store, toplevel_tree(tmp_path / "3"))
    # Like /srv: dnsmasq's user has to read it, and pytest's own directories are root's.
    firmware = Path(tempfile.mkdtemp(prefix="storeboot-firmware-"))
    firmware.chmod(0o755)
    for name in ("start4.elf", "fixup4.dat", "bootcode.bin"):
        (firmware / name).write_bytes(name.encode() * 100)
    (firmware / "config.txt").write_text("enable_uart=1\n")
    more = f"""
[hosts.pi]
mac = ["{MAC}"]
serial = ["{SERIAL}"]
mode = "plain"
"""
    busyboxes = {"aarch64": foreign_busybox(tmp_path)}
    what = What(store.root, other.text, busyboxes=busyboxes)
    toml = settings(tmp_path, what, mode="full", more=more)
    text = toml.read_text().replace("[dhcp]\n", f'[dhcp]\nraspberry_firmware = "{firmware}"\n')
    toml.write_text(text)
    yield Lab(toml, one, two)
    shutil.rmtree(firmware)


def chosen(running: Served) -> str:
    file = running.state / "dhcp" / "tftp" / "abcdef12" / "config.txt"
    return file.read_text() if file.is_file() else ""


def deploy(running: Served, *words: str) -> None:
    before = chosen(running)
    running.command(*words)
    running.until(lambda: chosen(running) != before, 30)


def test_a_board_s_boot_is_of_one_generation_whatever_is_deployed_meanwhile(lab: Lab) -> None:
    with bridged("10.77.0.1/24") as server, served(server, lab.toml) as running:
        deploy(running, "deploy", "pi", lab.one.text)
        with attached(server) as client:
            offer = client.ask("eth0", mac=MAC, options=PXE)
            assert (offer["file"], offer["next_server"]) == ("bootcode.bin", "10.77.0.1")
            assert b"Raspberry Pi Boot" in bytes.fromhex(offer["options"]["43"])
            client.ip(f"addr add {offer['address']}/24 dev eth0")
            board = Board(client)
            # Its own directory first; what is not there it asks for without one.
            assert board.fetch("abcdef12/start4.elf") == b"start4.elf" * 100
            assert board.fetch("abcdef12/recovery.elf") is None
            config = board.config()
            assert (config["enable_uart"], config["kernel"]) == ("1", "kernel8.img")
            first = board.walk(config)
            line = (first["cmdline.txt"] or b"").decode()
            assert f"init={lab.one.text}/init" in line
            assert "edition=1" in line
            assert "storeboot.url=http://10.77.0.1:8080 " in line
            assert first["kernel8.img"] == bytes(0x38) + b"ARM\x64" + b"\x01" * 4096
            assert first["bcm2711-rpi-4-b.dtb"] == b"\x01" * 100

            deploy(running, "deploy", "pi", lab.two.text)
            assert board.walk(config) == first  # a board that is on its way goes on with the old
            second = board.walk(board.config())
            assert "edition=2" in (second["cmdline.txt"] or b"").decode()
            assert second["kernel8.img"] != first["kernel8.img"]

            deploy(running, "rollback", "pi")
            assert board.config() == config
            assert board.walk(config) == first


def test_the_initrd_of_a_board_is_for_its_processor(lab: Lab) -> None:
    with bridged("10.77.0.1/24") as server, served(server, lab.toml) as running:
        deploy(running, "deploy", "pi", lab.one.text)
        (image,) = (running.state / "dhcp" / "tftp" / "abcdef12").glob("*/initramfs")
        digests = {
            hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (running.state / "initrds").glob("*.img")
        }
        assert hashlib.sha256(image.read_bytes()).hexdigest() in digests
