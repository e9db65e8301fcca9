from __future__ import annotations

from pathlib import Path

import pytest

from storeboot.errors import CommandError
from storeboot.vm import qemu
from storeboot.vm.loader import Loaded

SPEC = qemu.MachineSpec(url="http://10.0.2.2:8080/boot.ipxe")


def arguments(spec: qemu.MachineSpec = SPEC, *, kvm: bool = False) -> str:
    return " ".join(qemu.arguments(spec, kvm=kvm, console=Path("/c"), qmp=Path("/q")))


def test_a_machine_has_no_disk_unless_given_one() -> None:
    assert "-drive" not in arguments()
    assert "-nodefaults" in arguments()
    with_disk = arguments(qemu.MachineSpec(url="u", disk=Path("/d")))
    assert "-drive file=/d,format=raw,if=virtio" in with_disk


def test_kvm_brings_the_hosts_processor() -> None:
    assert "-accel kvm -cpu host" in arguments(kvm=True)
    assert "-accel tcg -cpu max" in arguments()


def test_a_missing_rom_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "_ROM_PLACES", ("/nonexistent",))
    with pytest.raises(CommandError, match=r"efi-virtio.rom is not installed") as caught:
        qemu.require_rom()
    assert "ipxe-qemu" in (caught.value.hint or "")


async def test_kvm_that_is_not_there_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert not await qemu.kvm_works(tmp_path)


@pytest.mark.parametrize(("flags", "has"), [("fpu vmx", True), ("fpu svm", True), ("fpu", False)])
def test_kvm_needs_a_processor_that_runs_guests(flags: str, has: bool) -> None:
    assert qemu.cpu_has_virtualisation(f"processor: 0\nflags\t\t: {flags}\n") is has


def test_a_machine_that_is_given_its_kernel_has_no_rom() -> None:
    loaded = Loaded(Path("/k"), Path("/i"), "a=b c")
    said = arguments(qemu.MachineSpec(loaded=loaded))
    assert "-kernel /k -initrd /i -append a=b c" in said
    assert "romfile= " in said
    assert "bootfile" not in said
