"""Defines what can be found before a boot, and how rules find it.

A rule is a function that reads a system or this server, and yields a finding each time it applies.
The id of its findings is its name, with "-" for "_".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

Read = TypeVar("Read")


class Level(Enum):
    """How much a finding matters."""

    ERROR = "error"  # a machine would not boot, or would die; such a system is refused
    WARNING = "warning"  # machines boot, and something goes wrong later
    NOTE = "note"  # storeboot has dealt with it


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule has found."""

    id: str  # the rule's; it never changes, because operators look it up
    level: Level
    subject: str  # the option, file or device that it is about
    message: str  # what is wrong with it; "subject: message" can be read aloud
    cure: str = ""  # what to do; empty in a note

    @property
    def advice(self) -> str:
        """Return message and cure in one line."""
        return f"{self.message}: {self.cure}"


def find(
    rules: Iterable[Callable[[Read], Iterable[Finding]]], read: Read, /
) -> tuple[Finding, ...]:
    """Return what the rules find, in their order."""
    return tuple(finding for rule in rules for finding in rule(read))
