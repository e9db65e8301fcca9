from __future__ import annotations

import json
from pathlib import Path

import pytest

from storeboot.config import Config, load
from storeboot.errors import ConfigError

SYSTEM = "/nix/store/" + "0" * 32 + "-nixos-system-lab1-26.05"
GOOD = f"""
[server]
address = "192.168.1.1"
[hosts.lab1]
mac = ["52-54-00-12-34-56"]
system = "{SYSTEM}"
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "storeboot.toml"
    path.write_text(text)
    return path


def test_defaults_and_spelling_of_macs(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD))
    assert (config.http.port, config.nfs.port, config.nfs.version) == (8080, 2049, "3")
    assert config.hosts["lab1"].mac == ("52:54:00:12:34:56",)


def test_every_fault_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    text = """
    colour = 1
    [server]
    address = "example"
    [nfs]
    version = "2"
    port = 70000
    [hosts.lab1]
    mac = ["52:54"]
    """
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    message = caught.value.message
    for place in ("colour", "server.address", "nfs.version", "nfs.port", "hosts.lab1.mac"):
        assert f"\n  {place}: " in message
    assert "5 faults" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + f'[hosts.lab2]\nmac=["52:54:00:12:34:56"]\nsystem="{SYSTEM}"', "belongs to both"),
        (GOOD + f'[hosts.lab2]\nsystem="{SYSTEM}"', "has no matcher"),
        (GOOD.replace("lab1]", '"Lab 1"]'), "not a host name"),
        ("[server", "not TOML"),
    ],
)
def test_faults_of_hosts(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        load(tmp_path / "none.toml")


def test_the_example_is_right() -> None:
    example = Path(__file__).parents[2] / "docs/reference/storeboot.example.toml"
    assert load(example).hosts


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    text = """
    server.address = "192.168.1.1"
    server.state_directory = "state"
    store.root = "../store"
    database.url = "sqlite:///hosts.sqlite"
    dhcp.dnsmasq = "dnsmasq"
    dhcp.ipxe.x64 = "ipxe/x64.efi"
    initrd.busybox = "/bin/busybox"
    initrd.busyboxes.aarch64 = "arm/busybox"
    """
    config = load(write(tmp_path, text))
    assert config.server.state_directory == tmp_path / "state"
    assert config.store.root == tmp_path / "../store"
    assert config.database.url == f"sqlite:///{tmp_path}/hosts.sqlite"
    assert config.dhcp.dnsmasq == Path("dnsmasq")  # looked for on PATH
    assert config.dhcp.ipxe == {"x64": tmp_path / "ipxe/x64.efi"}
    assert config.initrd.busybox == Path("/bin/busybox")
    assert config.initrd.busyboxes == {"aarch64": tmp_path / "arm/busybox"}


def test_relative_paths_start_at_the_name_of_the_file_and_not_at_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NixOS the file is a link into the store."""
    (tmp_path / "etc").mkdir()
    text = 'server.address = "192.168.1.1"\nserver.state_directory = "state"'
    (tmp_path / "etc/storeboot.toml").symlink_to(write(tmp_path, text))
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/storeboot.toml"))
    assert config.server.state_directory == tmp_path / "etc/state"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_that_keeps_nothing_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="keeps nothing"):
        load(write(tmp_path, GOOD + f'[database]\nurl = "{url}"\n'))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server.address", "224.0.0.1"),
        ("server.address", "255.255.255.255"),
        ("networks.hall.router", "0.0.0.0"),
        ("networks.hall.dns", ["0.0.0.0"]),
        ("networks.hall.address", "0.0.0.0/24"),
        ("networks.hall.range", ["0.0.0.0", "10.1.0.9"]),
        ("hosts.lab1.address", ["0.0.0.0"]),
    ],
)
def test_addresses_that_no_machine_can_have(tmp_path: Path, setting: str, value: object) -> None:
    place, _, name = setting.rpartition(".")
    given: dict[str, dict[str, object]] = {
        "server": {"address": "192.168.1.1"},
        "networks.hall": {"interface": "eth1", "address": "10.1.0.1/24"},
        "hosts.lab1": {"mac": ["52:54:00:12:34:56"]},
    }
    given[place][name] = value
    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(each)}\n" for key, each in some.items())
        for section, some in given.items()
    )
    with pytest.raises(ConfigError, match="is not the address of one machine"):
        load(write(tmp_path, text))


def test_every_type_of_the_schema_has_words_of_ours(tmp_path: Path) -> None:
    """A sentence that begins "Input should be" is the validator's."""
    for kind, value in (("text", '"x y"'), ("number", "-1"), ("list", "[[]]"), ("truth", "true"),
                        ("table", "{x = {}}"), ("date", "1979-05-27"), ("real", "0.5"),
                        ("not a number", "nan"), ("infinite", "inf")):  # fmt: skip
        for section, field in Config.model_fields.items():
            for setting in getattr(field.annotation, "model_fields", {section: None}):
                named = f"{section}.{setting}" if setting != section else section
                path = write(tmp_path, f"{named} = {value}\n")
                with pytest.raises(ConfigError) as caught:
                    load(path)
                assert "nput should" not in caught.value.message, (kind, caught.value.message)
