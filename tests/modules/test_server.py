"""The server module: the same TOML file, a unit without rights, the firewall."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from modules.worlds import World, complaints
from storeboot.config import Config
from storeboot.serve.reload import FIXED

SHIPPED = Path(__file__).parents[2] / "systemd" / "system"
HOST = 'hosts.lab1 = { mac = [ "52:54:00:12:34:56" ]; };'
SERVER = 'services.storeboot = { enable = true; server.address = "10.1.0.1"; %s };'
LAB = """
  networks.lab = {
    interface = "br0"; address = "10.1.0.1/24"; range = [ "10.1.0.100" "10.1.0.200" ];
  };
"""
FULL = SERVER % (LAB + 'dhcp.mode = "full";')
DNSMASQ = 'services.dnsmasq = { enable = true; settings.dhcp-range = [ "10.1.0.2,10.1.0.9" ]; };'
CAPABILITIES = ["CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_NET_RAW"]


def configuration(world: World, more: str) -> Config:
    return Config.model_validate(tomllib.loads(world(SERVER % more)["toml"]))


def test_the_least(world: World) -> None:
    config = configuration(world, "")
    assert config.server.address == "10.1.0.1"
    assert config.listening(config.nfs) == ("0.0.0.0",)
    assert config.initrd.busybox is not None
    assert config.dhcp.ipxe.keys() == {"bios", "x64"}
    # The file has no setting that is not set.
    assert '"group"' not in world(SERVER % HOST)["toml"]


def test_hosts_and_groups(world: World) -> None:
    config = configuration(
        world,
        """
        groups.lab = { mode = "plain"; kernel_params = [ "quiet" ]; };
        defaults.overlay_size = "4G";
        hosts.lab1 = {
          group = "lab"; mac = [ "52:54:00:12:34:56" ]; address = [ "10.1.0.21" ];
          system = "/nix/store/00000000000000000000000000000000-nixos-system-lab1";
        };
        hosts.lab2 = {
          serial = [ "10000000abcdef01" ]; zram = "1G"; persist_label = "data";
          persist_directories = [ "/var/lib/postgresql" ]; menu = true;
        };
        """,
    )
    lab1, lab2 = config.hosts["lab1"], config.hosts["lab2"]
    assert (lab1.group, lab1.mac) == ("lab", ("52:54:00:12:34:56",))
    assert lab1.system is not None
    assert lab2.persist_directories == ("/var/lib/postgresql",)
    assert lab2.menu is True
    assert config.groups["lab"].mode == "plain"
    assert config.defaults.overlay_size == "4G"


def test_a_system_may_be_a_package(world: World) -> None:
    """`hosts.lab1.system = inputs.self.nixosConfigurations.lab1.config.system.build.toplevel`."""
    package = '{ type = "derivation"; name = "s"; outPath = "/nix/store/' + "0" * 32 + '-s"; }'
    host = 'hosts.lab1 = { mac = [ "52:54:00:12:34:56" ]; system = %s; };'
    config = configuration(world, host % package)
    assert config.hosts["lab1"].system == f"/nix/store/{'0' * 32}-s"


def test_networks_and_dhcp(world: World) -> None:
    config = configuration(world, HOST + LAB + 'dhcp.mode = "full";')
    assert config.dhcp.mode == "full"
    assert config.networks["lab"].range == ("10.1.0.100", "10.1.0.200")
    assert config.listening(config.http) == ("10.1.0.1",)


def shipped(name: str, section: str) -> dict[str, str]:
    """A section of a unit that storeboot ships; what is said twice is joined."""
    found: dict[str, str] = {}
    current = ""
    for line in (SHIPPED / name).read_text().splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif "=" in line and not line.startswith("#") and current == section:
            key, _, value = line.partition("=")
            found[key] = f"{found[key]} {value}" if key in found else value
    assert found, (name, section)
    return found


def as_shipped(settings: dict[str, Any]) -> dict[str, str]:
    """Settings of the module as a unit file has them."""

    def text(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return " ".join(map(str, value)) if isinstance(value, list) else str(value)

    return {name: text(value) for name, value in settings.items()}


def test_the_units_are_those_that_other_distributions_get(world: World) -> None:
    """What differs is what NixOS does otherwise, and nothing else."""
    found = world(FULL)
    units = {name: as_shipped(unit["serviceConfig"]) for name, unit in found["services"].items()}
    server = units["storeboot"]
    theirs = shipped("storeboot.service", "Service")
    assert theirs.pop("Environment").endswith(found["services"]["storeboot"]["environment"][
        "STOREBOOT_DNSMASQ"])  # fmt: skip
    assert theirs.pop("Sockets")  # each socket says it there
    assert theirs.pop("ExecReload")
    assert (theirs.pop("Type"), server.pop("Type")) == ("notify", "notify-reload")
    assert theirs.pop("ExecStart").partition(" ")[2] == server.pop("ExecStart").partition(" ")[2]
    assert server == theirs

    dnsmasq = units["storeboot-dnsmasq"]
    theirs = shipped("storeboot-dnsmasq.service", "Service")
    program = dnsmasq.pop("ExecStart").partition(" ")[2]
    assert program.startswith(f"{theirs.pop('ExecStart').partition(' ')[2]} --program ")
    assert dnsmasq == theirs
    for name in ("storeboot", "storeboot-dnsmasq"):
        unit = found["services"][name]["unitConfig"]
        assert as_shipped(unit).items() <= shipped(f"{name}.service", "Unit").items()

    sockets = found["sockets"]
    assert as_shipped(sockets["storeboot-dnsmasq"]) == shipped("storeboot-dnsmasq.socket", "Socket")
    for kind in ("nfs", "http"):
        (name,) = (each for each in sockets if each.startswith(f"storeboot-{kind}-"))
        own = as_shipped(sockets[name]) | {"ListenStream": ""}
        assert own == shipped(f"storeboot-{kind}.socket", "Socket") | {"ListenStream": ""}


def test_users_and_directories_are_those_that_other_distributions_get(world: World) -> None:
    found = world(FULL)
    users = {line.split()[1] for line in
             (SHIPPED.parent / "sysusers.d/storeboot.conf").read_text().splitlines()}  # fmt: skip
    assert users == {"storeboot", "storeboot-dnsmasq"} == set(found["users"])
    lines = (SHIPPED.parent / "tmpfiles.d/storeboot.conf").read_text().splitlines()
    assert {" ".join(line.split()) for line in lines if line[0] != "#"} == set(found["tmpfiles"])


def test_the_unit_has_no_rights(world: World) -> None:
    unit = world(SERVER % HOST)["services"]["storeboot"]["serviceConfig"]
    assert unit["User"] == "storeboot"
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ""
    assert unit["ProtectSystem"] == "strict"
    assert unit["StateDirectory"] == "storeboot"
    assert (unit["Type"], unit["WatchdogSec"]) == ("notify-reload", 6)


def test_only_dnsmasq_has_capabilities_and_only_where_it_runs(world: World) -> None:
    services = world(SERVER % (HOST + LAB + 'dhcp.mode = "proxy";'))["services"]
    unit = services["storeboot-dnsmasq"]["serviceConfig"]
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == CAPABILITIES
    for name in ("storeboot", "storeboot-gc"):
        assert services[name]["serviceConfig"]["CapabilityBoundingSet"] == ""
    found = world(SERVER % HOST)
    assert "storeboot-dnsmasq" not in found["services"]
    assert "storeboot-dnsmasq" not in found["sockets"]
    assert "STOREBOOT_DNSMASQ" not in found["services"]["storeboot"]["environment"]


def test_sockets_outlive_the_server(world: World) -> None:
    found = world(SERVER % (HOST + LAB + "nfs.alias = true; nfs.port = 2050;"))
    sockets = found["sockets"]
    streams = {name.rpartition("-")[0]: each["ListenStream"] for name, each in sockets.items()}
    assert streams == {
        "storeboot-nfs": ["10.1.0.1:2050"],
        "storeboot-http": ["10.1.0.1:8080"],
        "storeboot-alias": ["10.1.0.1:2049"],
    }
    assert {each["Service"] for each in sockets.values()} == {"storeboot.service"}
    assert {each["FileDescriptorName"] for each in sockets.values()} == {"nfs", "http", "alias"}
    unit = found["services"]["storeboot"]
    assert {f"{name}.socket" for name in sockets} == set(unit["requires"])
    # Stopped before the switch it would be started again, as it was, by the next question.
    assert unit["stopIfChanged"] is False


def test_a_socket_that_listens_elsewhere_is_another_unit(world: World) -> None:
    """switch-to-configuration leaves sockets that have changed as they were."""
    names = [set(world(SERVER % more)["sockets"]) for more in ("", "http.port = 8081;")]
    assert len(names[0] & names[1]) == 1


def test_what_a_reload_leaves_is_what_restarts_the_unit(world: World) -> None:
    """The same sections in both places, or a change would be lost until the next restart."""
    assert set(world(SERVER % HOST)["fixedPart"]) == set(FIXED)


def test_another_state_directory(world: World) -> None:
    unit = world(SERVER % 'server.state_directory = "/data/boot";')["services"]["storeboot"]
    assert "/data/boot" in unit["serviceConfig"]["ReadWritePaths"]
    assert "StateDirectory" not in unit["serviceConfig"]


def test_retention(world: World) -> None:
    services = world(SERVER % "retention.keep = 2;")["services"]
    assert "gc --keep 2" in services["storeboot-gc"]["serviceConfig"]["ExecStart"]
    assert "storeboot-gc" not in world(SERVER % "retention.dates = null;")["services"]


def test_firewall(world: World) -> None:
    assert world(SERVER % HOST)["firewall"]["allowedTCPPorts"] == []
    opened = world(SERVER % (HOST + "openFirewall = true; nfs.alias = true;"))["firewall"]
    assert opened["allowedTCPPorts"] == [8080, 2049]
    opened = world(SERVER % (HOST + LAB + 'openFirewall = true; dhcp.mode = "full";'))["firewall"]
    assert opened["allowedTCPPorts"] == []
    assert sorted(opened["interfaces"]["br0"]["allowedUDPPorts"]) == [67, 69, 4011]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (SERVER % "" + "services.nfs.server.enable = true;", "services.nfs.server"),
        (FULL + DNSMASQ, "services.dnsmasq"),
        (FULL + "services.kea.dhcp4.enable = true;", "kea.dhcp4"),
    ],
)
def test_contradictions(world: World, module: str, words: str) -> None:
    (message,) = complaints(world(module))
    assert words in message
    assert "services.storeboot" in message


def test_a_store_that_is_changed_in_place_is_warned_of(world: World) -> None:
    found = world(SERVER % "" + "nix.settings.auto-optimise-store = true;")
    assert [each for each in found["warnings"] if "services.storeboot serves" in each]


def test_a_name_server_beside_dhcp_is_fine(world: World) -> None:
    assert complaints(world(FULL + "services.dnsmasq.enable = true;")) == []


def test_who_may_not_use_nix_is_warned_of(world: World) -> None:
    found = world(SERVER % "" + 'nix.settings.allowed-users = [ "@wheel" ];')
    assert [each for each in found["warnings"] if "allowed-users" in each]
    assert not [each for each in world(SERVER % "")["warnings"] if "allowed-users" in each]


def test_places_of_the_server_are_not_copied_to_its_store(world: World) -> None:
    config = configuration(world, "server.state_directory = /srv/storeboot;")
    assert str(config.server.state_directory) == "/srv/storeboot"


@pytest.mark.parametrize(
    "fault", ["hosts.lab1.mak = [ ];", 'nfs.version = "4";', "http.port = 70000;"]
)
def test_what_the_file_cannot_have_is_no_option(world: World, fault: str) -> None:
    assert "services.storeboot." in world.fault(SERVER % fault)
