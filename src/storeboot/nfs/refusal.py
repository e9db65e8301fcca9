"""Why a mount is refused, in words for people and in a status for the client."""

from __future__ import annotations

from enum import Enum

from storeboot.nfs.status import Status


class Refusal(Enum):
    """A reason, with the status of NFSv4 that tells it to the client.

    A client gives up at NOENT and ACCESS. At DELAY one of NFSv4 asks again by itself (RFC 8881
    section 15.1.1.3).
    """

    reason: str
    status: Status

    def __init__(self, reason: str, status: Status) -> None:
        self.reason = reason
        self.status = status

    NO_EXPORT = "there is nothing of this name to mount", Status.ACCESS
    NO_ALIAS = "nfs.alias is not set, so nothing can be mounted without a token", Status.NOENT
    NO_HOST = "no host has this address, so it may not mount the alias", Status.ACCESS
    NO_SYSTEM = "the host with this address has no system", Status.NOENT
    TOKEN = "the mount token is not one of this server's", Status.ACCESS
    NO_VIEW = "the view is not kept any more", Status.NOENT
    UNREADABLE = "the view cannot be read from the server's disk", Status.IO
    PASSING = "the server is short of something at the moment", Status.DELAY


# What a view that cannot be read is refused with, by the status of other calls that need it.
OF_VIEW = {
    Status.STALE: Refusal.NO_VIEW,
    Status.IO: Refusal.UNREADABLE,
    Status.DELAY: Refusal.PASSING,
}
