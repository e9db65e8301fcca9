"""What becomes of requests for files, and what the server says of them.

A machine takes an address as firmware does; then each `transfer` is what tests/network/client.py
takes. The verdict has a line for each of them, what the timeline is told, and what is logged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from network.bare import SERVER, lab
from storeboot.protocol.stages import Stage

_CLASS = {60: b"PXEClient:Arch:00007:UNDI:003016".hex(), 93: "0007"}


def judge(case: dict[str, Any], directory: Path) -> str:
    lines = []
    with lab(case, directory) as made:
        address = made.ask(options=_CLASS)["address"]
        wanted = bytes(map(int, address.split("."))).hex()
        server = bytes(map(int, SERVER.split("."))).hex()
        assert made.ask(kind=3, options={**_CLASS, 50: wanted, 54: server})["kind"] == 5
        made.client.ip(f"addr add {address}/24 dev eth0")
        for transfer in case["transfer"]:
            answer = made.ask(server=SERVER, **transfer)
            lines.append(_said(answer))
        made.settle()
    seen, faults = made.told()
    lines += [f"timeline: {each.detail}" for each in seen if each.stage == Stage.FIRMWARE]
    for fault in faults:
        said = " ".join(f"{name}={value}" for name, value in fault.about)
        lines.append(f"{fault.event} {said.replace(address, 'A')}")
    return "\n".join(lines)


def _said(answer: dict[str, Any]) -> str:
    if "stopped" in answer:
        return "stopped"
    return "not found" if "error" in answer else f"{answer['size']} bytes"
