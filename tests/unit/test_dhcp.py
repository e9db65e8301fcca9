"""dnsmasq's configuration as text, what its log says, and settings that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from storeboot.boot.state import Evidence, Listening, derive
from storeboot.boot.timeline import last_boot
from storeboot.config import Config, DhcpSection, NetworkSection
from storeboot.dhcp.dnsmasq import Places, Reservation, configuration, reservations, reserved
from storeboot.dhcp.faults import Faults
from storeboot.dhcp.firmware import ARCHITECTURES, FIRMWARE, find_programs
from storeboot.dhcp.journal import Journal, Seen
from storeboot.errors import ConfigError
from storeboot.hosts.boots import Boot, Event
from storeboot.serve.dnsmasq.neighbours import neighbour
from storeboot.service.ipxe import IpxePrograms

MAC = "52:54:00:00:00:01"
LAB = NetworkSection(interface="eth1", address="10.1.0.1/24", range=("10.1.0.100", "10.1.0.199"))
PLAIN = {"interface": "eth1", "address": "10.1.0.1/24"}
PLACES = Places(Path("/s/tftp"), Path("/s/hosts"), Path("/s/leases"))


def lines(mode: str, **networks: NetworkSection) -> list[str]:
    section = DhcpSection.model_validate({"mode": mode})
    return configuration(section, networks, ["bios.0", "x64.efi"], PLACES, 8080).splitlines()


def test_it_speaks_on_the_interfaces_that_are_named_and_nowhere_else() -> None:
    other = NetworkSection(interface="eth2", address="10.2.0.1/24", range=("10.2.0.5", "10.2.0.9"))
    for mode in ("tftp", "proxy", "full"):
        text = lines(mode, lab=LAB, other=other)
        assert [line for line in text if line.startswith("interface=")] == [
            "interface=eth1", "interface=eth2",
        ]  # fmt: skip
        assert {"bind-dynamic", "except-interface=lo", "port=0"} <= set(text)


def test_only_full_gives_addresses() -> None:
    assert "dhcp-range=set:lab,10.1.0.100,10.1.0.199,255.255.255.0,3600" in lines("full", lab=LAB)
    assert "dhcp-range=set:lab,10.1.0.0,proxy" in lines("proxy", lab=LAB)
    assert not [line for line in lines("tftp", lab=LAB) if line.startswith("dhcp-range")]


def test_another_port_is_the_server_s_and_the_next_one_the_clients() -> None:
    section = DhcpSection(mode="full", port=1067)
    text = configuration(section, {"lab": LAB}, ["bios.0"], PLACES, 8080)
    assert "dhcp-alternate-port=1067,1068\n" in text


def test_a_network_without_router_and_names_is_told_of_none() -> None:
    """Without a word dnsmasq would name itself."""
    assert "dhcp-option=tag:lab,option:router" in lines("full", lab=LAB)
    routed = LAB.model_copy(update={"router": "10.1.0.254", "dns": ("10.1.0.3", "10.1.0.4")})
    assert {
        "dhcp-option=tag:lab,option:router,10.1.0.254",
        "dhcp-option=tag:lab,option:dns-server,10.1.0.3,10.1.0.4",
    } <= set(lines("full", lab=routed))


def test_a_host_s_address_counts_in_its_network_and_is_one_host_s_alone() -> None:
    hosts = [
        ((MAC, "52:54:00:00:00:02"), ("10.9.0.1", "10.1.0.20", "10.1.0.21"), False),
        (("52:54:00:00:00:03",), ("10.1.0.20",), False),
        ((), ("10.1.0.30",), False),
    ]
    found = list(reserved(hosts, [LAB]))
    assert found == [Reservation(MAC, "10.1.0.20")]
    assert reservations(found) == f"{MAC},10.1.0.20\n"


def test_every_nic_of_a_board_is_told_to_be_one_with_an_address_or_without() -> None:
    second, third = "88:a2:9e:00:00:02", "88:a2:9e:00:00:03"
    hosts = [((MAC, second), ("10.1.0.20",), True), ((third,), (), True)]
    assert reservations(reserved(hosts, [LAB])) == (
        f"{MAC},set:maker,10.1.0.20\n{second},set:maker\n{third},set:maker\n"
    )


def test_programs_that_are_given_go_before_the_distribution_s(tmp_path: Path) -> None:
    own = tmp_path / "own.efi"
    own.touch()
    assert find_programs({"x64": own})["x64.efi"] == own
    with pytest.raises(ConfigError, match="is not a file"):
        find_programs({"x64": tmp_path / "nothing"})
    with pytest.raises(ConfigError, match="no firmware 'mips'"):
        find_programs({"mips": own})


def test_a_program_is_found_over_http_where_its_name_is_clear(tmp_path: Path) -> None:
    own = tmp_path / "own.efi"
    own.touch()
    programs = IpxePrograms({"x64": own})
    programs.find()
    assert [programs.file(name) for name in ("x64.efi", "X64.EFI", "x64.efi ")] == [own] * 3
    assert programs.file("x64") is None


LOG = f"""\
dnsmasq-dhcp[9]: 77 available DHCP range: 10.1.0.100 -- 10.1.0.199
dnsmasq-dhcp[9]: 77 vendor class: PXEClient:Arch:00007:UNDI:003001
dnsmasq-dhcp[9]: 77 DHCPREQUEST(eth1) 10.1.0.20 {MAC}
dnsmasq-dhcp[9]: 77 DHCPACK(eth1) 10.1.0.20 {MAC} lab1
dnsmasq-tftp[9]: sent /var/lib/storeboot/dhcp/tftp/x64.efi to 10.1.0.20
dnsmasq-dhcp[9]: 78 vendor class: storeboot
dnsmasq-dhcp[9]: 78 DHCPACK(eth1) 10.1.0.20 {MAC} lab1
dnsmasq-tftp[9]: sent /var/lib/storeboot/dhcp/tftp/x64.efi to 10.1.0.99
dnsmasq-dhcp[9]: 79 vendor class: PXEClient:Arch:00000:UNDI:002001
dnsmasq-dhcp[9]: 79 user class: iPXE
dnsmasq-dhcp[9]: 79 PXE(eth1) {MAC} proxy
something else
"""


def test_the_log_tells_of_firmware_and_of_nobody_else() -> None:
    journal = Journal()
    seen = [found for line in LOG.splitlines() if (found := journal.line(line)) is not None]
    assert seen == [
        Seen(MAC, "address", "10.1.0.20 PXEClient:Arch:00007:UNDI:003001"),
        Seen(MAC, "firmware", "x64.efi"),
        Seen(MAC, "address", "PXEClient, iPXE"),
    ]


ROOT = Path("/s/tftp")
FAULTS = {
    "no address range available for DHCP request via 10.9.0.1":
        ("dhcp.network_unknown", {"giaddr": "10.9.0.1"}, "a section for it"),
    "no address range available for DHCP request with subnet selector 10.9.0.0":
        ("dhcp.network_unknown", {"subnet": "10.9.0.0"}, "dhcp-snippet"),
    "no address range available for DHCP request via eth1":
        ("dhcp.interface_without_network", {"interface": "eth1"}, "ip addr"),
    "DHCP packet received on eth1 which has no address":
        ("dhcp.interface_without_address", {"interface": "eth1"}, "[networks]"),
    f"77 DHCPDISCOVER(eth1) {MAC} no address available":
        ("dhcp.no_address_left", {"interface": "eth1", "mac": MAC}, "range"),
    f"77 DHCPREQUEST(eth1) 10.1.0.9 {MAC} no address available":
        ("dhcp.no_address_left", {"interface": "eth1", "mac": MAC}, "range"),
    f"77 DHCPDECLINE(eth1) 10.1.0.9 {MAC} lab1":
        ("dhcp.address_in_use", {"address": "10.1.0.9", "mac": MAC}, "another machine"),
    "77 not using configured address 10.1.0.9 because it is leased to 52:54:00:00:00:07":
        ("dhcp.address_not_given",
         {"address": "10.1.0.9", "reason": "it is leased to 52:54:00:00:00:07"}, "another"),
    "cannot access /s/tftp/x64.efi: Permission denied":
        ("tftp.file_unreadable", {"file": "x64.efi", "reason": "Permission denied"}, "user"),
    "file /s/tftp/arm64.efi not found for 10.1.0.9":
        ("tftp.file_not_found", {"file": "arm64.efi", "address": "10.1.0.9"}, "dhcp.ipxe.arm64"),
    "file /s/tftp/x64.efi not found for 10.1.0.9":
        ("tftp.file_not_found", {"file": "x64.efi", "address": "10.1.0.9"}, "more bytes"),
    "file /s/tftp/a b/pxelinux.0 not found for 10.1.0.9":
        ("tftp.file_not_found", {"file": "a b/pxelinux.0", "address": "10.1.0.9"},
         "there are: bios.0, x64.efi"),
}  # fmt: skip


@pytest.mark.parametrize("line", FAULTS)
def test_what_somebody_has_to_mend_has_a_name_and_a_cure(line: str) -> None:
    fault = Faults(ROOT, ("x64.efi", "bios.0")).line(f"dnsmasq-dhcp[9]: {line} ")
    event, about, hint = FAULTS[line]
    assert fault is not None
    assert (fault.event, dict(fault.about)) == (event, about)
    assert hint in fault.hint


@pytest.mark.parametrize(
    "line",
    [
        f"77 DHCPACK(eth1) 10.1.0.20 {MAC} lab1",
        "77 tags: lab, eth1, says, arch",
        "sent /s/tftp/x64.efi to 10.1.0.9",
        "file /s/tftp/abcdef12/recovery.elf not found for 10.1.0.9",
        "file name",
    ],
)
def test_what_goes_well_is_no_fault(line: str) -> None:
    assert Faults(ROOT, ("x64.efi",)).line(f"dnsmasq-dhcp[9]: {line}") is None


def test_a_machine_that_gets_no_program_is_named() -> None:
    faults = Faults(ROOT, ("x64.efi",))
    said = (f"77 DHCPDISCOVER(eth1) {MAC}", "77 tags: unserved, arch-10, arch, lab, eth1")
    first, second = (faults.line(f"dnsmasq-dhcp[9]: {line}") for line in said)
    assert first is None
    assert second is not None
    assert dict(second.about) == {
        "mac": MAC, "architecture": "32-bit ARM UEFI", "option_93": "10",
    }  # fmt: skip


def test_a_board_without_its_firmware_is_named() -> None:
    fault = Faults(ROOT, ("x64.efi",)).line("dnsmasq-dhcp[9]: 78 tags: unserved, bios, raspberry")
    assert fault is not None
    assert "dhcp.raspberry_firmware" in fault.hint


def test_every_number_of_a_firmware_is_a_registered_one() -> None:
    numbers = [number for firmware in FIRMWARE for number in firmware.architectures]
    assert set(numbers) <= set(ARCHITECTURES)
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("words", ["2c:cf", "2c:cf:67:01", "2c:cf:zz", "2ccf67"])
def test_a_prefix_is_three_bytes(words: str) -> None:
    with pytest.raises(ValidationError, match="is not the beginning of a MAC address"):
        DhcpSection.model_validate({"raspberry_prefixes": [words]})


def test_a_transfer_is_told_where_another_server_gives_out_addresses() -> None:
    """Beside it, the second answer has the machine's address. Without DHCP only TFTP is seen."""
    proxy = f"""\
dnsmasq-dhcp[9]: 80 vendor class: PXEClient:Arch:00007:UNDI:003016
dnsmasq-dhcp[9]: 80 PXE(eth1) {MAC} proxy
dnsmasq-dhcp[9]: 81 vendor class: PXEClient:Arch:00007:UNDI:003016
dnsmasq-dhcp[9]: 81 PXE(eth1) 10.1.0.55 {MAC} proxy
dnsmasq-tftp[9]: sent /var/lib/storeboot/dhcp/tftp/x64.efi to 10.1.0.55
dnsmasq-tftp[9]: sent /var/lib/storeboot/dhcp/tftp/bios.0 to 10.1.0.56
"""
    journal = Journal(strangers=True)
    seen = [found for line in proxy.splitlines() if (found := journal.line(line)) is not None]
    assert seen[1:] == [
        Seen(MAC, "address", "10.1.0.55 PXEClient:Arch:00007:UNDI:003016"),
        Seen(MAC, "firmware", "x64.efi"),
        Seen("", "firmware", "bios.0", address="10.1.0.56"),
    ]


