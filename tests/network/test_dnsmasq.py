"""What firmware of all kinds is told by the dnsmasq that storeboot runs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.stores import add, toplevel_tree
from network.lab import Namespace, attached, bridged, needs_root
from network.serving import MAC, Served, What, served, settings
from storeboot import config
from storeboot.deploy.inventory import opened
from storeboot.nix.store import Store
from storeboot.serve.dnsmasq.supervisor import COUNT_SECONDS

pytestmark = [needs_root, pytest.mark.timeout(300)]
PXE = "PXEClient:Arch:{:05}:UNDI:002001".format
URL = "http://10.77.0.1:8080/boot.ipxe"
HTTP = "http://10.77.0.1:8080/firmware/x64.efi"


def text(words: str) -> str:
    return words.encode().hex()


def arch(number: int) -> str:
    return f"{number:04x}"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> What:
    """A store with a system that nobody boots here, and programs for rare firmware."""
    directory = tmp_path_factory.mktemp("store")
    store = Store(directory / "root")
    system = add(store, toplevel_tree(directory))
    programs = {}
    for name in ("ia32", "arm64"):
        programs[name] = directory / f"{name}.efi"
        programs[name].write_bytes(os.urandom(70_000))
    return What(store.root, system.text, programs)


@pytest.fixture(scope="module")
def full(small: What, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with bridged("10.77.0.1/24") as server:
        toml = settings(tmp_path_factory.mktemp("full"), small, mode="full")
        with served(server, toml) as running:
            yield running


@pytest.fixture
def client(full: Served) -> Iterator[Namespace]:
    with attached(full.server) as made:
        yield made


# Firmware, what it says, and the file that it has to be given.
TABLE = {
    "BIOS": ({60: text(PXE(0)), 93: arch(0)}, "bios.0"),
    "BIOS that does not say its architecture": ({60: text("PXEClient")}, "bios.0"),
    "UEFI x64": ({60: text(PXE(7)), 93: arch(7)}, "x64.efi"),
    "UEFI x64 that says EBC's number": ({60: text(PXE(9)), 93: arch(9)}, "x64.efi"),
    "UEFI ia32": ({60: text(PXE(6)), 93: arch(6)}, "ia32.efi"),
    "UEFI arm64": ({60: text(PXE(11)), 93: arch(11)}, "arm64.efi"),
    "UEFI HTTP boot x64": ({60: text("HTTPClient:Arch:00016:UNDI:003001"), 93: arch(16)}, HTTP),
    "UEFI HTTP boot arm64": (
        {60: text("HTTPClient:Arch:00019"), 93: arch(19)},
        "http://10.77.0.1:8080/firmware/arm64.efi"),
    "iPXE by option 175": ({60: text(PXE(0)), 93: arch(0), 175: "b105018086100e"}, URL),
    "iPXE by user class": ({60: text(PXE(7)), 93: arch(7), 77: text("iPXE")}, URL),
    "iPXE by user class with its length": (
        {60: text(PXE(7)), 93: arch(7), 77: "04" + text("iPXE")}, URL),
    "iPXE behind another user class": (
        {60: text(PXE(7)), 93: arch(7), 77: "03" + text("lab") + "04" + text("iPXE")}, URL),
    "iPXE that was started by HTTP boot": (
        {60: text("HTTPClient:Arch:00016"), 93: arch(16), 77: text("iPXE")}, URL),
}  # fmt: skip


@pytest.mark.parametrize("requested", [[1, 3, 66, 67], [1, 3]], ids=["asks", "does not ask"])
@pytest.mark.parametrize("name", TABLE)
def test_each_firmware_is_given_its_program(
    client: Namespace, name: str, requested: list[int]
) -> None:
    """In the field and in the option, whether it has asked for the option or not."""
    options, file = TABLE[name]
    answer = client.ask("eth0", options=options, requested=requested)
    assert (answer["file"], answer["option_file"]) == (file, file)
    assert answer["next_server"] == "10.77.0.1"
    if "HTTPClient" in bytes.fromhex(options[60]).decode() and file != URL:
        assert answer["vendor"] == "HTTPClient"


def test_an_architecture_without_a_program_is_given_none(full: Served, client: Namespace) -> None:
    answer = client.ask("eth0", options={60: text(PXE(27)), 93: arch(27)})  # RISC-V
    assert (answer["file"], answer["option_file"]) == ("", "")
    assert answer["address"].startswith("10.77.0.1")
    full.until(lambda: "64-bit RISC-V UEFI" in full.log.read_text(), 30)


def test_a_machine_has_one_address_whatever_it_calls_itself(client: Namespace) -> None:
    mac = "52:54:00:00:00:98"
    names = ("00" + "4c4c4544004e3110805ac0c04f445332", "01" + mac.replace(":", ""),
             "ff00000098000200000ab11f2e3d4c5b6a7988")  # fmt: skip
    given = set()
    for name in names:
        offer = client.ask("eth0", mac=mac, options={61: name})
        wanted = bytes(map(int, offer["address"].split("."))).hex()
        chosen = {61: name, 50: wanted, 54: offer["options"]["54"]}
        given.add(client.ask("eth0", mac=mac, kind=3, options=chosen)["address"])
    assert len(given) == 1


def test_a_host_has_its_address_and_others_have_one_of_the_range(client: Namespace) -> None:
    own = client.ask("eth0", mac=MAC)
    assert own["address"] == "10.77.0.20"
    other = client.ask("eth0", mac="52:54:00:00:00:99")
    assert other["address"].startswith("10.77.0.1")
    assert int(other["address"].rpartition(".")[2]) >= 100
    assert own["options"]["51"] == f"{3600:08x}"
    assert "3" not in own["options"]  # no router was named


TRANSFERS: dict[str, dict[str, int]] = {
    "plain": {},
    "tsize": {"tsize": 0},
    "small blocks": {"blksize": 8},
    "as EDK II": {"tsize": 0, "blksize": 1468},
    "with windows": {"tsize": 0, "blksize": 1468, "windowsize": 4},
    "large blocks": {"blksize": 65464, "tsize": 0},
    "unknown": {"multicast": 1, "blksize": 1024},
}


@pytest.mark.parametrize("name", TRANSFERS)
def test_programs_come_whole_by_tftp(full: Served, client: Namespace, name: str) -> None:
    client.ip("addr add 10.77.0.90/24 dev eth0")
    program = full.state / "dhcp" / "tftp" / "arm64.efi"
    answer = client.ask("eth0", server="10.77.0.1", get=program.name, options=TRANSFERS[name])
    assert answer["sha256"] == hashlib.sha256(program.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["X64.EFI", "/x64.efi ", "x64.efi\xff", "BIOS.0\xff"])
def test_a_program_comes_where_its_name_is_clear(client: Namespace, name: str) -> None:
    client.ip("addr add 10.77.0.93/24 dev eth0")
    assert "sha256" in client.ask("eth0", server="10.77.0.1", get=name)


def test_a_network_that_is_not_configured_is_said_once(full: Served, client: Namespace) -> None:
    client.ip("addr add 10.77.0.94/24 dev eth0")
    for giaddr in ("10.99.0.1", "10.99.0.1", "10.99.0.1", "10.98.0.1"):
        relayed = {"giaddr": giaddr, "server": "10.77.0.1", "seconds": 0.5}
        assert client.ask("eth0", options=TABLE["UEFI x64"][0], **relayed) is None
    full.until(lambda: "10.98.0.1" in full.log.read_text(), 30)
    said = [line for line in full.log.read_text().splitlines() if "10.99.0.1" in line]
    assert len(said) == 1
    assert "dhcp.network_unknown" in said[0]
    assert "a section for it" in said[0]


@pytest.mark.parametrize("name", ["../dnsmasq.conf", "/etc/passwd", "nothing"])
def test_nothing_else_comes_by_tftp(client: Namespace, name: str) -> None:
    client.ip("addr add 10.77.0.91/24 dev eth0")
    assert "error" in client.ask("eth0", server="10.77.0.1", get=name)


def test_an_added_host_gets_its_address_without_a_restart(full: Served, client: Namespace) -> None:
    mac = "52:54:00:00:00:02"
    full.command("host", "add", "lab2", "--mac", mac, "--address", "10.77.0.30")

    def has_it() -> bool:
        answer = client.ask("eth0", mac=mac)
        return answer is not None and answer["address"] == "10.77.0.30"

    full.until(has_it, 60)  # it is looked for every five seconds


def test_it_is_started_again_when_it_ends(full: Served, client: Namespace) -> None:
    first = full.dnsmasq_pid()
    os.kill(first, signal.SIGKILL)
    full.until(lambda: full.dnsmasq_pid() not in (0, first), 30)
    assert "dnsmasq has been started 2 times" in full.status_warnings()
    assert client.ask("eth0", options=TABLE["BIOS"][0])["file"] == "bios.0"
    assert "dhcp.ended" in full.log.read_text()


def recorded(running: Served) -> int:
    with opened(config.load(running.toml)) as inventory:
        events = inventory.boots.events_since("lab1", 0)
        return len([event for event in events if event.stage == "address"])


def test_machines_on_their_way_are_on_the_timeline(full: Served, client: Namespace) -> None:
    offer = client.ask("eth0", mac=MAC, options=TABLE["UEFI x64"][0])
    request = TABLE["UEFI x64"][0] | {50: bytes(map(int, offer["address"].split("."))).hex(),
                                      54: offer["options"]["54"]}  # fmt: skip
    assert client.ask("eth0", mac=MAC, kind=3, options=request)["kind"] == 5
    client.ip(f"addr add {offer['address']}/24 dev eth0")
    client.ask("eth0", server="10.77.0.1", get="x64.efi")
    full.until(lambda: "firmware" in full.command("timeline", "lab1"), 30)
    before = recorded(full)
    for _ in range(5):  # who says the same again and again is not written down each time
        client.ask("eth0", mac=MAC, kind=3, options=request)
    assert recorded(full) == before


def test_a_loop_of_firmware_is_named_where_only_its_transfers_are_seen(
    small: What, tmp_path: Path
) -> None:
    """Another server gives out the addresses, and this one's are not those of the host."""
    toml = settings(tmp_path, small, mode="tftp")
    with bridged("10.77.0.1/24") as server, served(server, toml) as running:
        with attached(server) as machine:
            machine.ip(f"link set eth0 address {MAC}")
            machine.ip("addr add 10.77.0.93/24 dev eth0")
            for _ in range(3):
                machine.ask("eth0", server="10.77.0.1", get="ia32.efi")
                running.wait(COUNT_SECONDS + 0.5)  # what comes sooner is the same round
        running.until(lambda: "asked for iPXE 3 times" in running.command("timeline", "lab1"), 60)
        assert "boot.loop" in running.log.read_text()


