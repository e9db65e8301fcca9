"""Hosts of both kinds, in a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import update

from storeboot.config import (
    Config,
    HostSection,
    NfsSection,
    ServerSection,
    SettingsSection,
    is_shared,
)
from storeboot.errors import ConfigError, StorebootError
from storeboot.hosts.database import Database, open_database, sqlite_url
from storeboot.hosts.host import AmbiguousMachineError, Host, Machine
from storeboot.hosts.registry import Registry, read_section
from storeboot.hosts.schema import matchers
from storeboot.hosts.unknown import UnknownMachine, shared_by

MAC = "52:54:00:00:00:01"
UUID = "4c4c4544-0044-4810-8052-b4c04f564231"
CONFIG = Config(
    server=ServerSection(address="192.168.1.1"),
    defaults=SettingsSection(kernel_params=("quiet",), overlay_size="2G"),
    groups={"room": SettingsSection(kernel_params=("room=1",), nfs_version="4.2")},
    hosts={"declared": HostSection(mac=(MAC,), uuid=(UUID,))},
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Database]:
    made = open_database(sqlite_url(tmp_path))
    yield made
    made.dispose()


@pytest.fixture
def registry(engine: Database) -> Registry:
    return Registry(CONFIG, engine)


def add(registry: Registry, name: str, **values: object) -> None:
    registry.add_all({name: read_section(name, values)}, 1.0)


def test_a_host_inherits_from_its_group_and_the_defaults(registry: Registry) -> None:
    add(registry, "lab1", mac=["52-54-00-00-00-02"], group="room", kernel_params=["own=1"])
    host = registry.require("lab1")
    assert host.kernel_params == ("quiet", "room=1", "own=1")
    assert (host.overlay_size, host.nfs_version, host.hostname) == ("2G", "4.2", "lab1")
    assert registry.of("room") == [host]
    assert not host.declared
    add(registry, "lab2", mac=["52:54:00:00:00:03"], overlay_size="8G")
    assert registry.require("lab2").overlay_size == "8G"


def test_a_machine_is_found_by_any_matcher_of_either_kind(registry: Registry) -> None:
    add(registry, "lab1", mac=["52:54:00:00:00:02"], serial=["S1"])
    found = registry.find(Machine.from_words("52-54-00-00-00-02", "", ""))
    assert found is not None
    assert found.name == "lab1"
    declared = registry.find(Machine(uuid=UUID))
    assert declared is not None
    assert declared.name == "declared"
    assert registry.find(Machine(mac="52:54:00:00:00:99")) is None
    assert registry.find(Machine()) is None


def test_a_machine_that_is_two_hosts_is_a_clash_that_names_both(registry: Registry) -> None:
    add(registry, "lab1", serial=["S1"])
    with pytest.raises(AmbiguousMachineError, match="declared and lab1"):
        registry.find(Machine(mac=MAC, serial="S1"))


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("lab1", {"mac": [MAC]}, "belongs to both 'declared' and 'lab1'"),
        ("declared", {"mac": ["52:54:00:00:00:09"]}, "declared in the configuration already"),
        ("lab1", {}, "has no matcher"),
        ("Lab_1", {"serial": ["S1"]}, "not a host name"),
        ("lab1", {"serial": ["S1"], "group": "rom"}, "groups are: room"),
        ("lab1", {"serial": ["To be filled by O.E.M."]}, "identifies no machine"),
        ("lab1", {"uuid": ["00000000-0000-0000-0000-000000000000"]}, "identifies no machine"),
        ("lab1", {"mac": ["52:54"]}, "is not a MAC address"),
        ("lab1", {"serial": ["S1"], "colour": "red"}, "colour"),
        ("lab1", {"serial": ["S1"], "system": "/tmp"}, "not a store path"),
    ],
)
def test_wrong_hosts_are_refused_whole(
    registry: Registry, name: str, values: dict[str, object], said: str
) -> None:
    with pytest.raises(StorebootError, match=said):
        add(registry, name, **values)
    assert [host.name for host in registry.all()] == ["declared"]


def test_a_clash_between_added_hosts_takes_all_of_them_back(registry: Registry) -> None:
    sections = {name: read_section(name, {"serial": ["S1"]}) for name in ("lab1", "lab2")}
    with pytest.raises(StorebootError, match="S1 belongs to both 'lab1' and 'lab2'"):
        registry.add_all(sections, 1.0)
    assert [host.name for host in registry.all()] == ["declared"]


def test_what_many_boards_say_is_no_matcher() -> None:
    machine = Machine.from_words("", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "Default string")
    assert machine.matchers == frozenset()
    assert len(machine.shared) == 2


def test_added_hosts_change_and_go_declared_ones_do_not(registry: Registry) -> None:
    add(registry, "lab1", serial=["S1"])
    registry.change("lab1", read_section("lab1", {"serial": ["S2"]}), 2.0)
    assert registry.find(Machine(serial="S1")) is None
    assert registry.find(Machine(serial="S2")) is not None
    registry.remove("lab1")
    assert registry.get("lab1") is None
    add(registry, "lab2", serial=["S2"])
    with pytest.raises(StorebootError, match="is declared in the configuration"):
        registry.remove("declared")
    with pytest.raises(StorebootError, match="no host 'lab9'"):
        registry.remove("lab9")


def test_a_dry_run_finds_the_same_faults_and_adds_nothing(registry: Registry) -> None:
    section = read_section("lab1", {"serial": ["S1"]})
    registry.add_all({"lab1": section}, 1.0, dry_run=True)
    assert registry.get("lab1") is None
    with pytest.raises(StorebootError, match="belongs to both"):
        registry.add_all({"lab1": section, "lab2": section}, 1.0, dry_run=True)


def test_mode_native_needs_an_address_and_the_alias() -> None:
    section = HostSection(mac=("52:54:00:00:00:01",), mode="native")
    known = section.model_copy(update={"address": ("10.0.0.21",)})
    plain = Config(server=ServerSection(address="10.0.0.1"))
    alias = plain.model_copy(update={"nfs": NfsSection(alias=True)})
    assert Host.from_config("lab1", known, alias).mode == "native"
    for host, config in ((section, alias), (known, plain)):
        with pytest.raises(ConfigError, match=r"nfs\.alias = true and the host's address"):
            Host.from_config("lab1", host, config)


@pytest.mark.parametrize(
    "said",
    ["Enter Serial", "To be filled by O.E.M", "To Be Filled By O.E.M.", "Default_string",
     "0123456789ABCDEF", "123456789", "SYS-1234567890", "Not Settable", "Not Specified",
     "Not Present", "System Serial Number", "Chassis Serial Number   ", "None", "INVALID", "N/A",
     "00000000", "FFFFFFFF", "1111111", "No Asset Tag", "...", " "],
)  # fmt: skip
def test_placeholders_are_known_in_every_spelling(said: str) -> None:
    for word in (said, said.upper(), said.lower(), f" {said} ", said.replace(" ", "_")):
        assert is_shared(word), word
        assert Machine.from_words("", "", word).matchers == frozenset()


@pytest.mark.parametrize(
    "uuid",
    ["00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
     "01010101-0101-0101-0101-010101010101", "00020003-0004-0005-0006-000700080009",
     "03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90AB-CDDEEFAABBCC",
     "78563412-3412-7856-90AB-CDDEEFAABBCC"],
)  # fmt: skip
def test_uuids_of_many_boards_are_known_in_both_orders(uuid: str) -> None:
    for word in (uuid, f"{{{uuid}}}", uuid.replace("-", "")):
        assert Machine.from_words("", word, "").matchers == frozenset()


@pytest.mark.parametrize(
    "own",
    ["CZC1234XYZ", "S1", "12345", "10000000abcdef12", "SN12345X7", "NOTE-7", "Nr. 17",
     "00000000-0000-0000-0000-ac1f6b001122", "VMware-12 3e 45 e9 95 fa 07 d3"],
)  # fmt: skip
def test_a_machines_own_number_is_no_placeholder(own: str) -> None:
    assert not is_shared(own)


def test_addresses_that_no_card_has_are_refused(registry: Registry) -> None:
    for mac in ("00:00:00:00:00:00", "ff-ff-ff-ff-ff-ff"):
        with pytest.raises(StorebootError, match="identifies no machine"):
            add(registry, "lab1", mac=[mac])
        assert Machine.from_words(mac, "", "").matchers == frozenset()


def test_one_number_in_two_spellings_belongs_to_one_host(registry: Registry) -> None:
    add(registry, "lab1", serial=["CZC1"], mac=["5254.00aa.bb02"])
    swapped = "44454c4c-4400-1048-8052-b4c04f564231"
    for taken in ({"serial": [" czc1 "]}, {"mac": ["52-54-00-AA-BB-02"]}, {"uuid": [swapped]}):
        with pytest.raises(StorebootError, match="belongs to both"):
            add(registry, "lab2", **taken)
    add(registry, "lab3", uuid=["{" + UUID.replace("4c4c", "4d4d") + "}", "4d4d4544" + UUID[8:]])
    hosts = {"lab1": HostSection(uuid=(UUID,)), "lab2": HostSection(uuid=(swapped,))}
    with pytest.raises(ValidationError, match="belongs to both"):
        Config(server=CONFIG.server, hosts=hosts)


def test_a_machine_is_found_in_either_byte_order_and_any_case(registry: Registry) -> None:
    add(registry, "lab1", serial=["Czc1234xyz"])
    for machine in (
        Machine.from_words("", "", "CZC1234XYZ   "),
        Machine.from_words("", "", "czc1234xyz"),
    ):
        found = registry.find(machine)
        assert found is not None
        assert found.name == "lab1"
        assert found.matches(machine)
    declared = registry.find(Machine.from_words("", "44454C4C440010488052B4C04F564231", ""))
    assert declared is not None
    assert declared.name == "declared"


def test_a_host_that_was_added_with_another_spelling_is_still_found(
    registry: Registry, engine: Database
) -> None:
    """Rows of before there was a normal form have what was typed."""
    add(registry, "lab1", serial=["CZC1"])
    with engine.begin() as connection:
        connection.execute(update(matchers).values(value="Czc1"))
    assert registry.find(Machine.from_words("", "", "Czc1")) is not None


def test_numbers_that_several_unknown_machines_send_are_named() -> None:
    def seen(mac: str, uuid: str, serial: str) -> UnknownMachine:
        return UnknownMachine(mac, uuid, serial, "10.0.0.1", 1.0, 1.0)

    one, two, three = (f"52:54:00:00:00:0{number}" for number in (1, 2, 3))
    swapped = "44454c4c-4400-1048-8052-b4c04f564231"
    machines = [seen(one, UUID, "ab 1 "), seen(two, swapped, "AB 1"), seen(three, "", "None")]
    assert shared_by(machines) == {swapped: [one, two], "AB 1": [one, two]}
    assert shared_by([*machines[::2], seen(two, "", "None")]) == {}