def test_the_kernel_knows_whose_an_address_is(tmp_path: Path) -> None:
    table = tmp_path / "arp"
    table.write_text(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        f"10.1.0.56        0x1         0x2         {MAC}     *        eth1\n"
        "10.1.0.57        0x1         0x0         00:00:00:00:00:00     *        eth1\n"
    )
    assert neighbour("10.1.0.56", table) == MAC
    assert neighbour("10.1.0.57", table) == ""
    assert neighbour("10.1.0.5", table) == ""
    assert neighbour("10.1.0.56", tmp_path / "none") == ""


def test_what_firmware_does_belongs_to_the_boot_that_follows() -> None:
    def events(*stages: str) -> list[Event]:
        return [Event("lab1", "dhcp", stage, float(at)) for at, stage in enumerate(stages)]

    before = ("script", "kernel", "address", "firmware", "address")
    found = derive(Evidence(tuple(last_boot(events(*before), None))), Listening(100.0, 20.0))
    assert found.stage == "address"
    boot = last_boot(events(*before, "script", "kernel"), None)
    assert [event.stage for event in boot] == [*before[2:], "script", "kernel"]


def test_a_boot_without_a_script_begins_with_its_own_first_word() -> None:
    boot = Boot("b2", "pi", "v", "s", "n", "m", "10.1.0.9", began_at=5.0, seen_at=6.0)
    events = [
        Event("pi", "dhcp", "firmware", 1.0),
        Event("pi", "agent", "multi-user", 2.0, boot="b1"),
        Event("pi", "dhcp", "address", 3.0),
        Event("pi", "dhcp", "firmware", 4.0),
        Event("pi", "initrd", "begin", 5.0, boot="b2"),
    ]
    assert [event.at for event in last_boot(events, boot)] == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"dhcp": {"mode": "full"}}, "needs at least one"),
        ({"dhcp": {"mode": "full"}, "networks": {"lab": PLAIN}}, "has no range"),
        ({"networks": {"lab": PLAIN | {"address": "10.1.0.1"}}}, "is not of the form 10.1.0.1/24"),
        ({"networks": {"lab": PLAIN | {"range": ["10.2.0.1", "10.2.0.9"]}}},
         "is not inside 10.1.0.0/24"),
        ({"networks": {"lab": PLAIN | {"interface": "e\nx"}}}, "is not the name"),
        ({"networks": {"Lab!": PLAIN}}, "lower case"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be(section: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate({"server": {"address": "10.0.0.1"}, **section})
