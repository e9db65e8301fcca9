"""Which hosts an unknown MAC address is taken for a mistyped one of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.hosts.host import Host, Machine
from storeboot.hosts.refusals import almost


def judge(case: dict[str, Any], _directory: Path) -> str:
    asked = Machine.from_words(case["asked"], "", "")
    hosts = [Host(name=name, macs=tuple(macs)) for name, macs in case["hosts"].items()]
    return ", ".join(host.name for host in almost(asked.mac, hosts)) or "none"