def test_a_second_dhcp_server_on_the_port_is_an_error(small: What, tmp_path: Path) -> None:
    toml = settings(tmp_path, small, mode="full")
    with bridged("10.77.0.1/24") as server:
        argv = ["dnsmasq", "--port=0", "--keep-in-foreground", "--interface=br0",
                "--conf-file=/dev/null", "--dhcp-range=10.77.0.50,10.77.0.60",
                f"--dhcp-leasefile={tmp_path}/theirs",
                "--user=root", "--log-facility=-"]  # fmt: skip
        with subprocess.Popen(server.argv(*argv), stderr=subprocess.PIPE, text=True) as other:
            assert other.stderr is not None
            while "started" not in other.stderr.readline():
                continue
            done = subprocess.run(server.argv(*Served.argv(toml)), check=False,
                                  stderr=subprocess.PIPE, text=True)  # fmt: skip
            other.terminate()
    assert done.returncode == 1
    assert (
        "error: UDP port 67 on br0 is taken: another DHCP server runs on this machine"
        in done.stderr
    )
    assert "dhcp-snippet" in done.stderr


def test_nothing_listens_where_no_network_was_named(small: What, tmp_path: Path) -> None:
    toml = settings(tmp_path, small, mode="full")
    with bridged("10.77.0.1/24", "10.78.0.1/24") as server, served(server, toml):
        listening = server.run("ss", "-Hlntu")
        places = {line.split()[4] for line in listening.splitlines()}
        assert {"10.77.0.1:8080", "10.77.0.1:2049", "10.77.0.1:69"} <= places
        others = {place for place in places if not place.startswith("10.77.0.1:")}
        assert others
        assert all("%br0:" in place for place in others)


