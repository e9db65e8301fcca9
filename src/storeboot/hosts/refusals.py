"""Refusals: who asked, when, and why the machine did not get what it asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storeboot.config import MAC
from storeboot.hosts.host import Host


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last refusal of one asker. Times in seconds since 1970."""

    mac: str  # as the machine sent it; "" if it sent none
    address: str
    at: float
    reason: str
    host: str = ""  # the host that the machine is, or that it named; "" if it is none
    like: str = ""  # a host whose MAC address is almost the same, for "did you mean"
    first_at: float = 0.0
    count: int = 1  # how often it was refused since `first_at`

    @property
    def asker(self) -> str:
        """Return who asked: the MAC address, or else the address."""
        return self.mac or self.address

    @property
    def text(self) -> str:
        """Return the reason, with the host that may have been meant."""
        return f"{self.reason}; did you mean host {self.like}?" if self.like else self.reason


def almost(mac: str, hosts: Iterable[Host]) -> list[Host]:
    """Return the hosts with a MAC address that a typing error turns into `mac`.

    A typing error changes one hexadecimal digit or exchanges two neighbours. The next number is as
    likely: that of the other port of a card, where the label shows only the first.
    """
    if MAC.fullmatch(mac) is None:
        return []
    return [host for host in hosts if any(_is_slip(mac, own) for own in host.macs)]


def _is_slip(one: str, other: str) -> bool:
    left, right = one.replace(":", ""), other.replace(":", "")
    if len(left) != len(right):
        return False
    if abs(int(left, 16) - int(right, 16)) == 1:
        return True
    places = [at for at, pair in enumerate(zip(left, right, strict=True)) if pair[0] != pair[1]]
    match places:
        case [_]:
            return True
        case [first, second] if second == first + 1:
            return left[first] == right[second] and left[second] == right[first]
        case _:
            return False
