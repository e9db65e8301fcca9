"""The commands as an operator types them: every wrong input in two lines and exit status 1."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from integration.daemons import serving
from integration.servers import MAC, as_toml, make_config
from storeboot.config import Config
from storeboot.errors import CommandError
from storeboot.process import Child, run

ROOT = Path(__file__).parents[2]
STOREBOOT = Path(sys.executable).with_name("storeboot")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


def write(directory: Path, text: str) -> Path:
    path = directory / "storeboot.toml"
    path.write_text(text)
    return path


async def fails(directory: Path, *words: object, environment: dict[str, str] | None = None) -> str:
    """What a command says that must end with status 1."""
    output = directory / "output"
    env = [f"{name}={value}" for name, value in (environment or {}).items()]
    child = await Child.start(["/usr/bin/env", *env, STOREBOOT, *map(str, words)], output=output)
    assert await child.wait() == 1
    text = output.read_text()
    assert "Traceback" not in text
    assert "\nhint: " in text
    return text


async def test_serve__a_system_that_is_no_store_path(config: Config, tmp_path: Path) -> None:
    text = as_toml(config).replace(str(config.hosts["lab1"].system), "hello")
    output = await fails(tmp_path, "serve", "-c", write(tmp_path, text))
    assert "error: " in output
    assert "storeboot.toml: host lab1: 'hello' is not a store path\n" in output


async def test_serve__a_system_that_is_not_there(config: Config, tmp_path: Path) -> None:
    """Machines that run need their store, so the server says what is wrong and goes on."""
    missing = f"/nix/store/{'0' * 32}-none"
    text = as_toml(config).replace(str(config.hosts["lab1"].system), missing)
    async with serving(config, write(tmp_path, text)) as served:
        await served.answers_nfs()
        assert f"host lab1 cannot boot: {missing} does not exist" in await served.script(MAC)
        said = served.output.read_text()
    assert f"{missing} does not exist in" in said
    assert "serve.no_host_can_boot" in said


async def test_serve__ports_that_are_taken(config: Config, tmp_path: Path) -> None:
    path = write(tmp_path, as_toml(config))
    for port, kind in ((config.nfs.port, "NFS"), (config.http.port, "HTTP")):
        with socket.create_server(("127.0.0.1", port)):
            said = await fails(tmp_path, "serve", "-c", path)
        assert f"error: cannot listen for {kind} on 127.0.0.1 port {port}" in said


async def test_serve__configuration_faults(config: Config, tmp_path: Path) -> None:
    said = await fails(tmp_path, "serve", "-c", tmp_path / "none.toml")
    assert "error: cannot read" in said
    said = await fails(tmp_path, "serve", "-c", write(tmp_path, "[server]\nadress = 1\n"))
    assert "storeboot.toml: server.adress: there is no such setting; did you mean address?" in said


async def test_serve__a_host_that_is_wrong_with_its_group(config: Config, tmp_path: Path) -> None:
    """Found by --dry-run as well, which is how NixOS checks the file when it is built."""
    path = write(tmp_path, as_toml(config) + 'mode = "native"\n')
    for words in (("--dry-run",), ()):
        said = await fails(tmp_path, "serve", "-c", path, *words)
        assert "storeboot.toml: host lab1: mode native needs nfs.alias = true" in said


async def test_serve__a_command_line_that_is_too_long(config: Config, tmp_path: Path) -> None:
    text = as_toml(config) + f'kernel_params = ["{"x" * 2000}"]\n'
    async with serving(config, write(tmp_path, text)) as served:
        assert "at most 2047 fit" in await served.script(MAC)
        assert "at most 2047 fit" in served.output.read_text()


@pytest.mark.parametrize("program", ["nix", "busybox"])
async def test_serve__programs_that_are_missing(
    config: Config, tmp_path: Path, program: str
) -> None:
    directory = _path_without(tmp_path, program)
    path = write(tmp_path, as_toml(config))
    async with serving(config, path, "/usr/bin/env", f"PATH={directory}") as served:
        await served.answers_nfs()
        said = served.output.read_text()
    assert f"program '{program}' is not installed" in said
    assert "serve.no_host_can_boot" in said


@pytest.mark.parametrize("program", ["nix-instantiate", "qemu-system-x86_64"])
async def test_demo__programs_that_are_missing(tmp_path: Path, program: str) -> None:
    directory = _path_without(tmp_path, program)
    cache = os.environ.get("STOREBOOT_TEST_CACHE", ROOT / ".cache" / "demo")
    said = await fails(
        tmp_path, "demo", "--system", "micro", "--directory", cache,
        environment={"PATH": str(directory)},
    )  # fmt: skip
    assert f"error: program '{program}' is not installed" in said


def _path_without(directory: Path, program: str) -> Path:
    """A PATH with everything but one program."""
    made = directory / "bin"
    made.mkdir()
    for place in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        for file in Path(place).iterdir():
            link = made / file.name
            if file.name != program and not link.is_symlink():
                link.symlink_to(file)
    return made


@pytest.mark.timeout(300)
async def test_demo__asked_to_end_it_leaves_no_machine_behind(tmp_path: Path) -> None:
    directory = Path(os.environ.get("STOREBOOT_TEST_CACHE", ROOT / ".cache" / "demo"))
    child = await Child.start(
        [STOREBOOT, "demo", "--system", "micro", "--directory", directory],
        output=tmp_path / "output",
    )
    async with asyncio.timeout(240):
        while " script\n" not in (tmp_path / "output").read_text():
            assert child.status is None, (tmp_path / "output").read_text()
            await asyncio.sleep(0.1)
    os.kill(child.pid, signal.SIGTERM)
    assert await child.wait() == 130
    with pytest.raises(CommandError):
        run(["pgrep", "--full", f"file:{directory}/run/console.log"])


async def test_timeline__an_unknown_host_and_no_database(config: Config, tmp_path: Path) -> None:
    path = write(tmp_path, as_toml(config))
    assert "no database" in await fails(tmp_path, "status", "-c", path)
    assert "lab1" in run([STOREBOOT, "host", "list", "-c", path])
    assert "no host 'lab9'" in await fails(tmp_path, "timeline", "lab9", "-c", path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve__runs_shows_its_status_and_ends_cleanly(
    config: Config, tmp_path: Path, number: signal.Signals
) -> None:
    path = write(tmp_path, as_toml(config))
    notify = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(notify))
        ready.settimeout(60)
        child = await Child.start(
            ["/usr/bin/env", f"NOTIFY_SOCKET={notify}", STOREBOOT, "serve", "-c", path],
            output=tmp_path / "output",
        )
        try:
            while not (said := ready.recv(100)).startswith(b"READY=1"):
                assert said.startswith(b"EXTEND_TIMEOUT_USEC=")  # it is not to be ended meanwhile
            run(["busybox", "wget", "-q", "-O", "/dev/null",
                 f"http://127.0.0.1:{config.http.port}/boot?mac={MAC}"])  # fmt: skip
            status = json.loads(run([STOREBOOT, "status", "--json", "-c", path]))
            assert status["lab1"]["stage"] == "script"
            assert "script" in run([STOREBOOT, "timeline", "lab1", "-c", path])
        finally:
            os.kill(child.pid, number)
            assert await child.wait() == 0
    assert "serve.stopped" in (tmp_path / "output").read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_STOREBOOT_COMPLETE" in run([STOREBOOT, "completion", shell])


def complete(*words: str) -> list[str]:
    """What bash offers for the last word of a command line."""
    line = ["storeboot", *words]
    environment = {
        "_STOREBOOT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
    }
    answer = run([STOREBOOT], environment=environment)
    return [each.partition(",")[2] for each in answer.split()]


def test_completion_knows_hosts_and_creates_nothing(config: Config, tmp_path: Path) -> None:
    path = write(tmp_path, as_toml(config))
    assert complete("rollback", "-c", str(path), "la") == ["lab1"]
    assert complete("rollback", "-c", str(path), "x") == []
    assert complete("rollback", "-c", str(tmp_path / "none"), "la") == []
    assert not config.server.state_directory.exists()
    run([STOREBOOT, "host", "add", "lab2", "--serial", "S2", "-c", path])
    assert complete("deploy", "-c", str(path), "la") == ["lab1", "lab2"]
