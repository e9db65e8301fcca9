"""A machine that reads without pause, or one that boots again and again: `clients.py KIND ADDRESS`.

As Linux and iPXE do, they wait for an answer and ask again over a new connection when theirs has
ended. At SIGUSR1 they say, as a line of JSON, how long they have waited for an answer at most since
the last time, and what was wrong.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from integration.nfs_client import NfsClient
from storeboot.nfs.views import view_id

HTTP_PORT, NFS_PORT = 8080, 2049
MAC = "52:54:00:00:00:01"
CONTENT = bytes(range(256)) * 4096
PIECE = 1 << 16
AGAIN_SECONDS = 0.1  # before a new connection
HTTP_SECONDS, NFS_SECONDS = 10.0, 60.0  # as long as the initrd and Linux wait for one answer
T = TypeVar("T")


class Client:
    """What it has seen."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.answered_at = time.monotonic()
        self.longest = 0.0
        self.answers = 0
        self.wrong: list[str] = []
        signal.signal(signal.SIGUSR1, lambda *_: self._tell())
        self._say("ready")

    def answered(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self.answered_at)
        self.answered_at = now
        self.answers += 1

    def patiently(self, ask: Callable[[], T]) -> T:
        """The answer, over as many connections as it takes."""
        while True:
            try:
                found = ask()
            except (OSError, http.client.HTTPException):
                time.sleep(AGAIN_SECONDS)
            else:
                self.answered()
                return found

    def _tell(self) -> None:
        stall = max(self.longest, time.monotonic() - self.answered_at)
        said = {"stall": round(stall, 2), "answers": self.answers, "wrong": self.wrong}
        self._say(json.dumps(said))
        self.longest, self.answers, self.wrong = 0.0, 0, []

    def _say(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def http(self, method: str, path: str, body: str = "") -> bytes:
        connection = http.client.HTTPConnection(
            "127.0.0.1", HTTP_PORT, timeout=HTTP_SECONDS, source_address=(self.source, 0)
        )
        try:
            connection.request(method, path, body.encode() or None)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status != 200:
            self.wrong.append(f"{method} {path}: {response.status} {response.reason}")
        return data

    def boot(self) -> tuple[str, str]:
        """A boot up to its mount; the path to mount, and the system's name."""
        script = self.patiently(lambda: self.http("GET", f"/boot?mac={MAC}")).decode()
        urls = re.findall(r"http://[0-9.:]+(/views/([0-9a-f]+)/(?:kernel|initrd)\S*)", script)
        system = re.search(r"init=(/nix/store/\S+)/init", script)
        if len(urls) != 2 or system is None:
            self.wrong.append(f"script: {script}")
            raise SystemExit(1)
        for url, _ in urls:
            if not self.patiently(lambda url=url: self.http("GET", url)):  # type: ignore[misc]
                self.wrong.append(f"{url} is empty")
        body = (
            f"host=lab1\nview={view_id([system[1]]).hex()}\nmac={MAC}\n"
            f"nonce={secrets.token_hex(16)}\naddress={self.source}\n"
        )
        answer = self.patiently(lambda: self.http("POST", "/boots", body)).decode()
        token = re.search(r"^token=(\S+)", answer, re.MULTILINE)
        if token is None:
            self.wrong.append(f"no token: {answer}")
            raise SystemExit(1)
        return f"/view/{token[1]}", system[1].rpartition("/")[2]


class Mounted:
    """A file of the system's, read over a mount as Linux would."""

    def __init__(self, client: Client, path: str, system: str) -> None:
        self._client = client
        self._connection: NfsClient | None = None
        root = self._ask(lambda nfs: nfs.mount(path))
        top = self._ask(lambda nfs: nfs.lookup(root, system.encode()))
        self._file = self._ask(lambda nfs: nfs.lookup(top, b"large"))

    def read(self, offset: int) -> None:
        data = self._ask(lambda nfs: nfs.read(self._file, offset, PIECE))
        if data != CONTENT[offset : offset + PIECE]:
            self._client.wrong.append(f"other bytes at {offset}")

    def _ask(self, question: Callable[[NfsClient], bytes | None]) -> bytes:
        answer = self._client.patiently(lambda: self._once(question))
        if answer is None:
            self._client.wrong.append("a handle or name is refused")
            raise SystemExit(1)
        return answer

    def _once(self, question: Callable[[NfsClient], bytes | None]) -> bytes | None:
        if self._connection is None:
            self._connection = NfsClient(NFS_PORT, source=self._client.source, timeout=NFS_SECONDS)
        try:
            return question(self._connection)
        except AssertionError as error:  # an answer that is an error
            self._client.wrong.append(f"NFS: {error}")
            return b""
        except OSError:
            self._connection.socket.close()
            self._connection = None
            raise


def main() -> None:
    kind, source = sys.argv[1:]
    client = Client(source)
    if kind == "boots":
        while True:
            Mounted(client, *client.boot()).read(0)
            time.sleep(0.5)
    mounted = Mounted(client, *client.boot())
    for piece in itertools.cycle(range(0, len(CONTENT), PIECE)):
        mounted.read(piece)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
