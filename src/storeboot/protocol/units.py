"""The units that stage 2 is given: they tell the agent how far systemd has come.

storeboot's initrd has them as files and puts them into /run. In mode native the client module
declares the same ones (nix/modules/client/agent.nix); a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from storeboot.protocol.word import Word

DIRECTORY = "/run/storeboot"  # in RAM: the agent, its programs, and what it knows
EVENTS = f"{DIRECTORY}/events"  # a FIFO


class AgentEvent(Word):
    """A line that the agent reads from the FIFO."""

    MULTI_USER = "multi-user", "the machine is up; an init other than systemd may say so as well"
    FAILED = "failed", "the machine does not come up; a second word says in which mode it is"
    SHUTDOWN = "shutdown", "the machine goes down; a second word says how"
    BUTTON = "button", "the power button was pressed"


class ShellMode(Word):
    """How a machine is that does not come up; also a target of systemd(1)."""

    EMERGENCY = "emergency", "stage 2 could not begin: a required file system is missing"
    RESCUE = "rescue", "somebody has asked for a shell alone"


class PowerAction(Word):
    """How a machine goes down; also a target of systemd(1)."""

    POWEROFF = "poweroff", "it is switched off"
    REBOOT = "reboot", "it starts again"
    HALT = "halt", "it stops and stays on"
    KEXEC = "kexec", "it starts the kernel that is loaded"


@dataclass(frozen=True, slots=True)
class Unit:
    """A service that writes one line to the FIFO (systemd.unit(5), systemd.service(5))."""

    name: str
    description: str
    target: str  # that wants it
    line: str
    relations: Mapping[str, str] = field(default_factory=dict)  # to other units, by setting
    seconds: int | None = None  # that it may take

    @property
    def unit(self) -> dict[str, str]:
        """Return the section [Unit], without the description."""
        # Else it would wait for what a shutdown stops.
        return {"DefaultDependencies": "no", "ConditionPathExists": EVENTS, **self.relations}

    @property
    def service(self) -> dict[str, str]:
        """Return the section [Service]."""
        end = {} if self.seconds is None else {"TimeoutStartSec": str(self.seconds)}
        # The shell in RAM: that of the system may hang with the store.
        tell = f"{DIRECTORY}/bin/sh -c 'echo {self.line} >{EVENTS}'"
        return {"Type": "oneshot", "ExecStart": tell, **end}

    def text(self) -> str:
        """Return the unit's file."""
        lines = [
            "[Unit]",
            f"Description={self.description}",
            *(f"{name}={value}" for name, value in self.unit.items()),
            "[Service]",
            *(f"{name}={value}" for name, value in self.service.items()),
        ]
        return "".join(f"{line}\n" for line in lines)


UNITS = (
    Unit(
        "storeboot-multi-user.service",
        "Tell storeboot that the machine is up",
        "multi-user.target",
        AgentEvent.MULTI_USER,
        {
            # An order alone is kept as well by a target whose job was dropped or has failed.
            "BindsTo": "multi-user.target",
            "After": "multi-user.target",
            "Before": "shutdown.target",
            "Conflicts": "shutdown.target",
        },
    ),
    *(
        Unit(
            f"storeboot-{mode}.service",
            "Tell storeboot that the machine does not come up",
            f"{mode}.target",
            f"{AgentEvent.FAILED} {mode}",
        )
        for mode in ShellMode
    ),
    *(
        Unit(
            f"storeboot-{action}.service",
            "Tell storeboot that the machine goes down",
            f"{action}.target",
            f"{AgentEvent.SHUTDOWN} {action}",
            seconds=10,
        )
        for action in PowerAction
    ),
)
