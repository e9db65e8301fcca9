"""Which NIC the initrd and the agent take for the one that booted, by what the kernel shows."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from storeboot.errors import CommandError
from storeboot.initrd.busybox import find_busybox
from storeboot.process import run
from unit.initrd_scripts import SCRIPTS

MAC = "52:54:00:12:34:56"


class Machine:
    """A directory like /sys/class/net, and the facts of a boot."""

    def __init__(self, directory: Path) -> None:
        self.net, self.state = directory / "net", directory / "run"
        self.state.mkdir()
        text = (SCRIPTS / "common.sh").read_text()
        self.script = directory / "common.sh"
        self.script.write_text(
            text.replace("/sys/class/net", str(self.net)).replace("/run/storeboot", str(self.state))
        )
        (self.state / "fact.mac").write_text(MAC + "\n")

    def interface(
        self, name: str, index: int, *, mac: str = MAC, device: bool = True, held: bool = False
    ) -> None:
        place = self.net / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "address").write_text(mac + "\n")
        (place / "ifindex").write_text(f"{index}\n")
        for link, is_there in (("device", device), ("master", held)):
            (place / link).unlink(missing_ok=True)
            if is_there:
                (place / link).symlink_to("..")

    def says(self, command: str) -> str:
        busybox = str(find_busybox(platform.machine()))
        return run([busybox, "sh", "-c", f". {self.script}; {command}"]).strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_has_only_copied_the_address_is_not_taken(machine: Machine) -> None:
    """A VLAN, a macvlan, a bridge and a bond, which come first by name."""
    for index, name in enumerate(("bond0", "br0", "eno1.7", "macvlan0"), 5):
        machine.interface(name, index, device=False)
    machine.interface("wan", 2)
    assert machine.says("boot_nic") == "wan"


def test_a_nic_is_known_by_its_index_under_another_name_and_address(machine: Machine) -> None:
    machine.interface("eth1", 3)
    assert machine.says("remember_nic; boot_nic") == "eth1"
    (machine.net / "eth1").rename(machine.net / "enp3s0")
    machine.interface("eth0", 2)  # the other one in a bond has got our address, and we another
    machine.interface("enp3s0", 3, mac="52:54:00:99:99:99", held=True)
    assert machine.says("boot_nic") == "enp3s0"


def test_a_nic_that_was_plugged_in_again_is_found_by_its_address(machine: Machine) -> None:
    machine.interface("usb0", 3)
    machine.says("remember_nic")
    machine.interface("usb0", 9)
    machine.interface("a-vlan", 7, device=False)
    assert machine.says("boot_nic") == "usb0"


def test_of_two_with_one_address_it_is_the_one_that_holds_the_other(machine: Machine) -> None:
    """A virtual function and the paravirtual NIC that it speeds up, as on Hyper-V."""
    machine.interface("enP1s1", 4, held=True)
    machine.interface("eth0", 2)
    assert machine.says("boot_nic") == "eth0"
    machine.interface("eth0", 2, held=True)  # a bridge holds it: still one of ours
    assert machine.says("boot_nic") == "enP1s1"


def test_without_the_nic_there_is_none(machine: Machine) -> None:
    machine.interface("eth0", 2, mac="52:54:00:00:00:09")
    with pytest.raises(CommandError):
        machine.says("boot_nic")
