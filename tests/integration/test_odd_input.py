"""Commands with what hands, shells and disks give them: a clear line and status 1, no traceback."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration import forker
from integration.deploying import WAIT, lease, make_system, storeboot
from integration.servers import as_toml
from integration.test_cli import complete
from integration.test_full_disk import disk as disk  # a fixture
from integration.test_full_disk import fill
from storeboot.config import Config, ServerSection
from storeboot.deploy.inventory import opened
from storeboot.hosts.boot import Event
from storeboot.hosts.host import Machine
from storeboot.nix.store import StorePath

STOREBOOT = Path(sys.executable).with_name("storeboot")
SYSTEM = "/nix/store/" + "0" * 32 + "-none"
NOBODY = 65534
LONG = "x" * 5000


def tried(*words: object) -> subprocess.CompletedProcess[str]:
    said = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in said.stderr + said.stdout
    return said


def fails(path: Path, *words: object, prefix: tuple[str, ...] = ()) -> list[str]:
    """The lines with which a command fails: an error, faults, a hint."""
    said = tried(*prefix, *forker.argv(), *words, "--config", path)
    assert said.returncode == 1, said.stderr
    lines = said.stderr.splitlines()
    assert lines[0].startswith("error: "), said.stderr
    assert all(line.startswith(("  ", "hint: ")) for line in lines[1:])
    return lines


@pytest.fixture
def path(config: Config, tmp_path: Path) -> Path:
    """With a group, and an added host."""
    file = tmp_path / "storeboot.toml"
    file.write_text(as_toml(config) + "[groups.room]\n")
    storeboot(file, "host", "add", "pc-9", "--mac", "52:54:00:aa:00:09", "--group", "room")
    return file


@pytest.mark.parametrize(
    "words",
    [
        ("host", "add", "", "--mac", "52:54:00:00:00:01"),
        ("host", "add", "x\ny", "--mac", "52:54:00:00:00:01"),
        ("host", "add", "café", "--mac", "52:54:00:00:00:01"),
        ("host", "add", LONG, "--mac", "52:54:00:00:00:01"),
        ("host", "add", "pc-8", "--mac", ""),
        ("host", "add", "pc-8", "--mac", "52:54:00:00:00:01", "--group", ""),
        ("host", "add", "--csv", "none.csv"),
        ("host", "add", "--csv", "/"),
        ("host", "add", "--csv", "\N{RIGHT-TO-LEFT OVERRIDE}none.csv"),
        ("host", "show", "\x1b[31mred"),
        ("host", "show", "\N{RIGHT-TO-LEFT OVERRIDE}1bal"),
        ("host", "remove", ""),
        ("host", "set", "pc-9"),
        ("host", "set", "pc-9", "--unset", "nope"),
        ("host", "set", "lab1", "--group", "room"),
        ("host", "set", "none", "--group", "room"),
        ("host", "adopt", "", ""),
        ("host", "whois", "--mac", "x"),
        ("deploy", "lab1", ""),
        ("deploy", "", SYSTEM),
        ("deploy", "lab1", LONG),
        ("deploy", "lab1", SYSTEM, "--batch", 3),
        ("rollback", "lab1", "--generation", -1),
        ("rollback", "lab1", "--generation", 1 << 80),
        ("rollout", "show", (1 << 63) - 1),
        ("rollout", "stop", 1),
        ("confirm", ""),
        ("generations", ""),
        ("timeline", ""),
        ("hold", ""),
        ("release", ""),
        ("pack", "show", ""),
    ],
    ids=lambda words: "-".join(map(str, words))[:40].encode("ascii", "replace").decode(),
)
def test_what_cannot_be_done_is_said_in_a_line(path: Path, words: tuple[object, ...]) -> None:
    said = "".join(fails(path, *words))
    assert "\x1b" not in said
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in said


@pytest.mark.parametrize("words", [("rollout", "show", 1 << 70), ("rollout", "stop", 0)])
def test_numbers_that_no_database_can_have(path: Path, words: tuple[object, ...]) -> None:
    said = tried(*forker.argv(), *words, "--config", path)
    assert (said.returncode, "is not in the range" in said.stderr) == (2, True)


@pytest.mark.parametrize("command", [("host", "show"), ("status", "-c"), ("hold",)])
def test_arguments_that_are_not_utf_8(path: Path, command: tuple[str, ...]) -> None:
    said = tried(*forker.argv(), *command, os.fsdecode(b"a\xff"))
    assert said.returncode == 1
    assert said.stderr.startswith(r"error: the argument a\xff is not UTF-8")


def test_settings_that_change_nothing(path: Path) -> None:
    assert fails(path, "host", "set", "pc-9")[0] == "error: nothing to change in host 'pc-9'"
    for words in (("--group", "room"), ("--unset", "hostname")):
        said = tried(*forker.argv(), "host", "set", "pc-9", *words, "-c", path)
        assert (said.returncode, "nothing to change" in said.stderr) == (0, True)
    lines = "".join(fails(path, "host", "set", "pc-9", "--unset", "gruop"))
    assert "there is no setting 'gruop'" in lines
    assert "did you mean group?" in lines
    storeboot(path, "host", "set", "pc-9", "--kernel-param", "quiet")
    storeboot(path, "host", "set", "pc-9", "--unset", "kernel-param", "--unset", "group")
    shown = json.loads(storeboot(path, "host", "show", "pc-9", "--json"))
    assert (shown["group"], shown["kernel_params"]) == (None, [])


def test_whois_says_by_its_status_whether_a_machine_is_a_host(path: Path) -> None:
    for words in ((), ("--json",)):
        known = tried(
            *forker.argv(), "host", "whois", "--mac", "52:54:00:aa:00:09", *words, "-c", path
        )
        unknown = tried(
            *forker.argv(), "host", "whois", "--mac", "52:54:00:aa:00:ff", *words, "-c", path
        )
        assert (known.returncode, unknown.returncode) == (0, 1)
    assert tried(*forker.argv(), "host", "whois", "-c", path).returncode == 2


def test_a_table_is_added_whole_or_not_at_all(path: Path, tmp_path: Path) -> None:
    table = tmp_path / "hosts.csv"
    table.write_text("name,mac\npc-1,52:54:00:00:00:11\n\npc-2,52:54:00:aa:00:09\n")
    assert fails(path, "host", "add", "--csv", table)[0] == (
        f"error: {table} line 4: 52:54:00:aa:00:09 belongs to both 'pc-9' and 'pc-2'"
    )
    table.write_text("name,mac\npc-1,52:54:00:00:00:11\npc-9,52:54:00:00:00:02\n")
    assert (
        f"{table} line 3: host 'pc-9' is there already"
        in fails(path, "host", "add", "--csv", table)[0]
    )
    table.write_text("name,mac\npc-1,52:54:00:00:00:11\npc-2,\n")
    assert (
        f"{table} line 3: host 'pc-2' has no matcher"
        in fails(path, "host", "add", "--csv", table)[0]
    )
    assert "pc-1" not in storeboot(path, "host", "list")
    with_option = tried(
        *forker.argv(), "host", "add", "--csv", table, "--group", "room", "-c", path
    )
    assert (with_option.returncode, "columns of the file" in with_option.stderr) == (2, True)


NO_SERVER = b"warning: no server is running\n"


@pytest.mark.parametrize("words", [("host", "list"), ("host", "show", "lab1"), ("status",)])
def test_output_that_nobody_reads(path: Path, words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said = subprocess.run(
        [*forker.argv(), *words, "--config", path], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (said.returncode, said.stderr.removeprefix(NO_SERVER)) == (1, b"")
    with Path("/dev/full").open("wb") as full:
        said = subprocess.run(
            [STOREBOOT, *words, "--config", path], stdout=full, stderr=subprocess.PIPE
        )
    assert said.returncode == 1
    assert said.stderr.removeprefix(NO_SERVER).startswith(b"error: No space left on device\nhint: ")


def test_output_that_is_closed(path: Path) -> None:
    for closed in (">&-", ">&- 2>&-"):
        said = tried("/bin/sh", "-c", f'"$@" {closed}', "sh", STOREBOOT, "host", "list", "-c", path)
        assert (said.returncode, said.stderr) == (0, "")


def test_names_beyond_ascii_in_any_locale(path: Path) -> None:
    words = [str(STOREBOOT), "hold", "lab1", "--reason", "Prüfung →", "-c", str(path)]
    for locale in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        said = subprocess.run(words, capture_output=True, env={**os.environ, **locale})
        assert said.returncode == 0, said.stderr
        assert b"lab1 is held: Pr" in said.stderr


@pytest.fixture
def closed(path: Path, config: Config) -> Iterator[Path]:
    """The state belongs to somebody else. Without these capabilities root is an ordinary user."""
    state = config.server.state_directory
    for place in (state, *state.rglob("*")):
        os.chown(place, NOBODY, NOBODY)
    yield path
    for place in (state, *state.rglob("*")):
        os.chown(place, 0, 0)


ORDINARY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


@pytest.mark.parametrize(
    "words",
    [("status",), ("timeline", "lab1"), ("host", "list"), ("deploy", "lab1", SYSTEM), ("gc",),
     ("serve",), ("rollout", "list")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_ordinary_user_is_told_who_may(
    closed: Path, config: Config, words: tuple[str, ...]
) -> None:
    state = config.server.state_directory
    said = tried(*ORDINARY, STOREBOOT, *words, "--config", closed)
    owner = f"hint: run the command as nobody, who owns {state}: sudo -u nobody storeboot"
    assert (said.returncode, owner in said.stderr) == (1, True), said.stderr
    if words == ("serve",):
        return  # it serves what it can, and waits for its database
    state.chmod(0o755)
    (state / "storeboot.sqlite").chmod(0o644)
    (state / "server.key").chmod(0o644)
    said = tried(*ORDINARY, STOREBOOT, *words, "--config", closed)
    assert said.returncode == 1
    assert "hint: run the command as nobody, who owns " in said.stderr


def test_an_ordinary_user_completes_what_the_file_has(closed: Path) -> None:
    words = ["storeboot", "timeline", "-c", str(closed), ""]
    environment = {"_STOREBOOT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words),
                   "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    said = subprocess.run(
        [*ORDINARY, STOREBOOT], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "plain,lab1\n", "")


def test_names_and_numbers_are_completed(config: Config, path: Path, tmp_path: Path) -> None:
    at = ("-c", str(path))
    assert complete("host", "set", *at, "pc-9", "--group", "r") == ["room"]
    assert complete("host", "adopt", *at, "x", "y", "--group", "") == ["room"]
    assert complete("rollback", *at, "lab1", "--generation", "") == []
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    storeboot(path, "deploy", "lab1", one)
    storeboot(path, "deploy", "lab1", two)
    assert complete("rollback", *at, "lab1", "--generation", "") == ["1", "2"]
    assert complete("rollback", *at, "lab1", "--generation", "2") == ["2"]
    assert complete("rollout", "show", *at, "") == []
    storeboot(path, "deploy", "lab1", one, "--batch", 1, "--no-wait", WAIT)
    assert complete("rollout", "show", *at, "") == ["1"]
    assert complete("rollout", "stop", *at, "2") == []
    with path.open("a") as file:
        file.write('[networks.hall]\ninterface = "eth1"\naddress = "10.1.0.1/24"\n')
    assert complete("dhcp-snippet", "kea", *at, "--network", "h") == ["hall"]


def test_a_broken_host_is_no_part_of_a_completion(path: Path) -> None:
    """The log says that it is left out, and a log is no list of names."""
    storeboot(path, "host", "set", "pc-9", "--group", "room")
    path.write_text(path.read_text().replace("[groups.room]", "[groups.hall]"))
    assert set(complete("timeline", "-c", str(path), "")) <= {"lab1", "pc-9"}


def test_dry_run_finds_systems_and_files_that_are_not_there(path: Path) -> None:
    path.write_text(
        path.read_text() + f'[hosts.lab3]\nserial = ["S3"]\nsystem = "{SYSTEM}"\n'
        '[initrd]\nbusybox = "busybox-static"\n'
    )
    lines = fails(path, "serve", "--dry-run")
    assert lines[0] == f"error: {path} has 2 faults:"
    assert lines[1].startswith(f"  host lab3: {SYSTEM} does not exist in the store ")
    assert lines[2] == f"  initrd.busybox: {path.parent}/busybox-static is not a file"
    said = tried(*forker.argv(), "serve", "--dry-run", "--no-files", "--config", path)
    assert (said.returncode, said.stderr) == (0, f"{path} is valid: 2 hosts\n")


def test_commands_find_one_state_from_anywhere(path: Path, tmp_path: Path) -> None:
    """A relative path starts at the file, not where somebody stands."""
    text = path.read_text()
    state = next(line for line in text.splitlines() if line.startswith("state_directory"))
    path.write_text(text.replace(state, 'state_directory = "here"'))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for directory, file in ((tmp_path, path.name), (elsewhere, f"../{path.name}")):
        words = [*forker.argv(), "host", "add", f"pc-{len(file)}", "--serial", f"S{len(file)}"]
        subprocess.run([*words, "-c", file], cwd=directory, check=True)
    assert list(tmp_path.rglob("here/storeboot.sqlite")) == [tmp_path / "here/storeboot.sqlite"]
    assert list(elsewhere.iterdir()) == []
    assert storeboot(path, "host", "list").count("\npc-") == 2


def test_a_collection_removes_what_killed_commands_have_left(config: Config, path: Path) -> None:
    state = config.server.state_directory
    left = [state / name for name in (
        "packs/.a.squashfs.0123abcd.partial", "views/.b.json.0123abcd.partial",
        ".memory.json.0123abcd.partial", "reports/0123/.nix.0123abcd.partial",
    )]  # fmt: skip
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.write_text("half")
    storeboot(path, "gc", "--dry-run")
    assert [file.exists() for file in left] == [True] * 4
    storeboot(path, "gc")
    assert [file.exists() for file in left] == [False] * 4


@pytest.mark.parametrize("words", [("status",), ("deploy", "lab1", SYSTEM), ("gc",)])
def test_a_disk_without_a_byte_is_called_full(
    config: Config, tmp_path: Path, disk: Path, words: tuple[str, ...]
) -> None:
    state = disk / "state"
    section = ServerSection(address="127.0.0.1", state_directory=state)
    path = tmp_path / "storeboot.toml"
    path.write_text(as_toml(config.model_copy(update={"server": section})))
    storeboot(path, "host", "list")
    fill(disk, 0)
    said = tried(*forker.argv(), *words, "--config", path)
    assert said.returncode == 1
    assert f"error: cannot use the database: {state}/storeboot.sqlite: No space left" in said.stderr
    assert f"hint: make room on the disk of {state} and try again" in said.stderr
    (disk / "filler").unlink()
    storeboot(path, "gc")


def opens(pid: int, file: Path) -> bool:
    """Return whether a process has a file open; it opens and closes others meanwhile."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if each.readlink() == file.resolve():
                return True
    return False


