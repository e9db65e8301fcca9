"""Starts other programs: nothing else in the program does."""

from __future__ import annotations

import asyncio
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import structlog

from storeboot.errors import CommandError

log = structlog.get_logger()

Argument = str | os.PathLike[str]


SECONDS = 120.0  # for a program, unless its caller says otherwise
LONG = 3600.0  # for one that builds or fetches
STALL_SECONDS = 120.0  # for which a program that is fed may take nothing
_TIDY_SECONDS = 2.0  # for a program that was asked to end
_END_SECONDS = 10.0  # for one that was killed
_SHOWN = 300  # characters of a command in a message


def run(
    argv: Sequence[Argument],
    *,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    stdin: bytes | None = None,
    hint: str | None = None,
    seconds: float = SECONDS,
) -> str:
    """Run a program that must succeed; return its standard output.

    Its standard input is empty unless `stdin` is given. After `seconds` it is killed with all that
    it has started.
    """
    words = [os.fspath(word) for word in argv]
    log.debug("process.run", command=shlex.join(words))
    child = _popen(words, hint, cwd=cwd, environment=environment, stderr=subprocess.PIPE)
    try:
        output, said = child.communicate(stdin or b"", seconds)
    except subprocess.TimeoutExpired:
        _kill(child)
        reason = f"did not end within {seconds:.0f} s"
        raise CommandError(_failure(words, reason, cwd, environment), hint) from None
    except BaseException:
        _kill(child)
        raise
    if child.returncode:
        reason = _ended(child.returncode, said)
        raise CommandError(_failure(words, reason, cwd, environment), hint)
    return output.decode(errors="surrogateescape")


def feed(
    argv: Sequence[Argument],
    pieces: Iterable[bytes],
    *,
    hint: str | None = None,
    stall: float = STALL_SECONDS,
) -> None:
    """Run a program that must succeed, and write the pieces to it.

    It may take nothing for at most `stall` seconds, and run as long after the last piece.
    """
    words = [os.fspath(word) for word in argv]
    log.debug("process.feed", command=shlex.join(words))
    with tempfile.TemporaryFile() as said:  # a pipe would have to be read meanwhile
        child = _popen(words, hint, stdout=subprocess.DEVNULL, stderr=said.fileno())
        try:
            with suppress(BrokenPipeError):  # its status says why it has ended
                _write_all(child, pieces, stall)
            child.wait(stall)
        except subprocess.TimeoutExpired:
            _kill(child)
            reason = f"took nothing for {stall:.0f} s"
            raise CommandError(_failure(words, reason), hint) from None
        except BaseException:
            _kill(child)
            raise
        if child.returncode:
            said.seek(0)
            raise CommandError(_failure(words, _ended(child.returncode, said.read())), hint)


def _popen(
    words: list[str],
    hint: str | None,
    *,
    stderr: int,
    stdout: int = subprocess.PIPE,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, and return it."""
    try:
        return subprocess.Popen(
            words,
            cwd=cwd,
            env={**os.environ, **environment} if environment else None,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
        )
    except FileNotFoundError:
        raise CommandError(
            f"program {words[0]!r} is not installed", hint or f"install {words[0]} and try again"
        ) from None


def _write_all(child: subprocess.Popen[bytes], pieces: Iterable[bytes], stall: float) -> None:
    """Write all pieces; raise TimeoutExpired if none of them is taken for `stall` seconds."""
    assert child.stdin is not None
    descriptor = child.stdin.fileno()
    os.set_blocking(descriptor, False)
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    with child.stdin:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[os.write(descriptor, rest) :]
                except BlockingIOError:
                    if not room.poll(stall * 1000):
                        raise subprocess.TimeoutExpired(child.args, stall) from None


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started in its group, and wait for it, but not for ever."""
    for number, patience in ((signal.SIGTERM, _TIDY_SECONDS), (signal.SIGKILL, _END_SECONDS)):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):  # it waits for a disk that does not answer
            child.wait(patience)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _ended(status: int, stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "no message")
    return f"ended with status {status}: {last}"


def _failure(
    words: list[str],
    reason: str,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Return a message for the operator, and log the whole command so that it can be pasted into a
    shell."""
    command = shlex.join(words)
    settings = [f"{name}={value}" for name, value in (environment or {}).items()]
    pasted = shlex.join(["env", *settings, *words]) if settings else command
    if cwd is not None:
        pasted = f"cd {shlex.quote(str(cwd))} && {pasted}"
    log.info("process.failed", command=pasted, reason=reason)
    if len(command) > _SHOWN:
        command = command[:_SHOWN] + "…"
    return f"`{command}` {reason}"


def find_program(name: str, hint: str) -> Path:
    """Return where a program is; raise CommandError with the hint if it is not installed."""
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
        """Start a program, and return it.

        Its standard output and error go to the file `output` or, if `piped`, to `lines`; otherwise
        to our own stderr."""
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
        """Yield each line of its output from now on, until it ends, if it was started `piped`."""
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
        """Ask it to end, and kill it if it has not ended after `patience` seconds."""
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(patience):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._wait_for_end()

    def _kill(self) -> None:
        """Kill its whole session, with everything that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _wait_for_end(self) -> None:
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:  # it waits for a disk that does not answer
            log.error("process.not_killed", name=self.name, pid=self.pid)
