"""What machines are told that ask for an address, by dnsmasq as the product configures it.

`request` is a list of requests, one machine's one after the other: `class` (option 60) as text,
`arch` (option 93) and `id` (option 61) as hexadecimal digits, `options` for any other, and what
tests/network/client.py takes besides. What is offered is taken if `take` is set.

The verdict has a line for each answer, and one for each line that the server logs about it.
Addresses are A, B, … in the order in which they were given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from network.bare import SERVER, Lab, lab

_BOARD = b"Raspberry Pi Boot"


def judge(case: dict[str, Any], directory: Path) -> str:
    names: dict[str, str] = {}
    with lab(case, directory) as made:
        if case.get("address"):
            made.client.ip(f"addr add {case['address']} dev eth0")
        lines = [_answer(_ask(made, dict(each)), names) for each in case["request"]]
        made.client.ip("addr add 10.77.0.250/24 dev eth0")
        made.settle()
    _, faults = made.told()
    for fault in faults:
        said = " ".join(f"{name}={value}" for name, value in fault.about)
        lines.append(f"{fault.event} {said}")
    return "\n".join(lines)


def _ask(made: Lab, request: dict[str, Any]) -> dict[str, Any] | None:
    options = dict(request.pop("options", {}))
    if "class" in request:
        options[60] = request.pop("class").encode().hex()
    if "arch" in request:
        options[93] = request.pop("arch")
    if "id" in request:
        options[61] = request.pop("id")
    take = request.pop("take", False)
    answer: dict[str, Any] | None = made.ask(options=options, **{"seconds": 3, **request})
    if answer is not None and take:
        chosen = {50: _address(answer["address"]), 54: _address(SERVER)}
        answer = made.ask(kind=3, options={**options, **chosen}, **request)
    return answer


def _address(text: str) -> str:
    return bytes(map(int, text.split("."))).hex()


def _answer(answer: dict[str, Any] | None, names: dict[str, str]) -> str:
    if answer is None:
        return "no answer"
    words = []
    if answer["address"] != "0.0.0.0":
        words.append(names.setdefault(answer["address"], chr(ord("A") + len(names))))
    words.append(answer["file"] or "no file")
    if answer["option_file"] not in ("", answer["file"]):
        words.append(f"option 67 {answer['option_file']}")
    if answer["next_server"] != SERVER:
        words.append(f"from {answer['next_server']}")
    if answer["vendor"]:
        words.append(f"to {answer['vendor']}")
    if _BOARD in bytes.fromhex(answer["options"].get("43", "")):
        words.append("as a board")
    return ", ".join(words)
