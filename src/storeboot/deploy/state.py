"""The state directory: the server's key and the views it has promised.

server.key          32 random bytes, readable by the owner alone
lock                held while roots are made, and alone while they are taken away
locks/HOST          held alone while it is decided what the host boots
rollouts            held alone while rollouts are carried on
serving             its modification time is when the server was up last
garbage.json        store paths that a collection has given up and not yet deleted
storeboot.sqlite    added hosts, boots and events
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
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from storeboot import faults
from storeboot.errors import StorebootError
from storeboot.nfs.views import view_id
from storeboot.nix.database import database
from storeboot.nix.profiles import Profile
from storeboot.nix.store import Registered, Store, StorePath, registration
from storeboot.pack.hot import HotList

KEY_SIZE = 32
_SAME_USER = "run commands as the user that `storeboot serve` runs as"


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """A view as it is kept: its id, what it boots, and every path in it."""

    view_id: str
    toplevels: tuple[str, ...]
    paths: tuple[str, ...]
    registration: str


class StateDirectory:
    """Files below one directory; each appears under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            for name in ("views", "initrds", "roots", "reports", "profiles", "locks"):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorebootError(
                f"cannot write to the state directory {path}: {error.strerror}",
                "set server.state_directory to one that this user may write",
            ) from None

    def key(self) -> bytes:
        """The secret behind filehandles, tokens and agent keys; made at the first start."""
        file = self.path / "server.key"
        if not file.exists():
            partial = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(KEY_SIZE))
            try:
                os.link(partial, file)
            except FileExistsError:
                pass  # another process was first, and its key counts
            finally:
                partial.unlink()
        try:
            key = file.read_bytes()
        except OSError as error:
            raise StorebootError(f"cannot read {file}: {error.strerror}", _SAME_USER) from None
        if len(key) != KEY_SIZE:
            raise StorebootError(
                f"{file} has {len(key)} bytes instead of {KEY_SIZE}",
                "restore it from a backup; a new one makes every running machine's handles stale",
            )
        return key

    @contextmanager
    def lock(self, *, alone: bool = False) -> Iterator[None]:
        """Between processes. Who makes or relies on roots holds it; who takes them, alone."""
        with _opened(self.path / "lock") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    @contextmanager
    def host_lock(self, host: str) -> Iterator[None]:
        """Between processes, for one host: to look at its generations and change them."""
        with _opened(self.path / "locks" / host) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def rollout_lock(self) -> Iterator[None]:
        """Between processes: to carry rollouts on."""
        with _opened(self.path / "rollouts") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def serves(self) -> None:
        """The server is up."""
        (self.path / "serving").touch()

    def served_until(self) -> float | None:
        """When it was up last, in seconds since 1970."""
        try:
            return (self.path / "serving").stat().st_mtime
        except FileNotFoundError:
            return None

    def add_view(self, store: Store, toplevel: StorePath) -> ViewRecord:
        """The view of one system: rooted first, then written down."""
        identity = view_id([toplevel.text]).hex()
        known = self.view(identity)
        if known is not None and self.is_rooted(identity):
            return known
        store.require(toplevel)
        store.add_root(self._root(identity), toplevel)
        faults.reach("view.rooted")
        closure = store.closure(toplevel)
        document: dict[str, object] = {
            "toplevels": [toplevel.text],
            "paths": [info.path.text for info in closure],
            "registration": registration(closure),
        }
        file = self._view_file(identity)
        partial = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        partial.write_text(json.dumps(document))
        partial.replace(file)
        return self._record(identity, document)

    def view(self, identity: str) -> ViewRecord | None:
        try:
            document = json.loads(self._view_file(identity).read_text())
        except FileNotFoundError:
            return None
        return self._record(identity, document)

    def views(self) -> list[str]:
        """Ids of the views that are rooted here.

        One that is written down only was copied from a server whose machines this one takes over.
        """
        return sorted(file.name for file in (self.path / "roots").iterdir())

    def is_rooted(self, identity: str) -> bool:
        return self._root(identity).is_symlink()

    def drop_view(self, identity: str) -> None:
        """Its root goes last: as long as that is there, the next collection goes on with it."""
        self._view_file(identity).unlink(missing_ok=True)
        self._database(identity).unlink(missing_ok=True)
        faults.reach("view.unwritten")
        self._root(identity).unlink(missing_ok=True)

    def database(self, view: ViewRecord) -> Path:
        """A view's paths as Nix on the machine knows them, gzipped; made at the first call."""
        file = self._database(view.view_id)
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            partial.write_bytes(gzip.compress(database(view.registration), mtime=0))
            partial.replace(file)
        return file

    def garbage(self) -> dict[str, Registered]:
        """Paths that were given up before, and perhaps not deleted."""
        try:
            document = json.loads((self.path / "garbage.json").read_text())
        except FileNotFoundError:
            return {}
        return {path: Registered(size, tuple(refs)) for path, (size, refs) in document.items()}

    def set_garbage(self, paths: Mapping[str, Registered]) -> None:
        file = self.path / "garbage.json"
        if not paths:
            file.unlink(missing_ok=True)
            return
        partial = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        document = {path: (each.size, each.references) for path, each in paths.items()}
        partial.write_text(json.dumps(document))
        partial.replace(file)

    def profile(self, store: Store, host: str) -> Profile:
        return Profile(store, self.path / "profiles" / host / "system")

    def host_key(self, host: str) -> Path:
        """The host's private ssh key, made when it boots first."""
        return self.path / "ssh" / f"{host}.ed25519"

    def profiled(self) -> list[str]:
        """Hosts that have or had generations."""
        return sorted(directory.name for directory in (self.path / "profiles").iterdir())

    def _root(self, identity: str) -> Path:
        return self.path / "roots" / identity

    def _database(self, identity: str) -> Path:
        return self.path / "databases" / f"{identity}.gz"

    def _view_file(self, identity: str) -> Path:
        return self.path / "views" / f"{identity}.json"

    def _record(self, identity: str, document: dict[str, object]) -> ViewRecord:
        toplevels, paths = document["toplevels"], document["paths"]
        assert isinstance(toplevels, list)
        assert isinstance(paths, list)
        return ViewRecord(identity, tuple(toplevels), tuple(paths), str(document["registration"]))

    @property
    def packs(self) -> Path:
        return self.path / "packs"

    def hot(self, view: str) -> HotList | None:
        """What was learned of a view's boots; None if nothing was."""
        file = self.path / "hot" / f"{view}.json"
        return _hot_list(file) if file.is_file() else None

    def hot_lists(self) -> list[HotList]:
        """Of all views, the one that was learned last first."""
        files = (self.path / "hot").glob("*.json")
        newest = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
        return [_hot_list(file) for file in newest]

    def forget_hot(self, needed: Callable[[str], bool], keep: int) -> None:
        """Remove the lists of views that are not needed, but for the newest: an update takes its
        first list from one that is most like it."""
        gone = [file for file in (self.path / "hot").glob("*.json") if not needed(file.stem)]
        gone.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        for file in gone[keep:]:
            file.unlink(missing_ok=True)

    def set_hot(self, view: str, hot: HotList) -> None:
        file = self.path / "hot" / f"{view}.json"
        file.parent.mkdir(exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        document = {os.fsdecode(path): round(share, 3) for path, share in sorted(hot.files.items())}
        partial.write_text(json.dumps(document))
        partial.replace(file)

    @property
    def initrds(self) -> Path:
        return self.path / "initrds"

    def report(self, boot: str, part: str) -> Path:
        return self.path / "reports" / boot / part

    def keep_reports(self, host: str, boots: set[str]) -> None:
        """Reports of other boots of this host go; each directory says whose it is."""
        for directory in (self.path / "reports").iterdir():
            owner = directory / "host"
            if directory.name not in boots and owner.is_file() and owner.read_text() == host:
                shutil.rmtree(directory)

    def save_report(self, host: str, boot: str, part: str, data: bytes) -> None:
        """A part appears under its name only when it is whole."""
        file = self.report(boot, part)
        file.parent.mkdir(exist_ok=True)
        (file.parent / "host").write_text(host)
        partial = file.with_suffix(".partial")
        partial.write_bytes(data)
        partial.replace(file)


def _hot_list(file: Path) -> HotList:
    return HotList(
        {os.fsencode(path): share for path, share in json.loads(file.read_text()).items()}
    )


def _opened(lock: Path) -> TextIO:
    try:
        return lock.open("a")
    except OSError as error:
        raise StorebootError(f"cannot lock {lock}: {error.strerror}", _SAME_USER) from None
