"""A DHCP and TFTP client as firmware is one; runs by itself in a network namespace.

`client.py JSON`: prints what it was told, as JSON. Keys: interface; for DHCP mac, options (code to
hexadecimal), requested (codes), kind (1 DISCOVER, 3 REQUEST), port, server, giaddr (of the relay
that it pretends to be); for TFTP get (each character a byte), options, content, stop (an error is
sent in the place of this acknowledgement).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
from typing import Any

COOKIE = bytes((99, 130, 83, 99))
SECONDS = 5.0


def main() -> None:
    said = json.loads(sys.argv[1])
    answer = tftp(said) if "get" in said else dhcp(said)
    print(json.dumps(answer))


def dhcp(said: dict[str, Any]) -> dict[str, Any] | None:
    """The first answer, or None if there is none in some seconds."""
    mac = bytes.fromhex(said.get("mac", "52:54:00:12:34:56").replace(":", ""))
    transaction = os.urandom(4)
    packet = struct.pack(">BBBB4sHH", 1, 1, 6, 0, transaction, 0, 0x8000) + bytes(12)
    packet += socket.inet_aton(said.get("giaddr", "0.0.0.0"))
    packet += mac.ljust(16, b"\0") + bytes(192) + COOKIE + bytes((53, 1, said.get("kind", 1)))
    for code, value in said.get("options", {}).items():
        data = bytes.fromhex(value)
        packet += bytes((int(code), len(data))) + data
    requested = said.get("requested", [1, 3, 43, 60, 66, 67])
    packet += bytes((55, len(requested), *requested)) + b"\xff"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, said["interface"].encode())
        link.bind(("", 68))
        link.settimeout(said.get("seconds", SECONDS))
        link.sendto(packet.ljust(300, b"\0"), (said.get("server", "255.255.255.255"),
                                              said.get("port", 67)))  # fmt: skip
        try:
            while True:
                data, sender = link.recvfrom(4096)
                if data[4:8] == transaction and data[0] == 2:
                    return _read(data, sender[0])
        except TimeoutError:
            return None


def _read(data: bytes, sender: str) -> dict[str, Any]:
    options: dict[int, bytes] = {}
    at = 240
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        code, size = data[at], data[at + 1]
        options[code] = options.get(code, b"") + data[at + 2 : at + 2 + size]
        at += 2 + size
    return {
        "from": sender,
        "address": socket.inet_ntoa(data[16:20]),
        "next_server": socket.inet_ntoa(data[20:24]),
        "server_name": data[44:108].rstrip(b"\0").decode(),
        "file": data[108:236].partition(b"\0")[0].decode(),
        "options": {str(code): value.hex() for code, value in options.items()},
        "option_file": options.get(67, b"").rstrip(b"\0").decode(),
        "vendor": options.get(60, b"").decode(),
        "kind": options.get(53, b"\0")[0],
    }


def tftp(said: dict[str, Any]) -> dict[str, Any]:
    """A file in octet mode, by RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440."""
    request = b"\0\1" + said["get"].encode("latin-1") + b"\0octet\0"
    for name, value in said.get("options", {}).items():
        request += f"{name}\0{value}\0".encode()
    accepted: dict[str, str] = {}
    content, expected, size = b"", 1, 512
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(SECONDS)
        link.sendto(request, (said["server"], said.get("port", 69)))
        while True:
            data, sender = link.recvfrom(70_000)
            kind, number = struct.unpack(">HH", data[:4])
            if kind == 5:
                return {"error": data[4:].rstrip(b"\0").decode()}
            if kind == 6:
                words = data[2:].rstrip(b"\0").decode().split("\0")
                accepted = dict(zip(words[::2], words[1::2], strict=True))
                size = int(accepted.get("blksize", size))
                if said.get("stop") == 0:
                    return _stop(link, sender)
                link.sendto(b"\0\4\0\0", sender)
            elif kind == 3 and number == expected & 0xFFFF:
                if said.get("stop") == number:
                    return _stop(link, sender)
                content += data[4:]
                expected += 1
                link.sendto(struct.pack(">HH", 4, number), sender)
                if len(data) - 4 < size:
                    digest = hashlib.sha256(content).hexdigest()
                    told = {"sha256": digest, "size": len(content), "accepted": accepted}
                    return told | ({"content": content.hex()} if said.get("content") else {})


def _stop(link: socket.socket, sender: Any) -> dict[str, Any]:
    """Give up, as firmware does that has seen enough or has no memory left."""
    link.sendto(b"\0\5\0\0stop\0", sender)
    return {"stopped": True}


if __name__ == "__main__":
    main()
