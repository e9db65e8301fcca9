"""Whether a machine is a host, because of what, and which of its words do not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.errors import StorebootError
from storeboot.hosts.host import Machine
from storeboot.hosts.registry import read_section


def judge(case: dict[str, Any], _directory: Path) -> str:
    said = case["machine"]
    machine = Machine.from_words(
        said.get("mac", ""), said.get("uuid", ""), said.get("serial", ""), said.get("labels", ())
    )
    try:
        host = read_section("lab1", case["host"])
    except StorebootError as error:
        return "refused: " + error.message.partition(": ")[2].strip().partition("\n")[0]
    because = sorted(set(host.matchers) & machine.matchers)
    ignored = [f"ignored: {word}" for word in sorted(machine.shared)]
    return "\n".join([f"lab1: {', '.join(because)}" if because else "no host", *ignored])
