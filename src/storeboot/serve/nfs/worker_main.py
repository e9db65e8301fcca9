"""The main program of an NFS worker process, started by `workers` with a descriptor and its pid.

Each worker's memory counts, so unneeded modules are kept out before anything is imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys

_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8


def main() -> None:
    """Serve the connections that arrive over the descriptor in the first argument."""
    _prepare(int(sys.argv[2]))
    # structlog draws tracebacks with rich if it is installed; a journal needs no drawing.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from storeboot.serve import loop
    from storeboot.serve.nfs import worker

    loop.run(worker.work(socket.socket(fileno=int(sys.argv[1]))), nfs=True)


def _prepare(parent: int) -> None:
    """Have the kernel end this process with its parent, even while this process is stopped."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.mallopt(_M_ARENA_MAX, 1)  # the threads that read directories need no memory of their own
    if os.getppid() != parent:
        sys.exit()


if __name__ == "__main__":
    main()