def test_with_tftp_alone_it_answers_no_dhcp_request(small: What, tmp_path: Path) -> None:
    toml = settings(tmp_path, small, mode="tftp")
    with bridged("10.77.0.1/24") as server, served(server, toml), attached(server) as client:
        assert client.ask("eth0", options=TABLE["BIOS"][0], seconds=3) is None
        client.ip("addr add 10.77.0.92/24 dev eth0")
        program = small.ipxe["arm64"]
        answer = client.ask("eth0", server="10.77.0.1", get="arm64.efi")
        assert answer["sha256"] == hashlib.sha256(program.read_bytes()).hexdigest()


def test_a_server_that_was_killed_leaves_nothing_in_the_way(small: What, tmp_path: Path) -> None:
    toml = settings(tmp_path, small, mode="full")
    with bridged("10.77.0.1/24") as server:
        with served(server, toml) as killed:
            orphan = killed.dnsmasq_pid()
            killed.process.kill()
            killed.process.wait()
            os.kill(orphan, 0)  # it is still there
        with served(server, toml) as running:
            assert running.dnsmasq_pid() not in (0, orphan)


@pytest.mark.parametrize("name", ["BIOS", "UEFI x64"])
def test_as_a_proxy_it_gives_no_address(small: What, tmp_path: Path, name: str) -> None:
    """Firmware asks again on port 4011, where UEFI takes its file name from."""
    options, file = TABLE[name]
    toml = settings(tmp_path, small, mode="proxy")
    with bridged("10.77.0.1/24") as server, served(server, toml), attached(server) as client:
        offer = client.ask("eth0", options=options)
        assert (offer["address"], offer["vendor"]) == ("0.0.0.0", "PXEClient")
        assert client.ask("eth0", seconds=2) is None  # who is no firmware gets no word
        client.ip("addr add 10.77.0.50/24 dev eth0")
        request = client.ask("eth0", kind=3, port=4011, server="10.77.0.1", options=options)
        assert request["file"] == file
        script = client.ask("eth0", options=TABLE["iPXE by user class"][0])
        assert (script["address"], script["file"]) == ("0.0.0.0", URL)


