"""The one place that starts other programs."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import structlog

from storeboot.errors import CommandError

log = structlog.get_logger()

Argument = str | os.PathLike[str]


def run(
    argv: Sequence[Argument],
    *,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    stdin: bytes | None = None,
    hint: str | None = None,
    seconds: float | None = None,
) -> str:
    """Standard output of a program that must succeed; its stdin is closed unless given.

    `seconds` is how long it may take.
    """
    words = [os.fspath(word) for word in argv]
    log.debug("process.run", command=shlex.join(words))
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **environment} if environment else None,
            input=stdin if stdin is not None else b"",
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        message = f"`{shlex.join(words)}` did not end within {seconds:.0f} s"
        raise CommandError(message, hint) from None
    except FileNotFoundError:
        raise CommandError(
            f"program {words[0]!r} is not installed", hint or f"install {words[0]} and try again"
        ) from None
    if done.returncode:
        raise CommandError(_failure(words, done.returncode, done.stderr), hint)
    return done.stdout.decode(errors="surrogateescape")


def feed(
    argv: Sequence[Argument],
    pieces: Iterable[bytes],
    *,
    hint: str | None = None,
    seconds: float | None = None,
) -> None:
    """Write to a program that must succeed; `seconds` is how long all of it may take."""
    words = [os.fspath(word) for word in argv]
    log.debug("process.feed", command=shlex.join(words))
    try:
        child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise CommandError(f"program {words[0]!r} is not installed", hint) from None
    killer = threading.Timer(seconds, child.kill) if seconds is not None else None
    if killer is not None:
        killer.start()
    with child, _cancelled(killer):
        assert child.stdin is not None
        assert child.stderr is not None
        with suppress(BrokenPipeError):  # its status says why it has ended
            child.stdin.writelines(pieces)
        with suppress(BrokenPipeError):
            child.stdin.close()
        words_said = child.stderr.read()
    if child.returncode:
        raise CommandError(_failure(words, child.returncode, words_said), hint)


@contextmanager
def _cancelled(timer: threading.Timer | None) -> Iterator[None]:
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def _failure(words: list[str], status: int, stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "no message")
    command = shlex.join(words)
    if len(command) > 300:
        command = command[:300] + "…"
    return f"`{command}` ended with status {status}: {last}"


def find_program(name: str, hint: str) -> Path:
    """Where a program is; an error that says how to get it where it is not."""
    found = shutil.which(name)
    if found is None:
        raise CommandError(f"program {name!r} is not installed", hint)
    return Path(found)


class Child:
    """A long-lived program in its own session; ended with SIGTERM, then SIGKILL."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self.name = name

    @classmethod
    async def start(
        cls,
        argv: Sequence[Argument],
        *,
        output: Path | None = None,
        piped: bool = False,
        pass_fds: tuple[int, ...] = (),
        cwd: Path | None = None,
    ) -> Child:
        """Output of both kinds goes to the file `output`, to `lines`, or else to our own stderr."""
        words = [os.fspath(word) for word in argv]
        log.debug("process.start", command=shlex.join(words))
        with output.open("wb") if output is not None else nullcontext(sys.stderr) as stream:
            try:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE if piped else stream,
                    stderr=asyncio.subprocess.STDOUT if piped else stream,
                    start_new_session=True,
                    pass_fds=pass_fds,
                    cwd=cwd,
                )
            except FileNotFoundError:
                raise CommandError(f"program {words[0]!r} is not installed") from None
        return cls(process, Path(words[0]).name)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.returncode

    async def lines(self) -> AsyncIterator[str]:
        """What it says from here on, if it was started `piped`; to the end of it."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than anybody reads
                continue
            if not line:
                return
            yield line.decode(errors="replace").rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        return await self._process.wait()

    async def stop(self, patience: float = 10.0) -> None:
        """`patience` in seconds between asking and killing."""
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(patience):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
