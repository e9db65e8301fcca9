"""A stage 1 that mounts the store by the alias and then reads nothing, in a namespace of its own.

Arguments: the server's address, the machine's MAC address, and what it does after the mount:
`flush` takes its network down as NixOS' scripted stage 1 does, `wait` does nothing. Then it waits
for the end of stdin.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from urllib.request import urlopen

from nfs_codec import MOUNT, XID, call, marked, opaque, results
from storeboot.nfs.rpc import RecordReader


def main(server: str, mac: str, then: str) -> None:
    script = _get(f"http://{server}:8080/boot?mac={mac}").decode()
    found = re.search(r"http://\S+/initrd\?host=\w+", script)
    assert found is not None, script
    assert _get(found[0])
    with socket.create_connection((server, 2049), 20) as connection:
        connection.sendall(marked(call(MOUNT, 3, 1, opaque(b"/nixstore"))))
        replies = list(RecordReader(1 << 20).feed(connection.recv(1 << 16)))
        assert results(replies[0], XID).uint32() == 0
        if then == "flush":
            for words in ("address flush dev eth0", "link set eth0 down"):
                subprocess.run(["ip", *words.split()], check=True)
        sys.stdin.read()


def _get(url: str) -> bytes:
    with urlopen(url, timeout=20) as response:
        body: bytes = response.read()
    return body


if __name__ == "__main__":
    main(*sys.argv[1:])