async def test_two_networks_are_told_the_server_s_address_on_each(
    small: What, tmp_path: Path
) -> None:
    networks = {"br0": "10.77.0.1/24", "br1": "10.78.0.1/24"}
    more = '[http]\nlisten = "0.0.0.0"\n[nfs]\nlisten = "0.0.0.0"\n'
    toml = settings(tmp_path, small, mode="full", networks=networks, server_address="10.79.0.1",
                    more=more)  # fmt: skip
    with bridged("10.77.0.1/24", "10.78.0.1/24") as server, served(server, toml):
        for bridge, own in (("br0", "10.77.0.1"), ("br1", "10.78.0.1")):
            with attached(server, bridge) as client:
                options = TABLE["iPXE by user class"][0]
                answer = client.ask("eth0", options=options)
                assert answer["file"] == f"http://{own}:8080/boot.ipxe"
                client.ip(f"addr add {answer['address']}/24 dev eth0")
                for path in ("boot.ipxe", f"boot?mac={MAC}"):
                    argv = client.argv(
                        "busybox", "wget", "-q", "-O", "-", f"http://{own}:8080/{path}"
                    )
                    said = await asyncio.to_thread(subprocess.check_output, argv, text=True)
                    assert f"http://{own}:8080/" in said
                    assert "10.79" not in said
