"""The state directory: what it contains, and which class owns each part.

server.key          32 random bytes, readable only by the owner
lock                held while roots are made, and exclusively while they are removed
locks/HOST          held exclusively while it is decided what the host boots
rollouts            held exclusively while rollouts are carried on
serving             its modification time is when the server was last up
running             held as long as a server is up
given/HOST.json     the view that the host was given last, for the alias
garbage.json        store paths that a collection has given up but not deleted yet
storeboot.sqlite    added hosts, boots and events
memory.json         what the server has to know while its database is unreachable
profiles/HOST/      the host's generations, a Nix profile named `system`
views/ID.json       toplevels and closure of a view; written once, never changed
initrds/            built initrds, by the hash of everything that went into them
packs/              built packs, by the same kind of hash
hot/VIEW.json       which files of a view boots have read
databases/ID.gz     Nix's own database of a view's paths, for the machines
roots/ID            garbage collection roots of the views
dhcp/               configuration and files of dnsmasq, if the server runs it
hardware/HOST.json  what nixos-facter reports about the host's machine; put there by the operator
reports/BOOT/       what machines reported about themselves
ssh/HOST.ed25519    the hosts' ssh keys

Durable, and named when they are damaged, are the key, the profiles, the views and their roots, and
the ssh keys. Everything else can be rebuilt, and is rebuilt when it is damaged or lost. Files with
other names are left alone.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from storeboot import files
from storeboot.deploy.garbage import Garbage
from storeboot.deploy.given import GivenViews
from storeboot.deploy.host_profiles import HostProfiles
from storeboot.deploy.hot_lists import HotLists
from storeboot.deploy.locks import Locks
from storeboot.deploy.reports import Reports
from storeboot.deploy.server_key import ServerKey
from storeboot.deploy.serving import Serving
from storeboot.deploy.views import ViewRecord, Views
from storeboot.errors import StorebootError

__all__ = ["StateDirectory", "ViewRecord", "make_state_directory"]

_DIRECTORIES = ("views", "initrds", "roots", "reports", "profiles", "locks")


class StateDirectory:
    """The parts of one state directory. Each part owns its files.

    This class touches nothing on disk; `make_state_directory` does.
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
        self.given = GivenViews(path / "given")
        self.initrds = path / "initrds"
        self.packs = path / "packs"

    def hardware_report(self, host: str) -> Path:
        """Return the path of the host's hardware report, which need not exist."""
        return self.path / "hardware" / f"{host}.json"

    def host_key(self, host: str) -> Path:
        """Return the path of the host's private ssh key, which is created at the host's first
        boot."""
        return self.path / "ssh" / f"{host}.ed25519"


def make_state_directory(path: Path) -> StateDirectory:
    """Create the directories that do not exist yet, and return the state directory."""
    other = "set server.state_directory to one that this user may write"
    try:
        for name in _DIRECTORIES:
            files.make_directory(path / name)
    except OSError as error:
        cure = files.cure(error)
        if cure is None or not os.path.lexists(path):
            cure = f"{cure}, or {other}" if cure is not None else other
        raise StorebootError(
            f"cannot write to the state directory: {files.described(error)}", cure
        ) from None
    return StateDirectory(path)
