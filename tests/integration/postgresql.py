"""A PostgreSQL of the tests' own, on a socket in a directory of theirs."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot.process import Argument, find_program, run

INSTALL = "run scripts/setup-tests"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database; the server runs as `postgres`, as it refuses to as root."""
    with TemporaryDirectory(prefix="storeboot-pg-") as place:
        directory, user = Path(place), "storeboot"
        prefix: list[Argument] = []
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(directory, account.pw_uid, account.pw_gid)
            prefix = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}",
                      "--clear-groups", "--"]  # fmt: skip

        def control(*words: Argument) -> None:
            run([*prefix, _program("pg_ctl"), "--pgdata", directory / "data", "--wait", *words],
                cwd=directory)  # fmt: skip

        options = f"-k {directory} -c listen_addresses= -c fsync=off"
        control("--options", f"--no-sync --auth=trust --username={user}", "initdb")
        control("--options", options, "--log", directory / "log", "start")
        try:
            run([_program("createdb"), "--host", directory, "--username", user, user])
            yield f"postgresql+psycopg://{user}@/{user}?host={directory}"
        finally:
            control("--mode", "fast", "stop")


def _program(name: str) -> Path:
    """Debian keeps the server's programs away from PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found[-1] if found else find_program(name, INSTALL)
