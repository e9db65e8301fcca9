"""What is said of a machine that shows these stages: SECONDS STAGE DETAIL, one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.dhcp.journal import Journal
from storeboot.hosts.boot import Event
from storeboot.service.rounds import Rounds


def judge(case: dict[str, Any], _directory: Path) -> str:
    """Return the last words about a loop, or nothing.

    A line may also be one of dnsmasq's log, after the seconds.
    """
    rounds, journal, said = Rounds(), Journal(), ""
    for line in case["seen"].strip().splitlines():
        at, _, words = line.partition(" ")
        stage, _, detail = words.partition(" ")
        if words.startswith("dnsmasq"):
            seen = journal.line(words)
            if seen is None:
                continue
            stage, detail = seen.stage, seen.detail
        for event in rounds.count(Event("lab1", "server", stage, float(at), detail=detail)):
            said = event.detail
        if stage not in ("address", "firmware", "script", "kernel", "initrd", "download"):
            said = ""
    return said
