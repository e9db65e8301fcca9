"""What the agent reports of a systemd that answers so: each stage with its detail, one a line.

A case has `units`, each with those properties that differ from a unit that never came up, the
lines of `systemctl list-jobs`, and `calls`: functions of the agent, in order. What a call changes
of the units stands under `after`, by the call's number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.process import run
from unit.initrd_scripts import SCRIPTS

NEVER = {
    "LoadState": "loaded", "ActiveState": "inactive", "Result": "success", "Requires": "",
    "BindsTo": "", "InactiveExitTimestampMonotonic": "0", "ConditionResult": "no",
    "ConditionTimestampMonotonic": "0", "AssertResult": "no", "AssertTimestampMonotonic": "0",
}  # fmt: skip
SYSTEMCTL = """#!/bin/sh
shift 4
cd "${0%/*}"
case "$1 $2 $3" in
list-units*)
    for unit in units/*; do
        ! grep -qx ActiveState=failed "$unit" || echo "${unit#*/} loaded failed failed words"
    done
    ;;
list-jobs*) cat answer ;;
show*--value*) sed -n "s/^${2#*=}=//p" "units/$4" ;;
show*) while [ "$1" != -- ]; do shift; done; shift; for unit; do cat "units/$unit"; echo; done ;;
esac
"""


def judge(case: dict[str, Any], directory: Path) -> str:
    program = directory / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    (directory / "units").mkdir()
    (directory / "answer").write_text(case.get("jobs", "").lstrip("\n"))
    _write(directory, case["units"])
    said = ""
    for number, call in enumerate(case["calls"], 1):
        said += _call(directory, call)
        _write(directory, case.get("after", {}).get(str(number), {}))
    return said.strip("\n")


def _write(directory: Path, units: dict[str, dict[str, str]]) -> None:
    for name, properties in units.items():
        lines = {"Id": name, **NEVER, **properties}
        text = "".join(f"{each}={value}\n" for each, value in lines.items())
        (directory / "units" / name).write_text(text)


def _call(directory: Path, call: str) -> str:
    script = (
        f"CONSOLE=; . {SCRIPTS}/common.sh; . {SCRIPTS}/units.sh; SB=. SYSTEM_BIN={directory}\n"
        'report() { echo "$1${2:+: $(cat "$2")}"; }\n'
        "has_systemd() { true; }\n"
        f"cd {directory}; {call}\n"
    )
    return run(["busybox", "sh", "-c", script])
