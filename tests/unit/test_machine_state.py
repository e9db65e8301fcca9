"""What a machine is doing: each state from what was heard, and for how long it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storeboot.boot.state import (
    SLOW_SECONDS,
    STALL_SECONDS,
    Condition,
    Evidence,
    Listening,
    MachineState,
    derive,
    is_speaking,
    latest_of,
)
from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.refusals import Refusal
from storeboot.protocol.stages import Source, Stage

BEGAN = 1000.0
BOOT = Boot("b", "lab1", "v", "/nix/store/s", "n", "m", "10.0.0.1", BEGAN, BEGAN)
SOURCES: dict[str, Source] = {each: each.sources[0] for each in Stage}


def event(
    stage: str, at: float, detail: str = "", source: str = "", boot: str | None = "b"
) -> Event:
    who = source or SOURCES.get(stage, Source.AGENT)
    return Event("lab1", who, stage, at, boot, detail=detail)


def up(heard_at: float) -> Evidence:
    events = (event("begin", BEGAN), event("agent", 1010), event("multi-user", 1020))
    return Evidence(events, replace(BOOT, seen_at=heard_at))


def at(until: float, evidence: Evidence, **listening: float) -> MachineState:
    return derive(evidence, Listening(until, 20.0, **listening))


def test_a_machine_that_was_never_heard_of() -> None:
    found = at(5000, Evidence())
    assert (found.condition, found.stage, found.words) == (
        Condition.UNSEEN, "never", "it has not been heard of"
    )  # fmt: skip
    assert not found.is_running


def test_an_up_machine_is_up_for_six_heartbeats_and_then_silent() -> None:
    assert at(2119.9, up(2000)).condition is Condition.UP
    found = at(2120, up(2000))
    assert found.condition is Condition.SILENT
    assert found.words == ("no sign of life for 2 min (last seen 1970-01-01 00:33:20 UTC)")
    assert (found.stage, found.since, found.seen_at) == ("multi-user", 1020, 2000)
    assert not found.is_running
    assert derive(up(2000), Listening(2120, 60.0)).condition is Condition.UP


def test_nobody_is_silent_while_no_server_listens() -> None:
    assert at(9000, up(2000), since=8990).condition is Condition.UP
    assert at(9000, up(2000), since=8880).condition is Condition.SILENT


IN_INITRD = {each for each in Stage if each.sources[0] == Source.INITRD}


@pytest.mark.parametrize("stage", sorted(IN_INITRD - {Stage.FAILED, Stage.PLAIN}))
def test_a_boot_that_stays_in_a_stage_is_stalled(stage: Stage) -> None:
    limit = SLOW_SECONDS if stage in (Stage.AWAIT_PACK, Stage.SWITCH_ROOT) else STALL_SECONDS
    evidence = Evidence((event(stage, 1100),), replace(BOOT, seen_at=1100))
    assert at(1099 + limit, evidence).condition is Condition.BOOTING
    found = at(1100 + limit, evidence)
    assert (found.condition, found.stage) == (Condition.STALLED, stage)
    minutes = 5 if limit == STALL_SECONDS else 10
    assert f"stalled in {stage} for {minutes} min: {stage.meaning} (last seen" in found.words


def test_firmware_and_ipxe_stall_too() -> None:
    for stage in (Stage.ADDRESS, Stage.FIRMWARE, Stage.SCRIPT, Stage.KERNEL, Stage.INITRD):
        evidence = Evidence((event(stage, 1100, boot=None),))
        assert at(1200, evidence).condition is Condition.BOOTING
        assert at(1400, evidence).condition is Condition.STALLED
        assert at(9000, evidence, since=8999).condition is Condition.BOOTING


def test_stage_2_that_hangs_is_stalled_as_long_as_the_agent_speaks() -> None:
    evidence = Evidence((event("agent", 1100),), replace(BOOT, seen_at=1990))
    found = at(2000, evidence)
    assert found.condition is Condition.STALLED
    assert found.words == (
        "stalled in agent for 15 min: the agent is running (last seen 1970-01-01 00:33:10 UTC)"
    )
    assert at(2200, evidence).condition is Condition.SILENT


def test_a_failure_has_the_machines_words_and_runs_nothing() -> None:
    said = "mount: no route\n--- log"
    evidence = Evidence((event("begin", BEGAN), event("failed", 1100, said)), BOOT)
    found = at(1101, evidence)
    assert (found.condition, found.words) == (Condition.FAILED, "mount: no route")
    assert not found.is_running
    assert at(99_000, evidence).condition is Condition.FAILED


def test_only_an_agent_can_tell_of_emergency_mode() -> None:
    evidence = Evidence((event("failed", 1100, "emergency: the disk is gone"),), BOOT)
    assert at(1101, evidence).condition is Condition.FAILED


def test_what_ends_a_boot_in_mode_native_is_a_stall_with_its_reason() -> None:
    evidence = Evidence((event("silent", 1100, "initrd: nothing has mounted", boot=None),))
    found = at(1160, evidence)
    assert found.condition is Condition.STALLED
    assert "stalled for 60 s: initrd: nothing has mounted" in found.words


def test_a_machine_without_an_agent_has_started_and_that_is_all() -> None:
    evidence = Evidence((event("mount", 1100, boot=None), event("stage-2", 1130, boot=None)))
    found = at(900_000, evidence)
    assert found.condition is Condition.STARTED
    assert found.words == "stage 2 has started; without an agent no more is known"


def test_a_machine_that_has_shut_down_is_down_until_it_is_heard_again() -> None:
    gone = replace(BOOT, ended_at=1500, ended_by="shutdown")
    events = (*up(1500).events, event("shutdown", 1500))
    assert at(90_000, Evidence(events, gone)).condition is Condition.DOWN
    assert at(90_000, Evidence(events[:-1], gone)).condition is Condition.DOWN  # an event is lost
    again = (*events, event("script", 1600, boot=None))
    assert at(1601, Evidence(again, gone)).condition is Condition.BOOTING


def test_a_boot_whose_events_are_lost_has_begun() -> None:
    found = at(1001, Evidence((), BOOT))
    assert (found.condition, found.stage, found.since) == (Condition.BOOTING, "begin", BEGAN)
    assert found.is_running


def then(stage: str, detail: str, heard_at: float = 2000) -> Evidence:
    evidence = up(heard_at)
    return replace(evidence, events=(*evidence.events, event(stage, 1030, detail, "agent")))


def test_a_degraded_machine_is_up_and_names_its_units() -> None:
    said = r"mnt-my\x2ddisk.mount (exit-code), a@b.service (timeout) and 3 more"
    found = at(2010, then("degraded", said))
    assert (found.condition, found.is_running) == (Condition.DEGRADED, True)
    assert found.units == (r"mnt-my\x2ddisk.mount", "a@b.service")
    assert found.words == f"the machine is up, but units have failed: {said}"
    assert at(2010, replace(then("degraded", said), events=(
        *then("degraded", said).events, event("multi-user", 1900),
    ))).condition is Condition.UP  # they no longer have  # fmt: skip


@pytest.mark.parametrize("mode", ["emergency", "rescue"])
def test_a_machine_in_emergency_mode_runs_nothing_and_names_its_units(mode: str) -> None:
    evidence = then("failed", f"{mode} mode: mnt-p.mount (exit-code), local-fs.target (dependency)")
    found = at(2010, evidence)
    assert (found.condition, found.is_running) == (Condition.EMERGENCY, False)
    assert found.units == ("mnt-p.mount", "local-fs.target")
    assert found.words.startswith(f"the machine is in {mode} mode: mnt-p.mount (exit-code)")
    gone = at(2200, evidence)
    assert gone.condition is Condition.SILENT
    assert f"; before that {mode} mode: mnt-p.mount" in gone.words


def test_stage_2_that_does_not_come_up_has_failed() -> None:
    said = "multi-user.target was not reached: x.service (dependency)"
    found = at(2010, then("failed", said))
    assert (found.condition, found.words) == (Condition.FAILED, said)
    assert not found.is_running


def test_a_unit_that_is_waited_for_is_named() -> None:
    evidence = then("waiting", "a.service, dev-sda.device")
    found = at(1100, evidence)
    assert (found.condition, found.units) == (Condition.BOOTING, ("a.service", "dev-sda.device"))
    assert found.words.endswith(": a.service, dev-sda.device")
    stalled = at(2010, evidence)
    assert stalled.condition is Condition.STALLED
    assert stalled.words.startswith("stalled in waiting for 16 min: ")
    assert ": a.service, dev-sda.device (last seen" in stalled.words


def test_only_an_agents_words_have_units() -> None:
    evidence = Evidence((event("failed", 1100, "mount: x.mount y"),), BOOT)
    assert at(1101, evidence).units == ()


def test_a_remark_changes_no_state() -> None:
    for note in ("refused", "plain"):
        evidence = up(2000)
        evidence = replace(evidence, events=(*evidence.events, event(note, 1900, "inhibited")))
        assert at(2001, evidence).condition is Condition.UP


def refusal(when: float) -> Refusal:
    return Refusal("52:54:00:00:00:01", "10.0.0.1", when, "host lab1 has no system", "lab1")


def test_a_refusal_is_the_state_of_a_machine_that_does_nothing_else() -> None:
    found = at(2000, Evidence(refusal=refusal(1990)))
    assert (found.condition, found.stage, found.since) == (Condition.REFUSED, "never", 1990)
    assert found.words == "refused: host lab1 has no system"
    down = (*up(1500).events, event("shutdown", 1500))
    assert at(2000, Evidence(down, BOOT, refusal(1990))).condition is Condition.REFUSED
    old = replace(up(2000), refusal=refusal(1990))
    assert at(2010, old).condition is Condition.UP  # it was heard of since


def test_a_stranger_with_a_machines_mac_does_not_change_what_is_said_of_it() -> None:
    evidence = replace(up(2000), refusal=refusal(2005))
    assert at(2010, evidence).condition is Condition.UP
    assert at(2200, evidence).condition is Condition.REFUSED


def test_a_stranger_does_not_hide_emergency_mode_either() -> None:
    evidence = replace(then("failed", "emergency mode: a.mount"), refusal=refusal(2005))
    assert at(2010, evidence).condition is Condition.EMERGENCY


def test_of_several_refusals_the_hosts_own_last_one_counts() -> None:
    other = replace(refusal(1995), host="lab2")
    assert latest_of([refusal(1980), other, refusal(1990)], "lab1") == refusal(1990)
    assert latest_of([other], "lab1") is None


def test_a_machine_can_be_asked_while_it_speaks() -> None:
    boot = replace(BOOT, seen_at=2000)
    assert is_speaking(boot, 2100, 20.0)
    assert not is_speaking(boot, 2120, 20.0)
    assert is_speaking(boot, 2120, 60.0)
    assert not is_speaking(replace(boot, ended_at=1999), 2001, 20.0)


def test_of_two_stages_in_one_moment_the_later_record_counts() -> None:
    evidence = Evidence((event("agent", 1100), event("multi-user", 1100)), BOOT)
    assert at(1101, evidence).condition is Condition.UP


def test_every_condition_has_words() -> None:
    for condition in Condition:
        state = MachineState(condition, "multi-user", 1.0, 1.0, 2.0, "why")
        assert state.words
        assert condition.meaning


@pytest.mark.parametrize("condition", Condition)
def test_the_page_on_diagnosis_has_each_state(condition: Condition) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "diagnose.md"
    assert f"| `{condition}` | " in page.read_text()
