"""The state directory: what is where in it, and who owns it.

server.key          32 random bytes, readable by the owner alone
lock                held while roots are made, and alone while they are taken away
locks/HOST          held alone while it is decided what the host boots
rollouts            held alone while rollouts are carried on
serving             its modification time is when the server was up last
garbage.json        store paths that a collection has given up and not yet deleted
storeboot.sqlite    added hosts, boots and events
memory.json         what the server has to know while its database is away
profiles/HOST/      the host's generations, a Nix profile named `system`
views/ID.json       toplevels and closure of a view; written once, never changed
initrds/            built initrds, by the hash of all that went into them
packs/              built packs, the same
hot/VIEW.json       which files of a view boots have read
databases/ID.gz     Nix's own database of a view's paths, for the machines
roots/ID            garbage collection roots of the views
dhcp/               configuration and files of dnsmasq, where it is ours
reports/BOOT/       what machines reported of themselves
ssh/HOST.ed25519    the hosts' ssh keys

Durable, and named when they are damaged: the key, the profiles, the views and their roots, the ssh
keys. All else can be made again, and is when it is damaged or lost. Other names are left alone.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from storeboot import files
from storeboot.deploy.garbage import Garbage
from storeboot.deploy.host_profiles import HostProfiles
from storeboot.deploy.hot_lists import HotLists
from storeboot.deploy.locks import Locks
from storeboot.deploy.reports import Reports
from storeboot.deploy.server_key import ServerKey
from storeboot.deploy.serving import Serving
from storeboot.deploy.views import ViewRecord, Views

__all__ = ["StateDirectory", "ViewRecord", "make_state_directory"]

_DIRECTORIES = ("views", "initrds", "roots", "reports", "profiles", "locks")


class StateDirectory:
    """The parts of one state directory, each of which owns its files.

    This touches nothing on the disk; `make_state_directory` does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.locks = Locks(path)
        self.views = Views(path)
        self.server_key = ServerKey(
            path / "server.key",
            is_used=self.views.are_any,  # no boot begins without a view
            alone=partial(self.locks.roots, alone=True),
        )
        self.serving = Serving(path / "serving")
        self.profiles = HostProfiles(path / "profiles")
        self.hot_lists = HotLists(path / "hot")
        self.reports = Reports(path / "reports")
        self.garbage = Garbage(path / "garbage.json")
        self.initrds = path / "initrds"
        self.packs = path / "packs"

    def host_key(self, host: str) -> Path:
        """Return the place of the host's private ssh key, which is made when it boots first."""
        return self.path / "ssh" / f"{host}.ed25519"


def make_state_directory(path: Path) -> StateDirectory:
    """Make those directories that are not there yet, and return the state directory."""
    with files.reported(
        "cannot write to the state directory",
        "set server.state_directory to one that this user may write",
    ):
        for name in _DIRECTORIES:
            files.make_directory(path / name)
    return StateDirectory(path)
