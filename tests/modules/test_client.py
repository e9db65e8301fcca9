"""The client module: what it makes of a system, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from modules.worlds import SEED, World, complaints

CLIENT = "storeboot.client.enable = true;"
NATIVE = (
    CLIENT
    + """
  storeboot.client.native.enable = true;
  storeboot.client.native.server = "192.168.1.1";
"""
)
DATA = """
  fileSystems."/data" = { device = "/dev/sda1"; fsType = "ext4"; neededForBoot = true; };
"""
BOOT_NIC: dict[str, dict[str, Any]] = {
    "matchConfig": {"Type": "ether", "Kind": "!*"},
    "networkConfig": {"DHCP": "ipv4", "KeepConfiguration": "yes"},
    "dhcpV4Config": {"ClientIdentifier": "mac", "UseMTU": True, "UseDomains": True},
}


def test_nothing_without_enable(world: World) -> None:
    found = world('fileSystems."/" = { device = "tmpfs"; fsType = "tmpfs"; };')
    assert found["fileSystems"]["/"]["options"] in ([], ["defaults"], ["x-initrd.mount"])
    assert found["services"] == found["sockets"] == {}
    assert found["grub"] is True
    assert found["initrd"]["network"]["enable"] is False


def test_what_is_right_in_every_mode(world: World) -> None:
    found = world(CLIENT)
    root = found["fileSystems"]["/"]
    assert (root["device"], root["fsType"]) == ("tmpfs", "tmpfs")
    assert {"mode=0755", "size=50%"} <= set(root["options"])
    assert "/nix/.ro-store" not in found["fileSystems"]
    assert found["failed"] == []
    assert found["grub"] is False
    assert found["nix"] == {"settings": {"auto-optimise-store": False}, "gc": False}
    assert found["dhcpcd"]["persistent"] is True
    assert "boot.panic_on_fail" in found["kernelParams"]
    assert found["services"] == {}  # storeboot's initrd brings its own


def test_native_file_systems(world: World) -> None:
    found = world(NATIVE)
    assert found["failed"] == []
    systems = found["fileSystems"]
    lower = systems["/nix/.ro-store"]
    assert (lower["fsType"], lower["device"]) == ("nfs", "192.168.1.1:/nixstore")
    # No initrd has mount.nfs: all that it would find out is said.
    assert {"ro", "hard", "addr=192.168.1.1", "vers=3", "mountport=2049", "nolock"} <= set(
        lower["options"]
    )
    assert "noacl" not in lower["options"]
    assert systems["/nix/.rw-store"]["fsType"] == "tmpfs"
    assert systems["/nix/store"]["overlay"] == {
        "lowerdir": ["/nix/.ro-store"],
        "upperdir": "/nix/.rw-store/store",
        "workdir": "/nix/.rw-store/work",
    }
    # nixpkgs' own list of what is neededForBoot has neither of them.
    for name in ("/nix/.ro-store", "/nix/.rw-store"):
        assert systems[name]["neededForBoot"] is True
    assert {"nfs", "nfsv3", "nfsv4", "overlay", "virtio_net"} <= set(found["initrd"]["modules"])


def test_native_of_nfs_4(world: World) -> None:
    found = world(NATIVE + 'storeboot.client.native.nfsVersion = "4.2";')
    lower = found["fileSystems"]["/nix/.ro-store"]
    assert lower["fsType"] == "nfs4"
    assert "vers=4.2" in lower["options"]
    assert not [word for word in lower["options"] if word.startswith("mount")]


def test_native_network_is_kept_into_stage_2(world: World) -> None:
    found = world(NATIVE + "networking.useNetworkd = true;")
    network = found["initrd"]["network"]
    assert network["enable"] is True
    assert network["flushBeforeStage2"] is False
    assert network["udhcpc"] is (world.stage1 == "scripted")
    for stage in (found["networks"], found["initrd"]["networks"])[
        : 1 + (world.stage1 == "systemd")
    ]:
        each = stage["10-storeboot"]
        assert BOOT_NIC["matchConfig"].items() <= each["matchConfig"].items()
        assert BOOT_NIC["networkConfig"].items() <= each["networkConfig"].items()
        assert BOOT_NIC["dhcpV4Config"].items() <= each["dhcpV4Config"].items()
    assert "clientid" in found["dhcpcd"]["extraConfig"].splitlines()


def test_native_boot_nic_by_mac(world: World) -> None:
    mac = "52:54:00:12:34:56"
    found = world(
        NATIVE + f'storeboot.client.interface.macAddress = "{mac}";'
        "networking.useNetworkd = true; networking.networkmanager.enable = true;"
    )
    assert found["failed"] == []
    assert found["networks"]["10-storeboot"]["matchConfig"] == {
        "Type": "ether", "Kind": "!*", "MACAddress": mac,
    }  # fmt: skip
    assert f"mac:{mac}" in found["unmanaged"]


def test_native_agent_lives_in_memory(world: World) -> None:
    services = world(NATIVE)["services"]
    assert "busybox-static" in services["storeboot-prepare"]["serviceConfig"]["ExecStart"]
    agent = services["storeboot-agent"]
    assert agent["serviceConfig"]["ExecStart"].startswith("/run/storeboot/bin/sh ")
    # It has most to tell when all else is stopped.
    assert agent["unitConfig"]["DefaultDependencies"] is False
    assert agent["serviceConfig"]["KillMode"] == "process"
    # Also to say that somebody has asked for rescue mode, which isolates a target.
    assert agent["unitConfig"]["IgnoreOnIsolate"] is True
    assert {f"storeboot-{each}" for each in ("poweroff", "reboot", "halt", "kexec")} < set(services)


@pytest.mark.parametrize(
    ("manager", "owner"),
    [
        ("", "system"),
        ("networking.useNetworkd = true;", "system"),
        ("networking.networkmanager.enable = true;", "agent"),
        ("networking.networkmanager.enable = true; networking.useNetworkd = true;", "system"),
    ],
)
def test_native_lease_is_renewed_by_somebody(world: World, manager: str, owner: str) -> None:
    """NetworkManager leaves the boot NIC alone."""
    mac = 'storeboot.client.interface.macAddress = "52:54:00:12:34:56";'
    services = world(NATIVE + mac + manager)["services"]
    assert services["storeboot-prepare"]["serviceConfig"]["ExecStart"].endswith(f" {owner}")


def test_local_overlay_store(world: World) -> None:
    found = world(CLIENT + 'storeboot.client.nixStore = "local-overlay";')
    assert found["nix"]["settings"]["store"].startswith("local-overlay://?lower-store=/nix/.lower")


def test_rescue(world: World) -> None:
    found = world(CLIENT + "storeboot.client.rescue.enable = true;")
    assert "boot.shell_on_fail" in found["kernelParams"]
    assert "boot.panic_on_fail" not in found["kernelParams"]
    assert found["initrd"]["emergencyAccess"] is True
    found = world(
        CLIENT + 'storeboot.client.rescue = { enable = true; hashedPassword = "$y$hash"; };'
    )
    assert found["initrd"]["emergencyAccess"] == "$y$hash"


def pool(kind: str, *options: str) -> str:
    """A file system of a type, that is needed early."""
    words = " ".join(f'"{each}"' for each in options)
    return (
        f'fileSystems."/data" = {{ device = "tank"; fsType = "{kind}"; neededForBoot = true; '
        f"options = [ {words} ]; }};"
    )


def test_a_share_from_the_network_may_be_needed_early(world: World) -> None:
    assert world(CLIENT + pool("9p", "trans=tcp"))["failed"] == []
    assert world(CLIENT + pool("nfs"))["failed"] == []


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (NATIVE + "boot.initrd.network.flushBeforeStage2 = true;", "flushBeforeStage2 removes"),
        (NATIVE + "boot.initrd.network.enable = lib.mkForce false;", "network.enable = true"),
        (NATIVE + "networking.networkmanager.enable = true;", "interface.macAddress"),
        (CLIENT + "boot.loader.grub.enable = true;", "a diskless machine needs no boot loader"),
        (CLIENT + "nix.gc.automatic = true;", "nix.gc.automatic"),
        (CLIENT + "nix.settings.auto-optimise-store = true;", "auto-optimise-store"),
        (CLIENT + 'boot.initrd.luks.devices.x.device = "/dev/sda2";', "luks.devices"),
        (CLIENT + 'boot.initrd.secrets."/key" = "/root/key";', "boot.initrd.secrets"),
        (CLIENT + 'fileSystems."/" = { fsType = lib.mkForce "ext4"; };', "is of type ext4"),
        (
            CLIENT + DATA,
            "/data on /dev/sda1",
        ),
        (CLIENT + pool("zfs"), "a local disk is neededForBoot"),
        (CLIENT + pool("virtiofs"), "/data on tank"),
        (CLIENT + pool("9p", "trans=virtio"), "hypervisor"),
    ],
)
def test_contradictions(world: World, module: str, words: str) -> None:
    (message,) = complaints(world(module))
    assert message.startswith("storeboot.client: ")
    assert words in message


def test_a_scripted_stage_1_needs_an_address(place: str | None) -> None:
    world = World("scripted", place)
    off = NATIVE + "boot.initrd.network.udhcpc.enable = false;"
    (message,) = complaints(world(off))
    assert "udhcpc.enable = true" in message
    assert world(off + 'boot.kernelParams = [ "ip=dhcp" ];')["failed"] == []


def test_native_needs_to_know_the_server(world: World) -> None:
    said = world.fault(CLIENT + "storeboot.client.native.enable = true;")
    assert "storeboot.client.native.server" in said


def test_swap_is_warned_of(world: World) -> None:
    found = world(CLIENT + 'swapDevices = [ { device = "/dev/sda3"; } ];')
    (warning,) = [each for each in found["warnings"] if "storeboot" in each]
    assert "zram" in warning


def test_the_seeds_own_configuration_beside_the_client(place: str | None) -> None:
    """Who has the document's set-up may turn `storeboot.client` on and delete by and by."""
    found = World("scripted", place)(
        SEED % {"server": "192.168.1.1"} + CLIENT + "boot.initrd.network.flushBeforeStage2 = false;"
    )
    assert found["failed"] == []
    assert found["fileSystems"]["/nix/.ro-store"]["device"] == "192.168.1.1:nixstore"


def test_a_misspelt_option_is_an_error(world: World) -> None:
    """Of the stand-in too, or it would show nothing."""
    assert "does not exist" in world.fault(CLIENT + "storeboot.client.natvie.enable = true;")
    assert "rootSize" in world.fault(CLIENT + "storeboot.client.rootSize = 5;")
