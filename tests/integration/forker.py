"""Commands as processes that start in some hundredths of a second.

An interpreter needs most of a second to import what a command needs. Here one process has imported
it and forks for each command, which is then a process like that of `bin/storeboot`: it has its own
words, directory, environment and descriptors, and ends by itself. `test_cli.py` runs the program.

`forker.py SOCKET` serves until its standard input ends; `forker.py SOCKET WORD ...` is a command.
"""

from __future__ import annotations

import array
import json
import os
import socket
import sys
from functools import cache

_PREFIX = 4  # bytes of a length
_STATUS = 1  # byte


def argv() -> list[str]:
    """Return the words in front of a command's own."""
    return [sys.executable, "-I", "-S", __file__, _server()]


@cache
def _server() -> str:
    """Return the socket of this process' forker, which ends with this process."""
    import atexit
    import shutil
    import subprocess
    import tempfile

    directory = tempfile.mkdtemp(prefix="storeboot-forker-")
    place = f"{directory}/socket"
    child = subprocess.Popen(
        [sys.executable, __file__, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.stdout.close()

    def end() -> None:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
        shutil.rmtree(directory)

    atexit.register(end)
    return place


def serve(place: str) -> None:
    """Fork for each command that is asked for, until standard input ends."""
    import select
    import signal
    from importlib import import_module

    from storeboot.cli.main import COMMANDS

    for module, _ in COMMANDS.values():
        import_module(f"storeboot.cli.{module}")
    import_module("sqlalchemy.dialects.sqlite.pysqlite")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(64)
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([listening.fileno(), 0], [], [])
            if 0 in ready:
                return
            asked, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os._exit(_command(asked))
            asked.close()


def _command(asked: socket.socket) -> int:
    """Run the command that is asked for; return its status, and tell it."""
    from storeboot.cli.main import main

    message, ancillary, _, _ = asked.recvmsg(1 << 20, socket.CMSG_SPACE(3 * 4))
    size = int.from_bytes(message[:_PREFIX])
    while len(message) < _PREFIX + size:
        message += asked.recv(1 << 20)
    what = json.loads(message[_PREFIX:])
    descriptors = array.array("i", ancillary[0][2])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.setpgid(0, 0)
    os.chdir(what["directory"])
    os.environ.clear()
    os.environ.update(what["environment"])
    sys.argv = ["storeboot", *what["words"]]
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    asked.send(bytes([status]))
    return status


def ask(place: str, words: list[str]) -> int:
    """Have a command run with this process' descriptors; return its status."""
    what = {"words": words, "directory": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    message = json.dumps(what).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
        prefixed = len(message).to_bytes(_PREFIX) + message
        sent = connection.sendmsg([prefixed], [rights])
        connection.sendall(prefixed[sent:])
        status = connection.recv(_STATUS)
    return status[0] if status else 70  # it was killed


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
