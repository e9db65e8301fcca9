"""What all sections of the configuration file have in common."""

from __future__ import annotations

from ipaddress import IPv4Address

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file; a setting that it does not have is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def ipv4(value: str) -> str:
    """The address in its one spelling; ValueError for anything else."""
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None
