"""Defines what all sections of the configuration file have in common."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

DIRECTORY = "directory"  # in the context of a validation: where the file is


class Section(BaseModel):
    """A table of the file; a setting that it does not have is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def ipv4(value: str) -> str:
    """Return the address in its canonical spelling; raise ValueError for anything else."""
    try:
        return str(IPv4Address(value))
    except ValueError:
        pass
    try:
        IPv6Address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None
    raise ValueError(f"{value!r} is an IPv6 address; machines boot over IPv4")


def own_ipv4(value: str) -> str:
    """Return the address of one machine in its canonical spelling.

    Raises ValueError for anything else, also for addresses that stand for all or several machines.
    """
    found = IPv4Address(ipv4(value))
    if found.is_unspecified or found.is_multicast or found == IPv4Address("255.255.255.255"):
        raise ValueError(f"{value!r} is not the address of one machine")
    return str(found)


def anchored(value: Path, info: ValidationInfo) -> Path:
    """Return an absolute path: a relative one starts at the directory of the file."""
    if not value.parts:
        raise ValueError("the path is empty")
    if value.parts[0].startswith("~"):
        raise ValueError(f"{str(value)!r} begins with ~, which only shells know: write it out")
    directory: Path = (info.context or {}).get(DIRECTORY, Path())
    return directory / value


def _anchored_program(value: Path, info: ValidationInfo) -> Path:
    """Return a program: a name without slashes is looked for on PATH."""
    return value if len(value.parts) == 1 and value.parts[0] != "~" else anchored(value, info)


Place = Annotated[Path, AfterValidator(anchored)]
Program = Annotated[Path, AfterValidator(_anchored_program)]
