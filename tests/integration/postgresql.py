"""A PostgreSQL of the tests' own, on a socket in a directory of theirs."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot.process import Argument, find_program, run

INSTALL = "run scripts/setup-tests"
USER = "storeboot"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server whose processes can be stopped, killed and started again."""

    directory: Path

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{USER}@/{USER}?host={self.directory}"

    def start(self) -> None:
        options = f"-k {self.directory} -c listen_addresses= -c fsync=off"
        self._control("--options", options, "--log", self.directory / "log", "start")

    def stop(self) -> None:
        self._control("--mode", "fast", "stop")

    def pause(self) -> None:
        """All its processes hang: connections are neither refused nor answered."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def resume(self) -> None:
        for process in self._processes():
            os.kill(process, signal.SIGCONT)

    def kill(self) -> None:
        """As if the machine had lost its power."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in self._processes():
            while Path("/proc", str(process)).exists():
                os.sched_yield()

    def _processes(self) -> list[int]:
        """The postmaster's and those of its sessions."""
        file = self.directory / "data" / "postmaster.pid"
        main = int(file.read_text().split()[0])
        children = Path("/proc", str(main), "task", str(main), "children")
        with suppress(OSError):
            return [main, *map(int, children.read_text().split())]
        return [main]

    def make(self) -> None:
        self._control("--options", f"--no-sync --auth=trust --username={USER}", "initdb")
        self.start()
        run([_program("createdb"), "--host", self.directory, "--username", USER, USER])

    def _control(self, *words: Argument) -> None:
        data = self.directory / "data"
        run([*_as_postgres(), _program("pg_ctl"), "--pgdata", data, "--wait", *words],
            cwd=self.directory)  # fmt: skip


@contextmanager
def server() -> Iterator[Postgres]:
    """A server with an empty database; it runs as `postgres`, as it refuses to as root."""
    with TemporaryDirectory(prefix="storeboot-pg-") as place:
        directory = Path(place)
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(directory, account.pw_uid, account.pw_gid)
        made = Postgres(directory)
        made.make()
        try:
            yield made
        finally:
            with suppress(FileNotFoundError):
                made.resume()
                made.stop()


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database."""
    with server() as made:
        yield made.url


def _as_postgres() -> list[Argument]:
    if os.getuid() != 0:
        return []
    account = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}",
            "--clear-groups", "--"]  # fmt: skip


def _program(name: str) -> Path:
    """Debian keeps the server's programs away from PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found[-1] if found else find_program(name, INSTALL)
