from __future__ import annotations

from pathlib import Path

import pytest

from storeboot.config import load
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
