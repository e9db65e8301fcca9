"""The one place that starts programs."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from storeboot.errors import CommandError
from storeboot.process import Child, feed, run


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_a_program_that_takes_too_long_is_ended_and_named() -> None:
    with pytest.raises(CommandError, match="`sleep 60` did not end within 0 s"):
        run(["sleep", "60"], seconds=0.2)


def test_what_it_has_started_is_ended_with_it(tmp_path: Path) -> None:
    """And nobody waits for a pipe that this holds."""
    line = 'sleep 600 & echo $! >"$0"; wait'
    with pytest.raises(CommandError, match="did not end within"):
        run(["sh", "-c", line, tmp_path / "pid"], seconds=0.5)
    assert ends(int((tmp_path / "pid").read_text()))


def test_one_that_hears_no_sigterm_is_killed() -> None:
    begun = time.monotonic()
    with pytest.raises(CommandError, match="did not end within"):
        run(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], seconds=0.2)
    assert time.monotonic() - begun < 30


def test_every_program_has_an_end() -> None:
    """Nobody has to think of one: what takes long says so."""
    assert 0 < (run.__kwdefaults__ or {})["seconds"] <= 120
    assert 0 < (feed.__kwdefaults__ or {})["stall"] <= 120


def pieces() -> Iterator[bytes]:
    while True:
        yield bytes(1 << 16)


def test_a_program_that_takes_nothing_more_is_ended() -> None:
    with pytest.raises(CommandError, match="`sleep 60` took nothing for 0 s"):
        feed(["sleep", "60"], pieces(), stall=0.3)


def test_nor_does_one_that_does_not_end_keep_us() -> None:
    line = "cat >/dev/null; sleep 60"
    with pytest.raises(CommandError, match="took nothing"):
        feed(["sh", "-c", line], [b"x"], stall=0.3)


def test_a_program_that_ends_early_says_why() -> None:
    with pytest.raises(CommandError, match="ended with status 3: no room"):
        feed(["sh", "-c", "echo no room >&2; exit 3"], pieces())


def test_a_program_that_says_much_while_it_is_fed_does_not_stand_still() -> None:
    feed(["sh", "-c", "head -c 1000000 /dev/zero >&2; cat >/dev/null"], [bytes(1 << 20)] * 4)


def test_a_failed_command_is_logged_so_that_it_can_be_pasted(tmp_path: Path) -> None:
    words = [f"word {number}" for number in range(4000)]
    with capture_logs() as logs, pytest.raises(CommandError) as caught:
        run(["sh", "-c", 'echo "$PWD $A $#"; exit 4', "sh", *words], cwd=tmp_path,
            environment={"A": "b c"})  # fmt: skip
    assert len(caught.value.message) < 400
    (entry,) = (entry for entry in logs if entry["event"] == "process.failed")
    pasted = re.sub("exit 4", "exit 0", entry["command"])
    assert run(["sh", "-c", pasted]) == f"{tmp_path} b c 4000\n"


async def test_a_child_that_is_stopped_is_ended_with_what_it_started(tmp_path: Path) -> None:
    line = 'trap : TERM; sleep 600 & echo $! >"$0"; echo ready; wait; wait'
    child = await Child.start(["sh", "-c", line, tmp_path / "pid"], piped=True)
    async for said in child.lines():
        assert said == "ready"
        break
    os.kill(child.pid, signal.SIGSTOP)
    begun = time.monotonic()
    await child.stop(0.3)
    assert time.monotonic() - begun < 10
    assert child.status == -signal.SIGKILL
    assert ends(int((tmp_path / "pid").read_text()))
