"""What is said of a machine from its events: its state and the words, on one line.

Times of a case are in seconds after its host was first heard of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.boot.state import Evidence, Listening, derive
from storeboot.boot.timeline import last_boot
from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.refusals import Refusal


def judge(case: dict[str, Any], _directory: Path) -> str:
    boot = _boot(case["boot"]) if "boot" in case else None
    events = [
        Event("pc", each["source"], each["stage"], float(each["at"]),
              "b" if each.get("own") else None, detail=each.get("detail", ""))
        for each in case.get("events", ())
    ]  # fmt: skip
    refusal = None
    if "refusal" in case:
        said = case["refusal"]
        refusal = Refusal("", "10.0.0.7", float(said["at"]), said["reason"], "pc")
    listening = Listening(
        float(case["now"]), float(case.get("heartbeat", 20)), float(case.get("server_since", 0))
    )
    found = derive(Evidence(tuple(last_boot(events, boot)), boot, refusal), listening)
    return f"{found.condition}: {found.words}"


def _boot(said: dict[str, Any]) -> Boot:
    ended = said.get("shut_down")
    return Boot(
        "b", "pc", "v", "/nix/store/s", "n", "m", "10.0.0.7",
        began_at=float(said["began"]), seen_at=float(said["heard"]),
        ended_at=None if ended is None else float(ended),
        ended_by=None if ended is None else "shutdown",
    )  # fmt: skip