def test_interrupted(path: Path) -> None:
    """Ctrl-C, while a command waits for a lock."""
    file = path.parent / "state" / "lock"
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever started the tests may ignore the signal, and children inherit that.
        words = ["env", "--default-signal=INT", str(STOREBOOT), "gc", "-c", str(path)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as child:
            while not opens(child.pid, file):
                assert child.poll() is None
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=60)
    assert (child.returncode, said.splitlines()[-1]) == (130, "interrupted")


EVIL = (
    "mount: [/dev/sda1] [/x] \x1b]0;title\x07\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}cba\nline two\r"
    "\x00\N{ZERO WIDTH SPACE}"
)


def test_what_machines_said_is_data_to_every_command(config: Config, path: Path) -> None:
    """Rows of an older server, which took text as it came, are shown without harm as well."""
    with opened(config) as inventory:
        boot = lease(inventory, StorePath(SYSTEM), 1, machine=EVIL, address=EVIL)
        for stage, detail in (("mount", EVIL), ("failed", EVIL), (EVIL, EVIL)):
            inventory.boots.record(
                Event("lab1", "initrd", stage, boot.began_at, boot.id, 5.0, detail)
            )
        inventory.holds.hold("lab1", EVIL, boot.began_at)
        machine = Machine("52:54:00:aa:00:01", EVIL, EVIL)
        inventory.unknown.see(machine, EVIL, boot.began_at)
    for words in (
        ("status",), ("timeline", "lab1"), ("generations", "lab1"), ("host", "list", "--unknown"),
        ("host", "list"), ("host", "show", "lab1"), ("gc", "--dry-run"), ("rollout", "list"),
    ):  # fmt: skip
        for form in ((), ("--json",)):
            said = tried(*forker.argv(), *words, *form, "--config", path)
            assert said.returncode == 0, said.stderr
            bad = {c for c in said.stdout + said.stderr if not (c.isprintable() or c == "\n")}
            assert bad == set(), (words, form)
            if form and said.stdout:
                json.loads(said.stdout)
    assert "[/dev/sda1] [/x]" in tried(*forker.argv(), "timeline", "lab1", "-c", path).stdout
