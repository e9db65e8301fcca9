"""Runs the servers that are measured, one after the other, over the same tree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.nfs.client import is_served
from storeboot.deploy.state import StateDirectory
from storeboot.nfs.handle import HandleCodec, MountToken

OURS, GANESHA, NULL, HTTP = 20490, 20491, 20495, 20496
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server."""

    name: str
    pid: int
    port: int
    mount_port: int
    path: str  # to mount

    def processes(self) -> list[int]:
        """Return its process and all below it."""
        found, children = [self.pid], {self.pid}
        while children:
            children = {pid for parent in children for pid in _children(parent)}
            found += children
        return found

    def cpu_seconds(self) -> float:
        total = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def resident(self) -> int:
        """Return its resident bytes; pages that processes share count for each of them."""
        words = (Path(f"/proc/{pid}/statm").read_text().split() for pid in self.processes())
        return sum(int(word[1]) for word in words) * _PAGE


def _children(parent: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        with suppress(FileNotFoundError):  # threads come and go
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


@contextmanager
def ours(directory: Path, view: bytes, workers: int) -> Iterator[Peer]:
    """Run `storeboot serve` as users do, except that it builds no initrds."""
    token = HandleCodec(StateDirectory(directory / "state").server_key.get()).encode_token(
        MountToken(view, bytes(8))
    )
    configuration = directory / "storeboot.toml"
    configuration.write_text(f"""
[server]
address = "127.0.0.1"
state_directory = "{directory}/state"
[store]
root = "{directory}"
[http]
listen = "127.0.0.1"
port = {HTTP}
[nfs]
listen = "127.0.0.1"
port = {OURS}
workers = {workers}
[hosts.bench]
mac = ["52:54:00:12:34:56"]
system = "/nix/store/{"0" * 32}-nixos-system-bench-1"
""")
    argv = [sys.executable, "-m", "bench.nfs.serve", "serve", "--config", str(configuration)]
    with started(argv, OURS) as pid:
        yield Peer("storeboot", pid, OURS, OURS, f"/view/{token}")


@contextmanager
def ganesha(directory: Path, work: Path | None = None) -> Iterator[Peer]:
    """Run NFS-Ganesha with its settings for a read-only export; NFSv3 needs rpcbind.

    `directory` has `nix/store`; `work` is for what the server writes.
    """
    work = work or directory / "ganesha"
    work.mkdir(exist_ok=True)
    configuration = work / "ganesha.conf"
    configuration.write_text(f"""
NFS_CORE_PARAM {{
  Protocols = 3,4; NFS_Port = {GANESHA}; MNT_Port = {GANESHA + 1};
  Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
}}
NFSv4 {{
  Graceless = true; Minor_Versions = 0,1,2; Delegations = true; Lease_Lifetime = 120;
  RecoveryBackend = fs; RecoveryRoot = {work}; Only_Numeric_Owners = true;
}}
EXPORT {{
  Export_Id = 1; Path = {directory}/nix/store; Pseudo = /store; Access_Type = RO;
  Protocols = 3,4; Transports = TCP; PrivilegedPort = false; SecType = sys,none;
  Squash = No_Root_Squash; FSAL {{ Name = VFS; }}
}}
""")
    Path("/run/ganesha").mkdir(exist_ok=True)
    Path("/run/rpcbind").mkdir(exist_ok=True)
    log = work / "log"
    argv = ["ganesha.nfsd", "-F", "-L", str(log), "-f", str(configuration), "-p", str(work / "pid")]
    with started(["rpcbind", "-f"], None), started(argv, GANESHA) as pid:
        path = f"{directory}/nix/store"
        yield Peer("NFS-Ganesha", pid, GANESHA, GANESHA + 1, path)


@contextmanager
def null(load: Path, reply_bytes: int) -> Iterator[Peer]:
    with started([str(load), "null", str(NULL), str(reply_bytes)], NULL) as pid:
        yield Peer("null server", pid, NULL, NULL, "")


@contextmanager
def started(argv: list[str], port: int | None, stderr: int | None = None) -> Iterator[int]:
    """Start a server, wait until it answers on its port, and stop it at the end, by its process id."""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=stderr) as process:
        try:
            _await(process, port)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _await(process: subprocess.Popen[bytes], port: int | None) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        if port is None:
            time.sleep(1)
            return
        if is_served(port):
            return
        time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} does not answer")
