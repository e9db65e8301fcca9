"""What the agent does with what systemd says, beyond the cases of tests/corpus/systemd."""

from __future__ import annotations

from pathlib import Path

import pytest

from storeboot.process import run
from unit.initrd_scripts import SCRIPTS

# A server that answers the third request; each prints a line.
SERVER = """
http_post() {
    echo "$2"
    echo "wget: server returned error: HTTP/1.1 $ANSWER" >"$SB/http-error"
    echo >>"$SB/asked"
    [ "$(wc -l <"$SB/asked")" -ge 3 ]
}
uptime_seconds() { echo 7.00; }
sleep() { :; }
fact() { echo b1; }
"""


@pytest.mark.parametrize(
    ("answer", "requests"), [("503 Service Unavailable", 3), ("400 unknown stage", 1)]
)
def test_what_decides_is_said_until_it_is_heard_or_refused(
    answer: str, requests: int, tmp_path: Path
) -> None:
    said = shell(tmp_path, f"ANSWER='{answer}'; tell_failed 'rescue mode'").splitlines()
    assert said == ["/boots/b1/events?source=agent&stage=failed&uptime=7.00"] * requests
    assert (tmp_path / "failure").read_text() == "rescue mode"


def test_a_machine_that_goes_down_insists_on_nothing(tmp_path: Path) -> None:
    (tmp_path / "going-down").touch()
    words = "ANSWER=503; tell_failed 'rescue mode'; insist report multi-user"
    assert len(shell(tmp_path, words).splitlines()) == 1


def test_long_lists_of_units_are_cut(tmp_path: Path) -> None:
    rows = "".join(f"unit{number}.service exit-code\\n" for number in range(23))
    said = shell(tmp_path, f"printf '{rows}unit1.service dependency\\n' | named")
    assert said.startswith("unit0.service (exit-code), unit1.service (exit-code), ")
    assert said.endswith("unit19.service (exit-code) and 3 more\n")


def shell(directory: Path, words: str) -> str:
    script = (
        f"CONSOLE=; SOURCE=agent; . {SCRIPTS}/common.sh; . {SCRIPTS}/units.sh; SB={directory}\n"
        f"{SERVER}\n{words}\n"
    )
    return run(["busybox", "sh", "-c", script])
