"""Scripts and command lines, compared whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storeboot.boot.commandline import BOOTIF_ROOM, MAX_BYTES, command_line
from storeboot.boot.plan import machine_id
from storeboot.boot.script import boot_script, entry_script, refusal_script
from storeboot.boot.timeline import last_boot, steps
from storeboot.errors import BootError
from storeboot.hosts.boots import Boot, Event

URL = "http://192.168.1.1:8080"


def line(system: tuple[str, ...] = ("loglevel=4",), host: tuple[str, ...] = ()) -> str:
    return command_line(
        init="/nix/store/x/init", url=URL, host="lab1", view="0" * 32, hostname="lab1",
        machine_id="1" * 32, system_params=system, host_params=host,
    )  # fmt: skip


def test_command_line() -> None:
    assert line(host=("quiet",)) == (
        f"initrd=initrd init=/nix/store/x/init storeboot.url={URL} storeboot.host=lab1 "
        f"storeboot.view={'0' * 32} systemd.hostname=lab1 systemd.machine_id={'1' * 32} "
        "loglevel=4 quiet"
    )


def test_a_command_line_that_the_kernel_would_cut_is_refused() -> None:
    room = MAX_BYTES - len(line(())) - BOOTIF_ROOM - 1
    line(("x" * room,))
    with pytest.raises(BootError, match="at most 2047 fit"):
        line(("x" * (room + 1),))


def test_a_host_cannot_overrule_what_is_storeboots() -> None:
    with pytest.raises(BootError, match="storeboot's own"):
        line(host=("init=/bin/sh",))


def test_boot_script_names_the_initrd_and_never_stops_at_a_prompt() -> None:
    assert boot_script(url=URL, view="v", command_line="LINE", host="lab1") == (
        """#!ipxe
set attempt:int32 0
:again
echo storeboot: lab1
imgfree
kernel http://192.168.1.1:8080/views/v/kernel?host=lab1 LINE \
BOOTIF=01-${netX/mac:hexhyp} || goto failed
initrd --name initrd http://192.168.1.1:8080/views/v/initrd?host=lab1 || goto failed
boot || goto failed
:failed
inc attempt
iseq ${attempt} 10 && reboot ||
echo storeboot: attempt ${attempt} of 10 failed, again in 5 seconds
sleep 5
goto again
"""
    )


def test_entry_script_says_who_the_machine_is() -> None:
    assert (
        "chain --autofree --replace http://192.168.1.1:8080/boot?mac=${netX/mac:hexhyp}"
        "&uuid=${uuid}&serial=${serial:uristring} || goto failed"
    ) in entry_script(URL)


def test_an_unknown_machine_is_told_why_and_goes_on_to_its_next_boot_device() -> None:
    assert refusal_script("no host has mac x").endswith("sleep 5\nexit 1\n")


def test_machine_id_is_stable_and_a_hosts_own() -> None:
    key = bytes(32)
    assert machine_id("lab1", key) == machine_id("lab1", key)
    assert machine_id("lab1", key) != machine_id("lab2", key)
    assert len(machine_id("lab1", key)) == 32


def event(stage: str, at: float, detail: str = "") -> Event:
    return Event("lab1", "server", stage, at, detail=detail)


def test_steps_are_in_order_and_each_once() -> None:
    events = [event("script", 10), event("begin", 20), event("network", 15), event("begin", 21)]
    passed = [(step.stage, step.seconds) for step in steps(events, 8)]
    assert passed == [("script", 2), ("network", 7), ("begin", 12)]


EVENTS = [
    event("script", 1),
    event("kernel", 2),
    replace(event("multi-user", 3), boot="b"),
    event("script", 9),
]


def boot(seen_at: float, ended_at: float | None = None) -> Boot:
    return Boot("b", "lab1", "v", "s", "n", "m", "a", 2.5, seen_at, ended_at)


def latest(own: Boot | None) -> str:
    return last_boot(EVENTS, own)[-1].stage


def test_a_stray_script_does_not_hide_the_boot_that_runs() -> None:
    assert latest(boot(seen_at=20)) == "multi-user"


def test_a_machine_that_was_not_heard_since_is_booting_again() -> None:
    assert latest(boot(seen_at=8)) == "script"
    assert latest(boot(seen_at=20, ended_at=19)) == "script"
    assert latest(None) == "script"
