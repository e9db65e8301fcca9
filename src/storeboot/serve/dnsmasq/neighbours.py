"""Whose an address in this network is, according to the kernel: /proc/net/arp, proc(5)."""

from __future__ import annotations

from pathlib import Path

TABLE = Path("/proc/net/arp")
_COMPLETE = 0x2  # linux/if_arp.h: ATF_COM


def neighbour(address: str, table: Path = TABLE) -> str:
    """Return the MAC address of a machine that was sent something just now.

    "" if the kernel does not know it, as behind a router.
    """
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return ""
    for words in map(str.split, lines):
        if len(words) >= 4 and words[0] == address and int(words[2], 16) & _COMPLETE:
            return words[3]
    return ""
