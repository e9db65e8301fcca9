"""The state directory: the server's key and the views it has promised.

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

import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import structlog

from storeboot import files
from storeboot.deploy.locks import PATIENCE, locked
from storeboot.deploy.views import ViewRecord, Views
from storeboot.errors import DamagedError
from storeboot.nix.profiles import Profile
from storeboot.nix.store import Registered, Store, StorePath
from storeboot.pack.hot import HotList

__all__ = ["StateDirectory", "ViewRecord"]

log = structlog.get_logger()
KEY_SIZE = 32
_SAME_USER = "run commands as the user that `storeboot serve` runs as"
_DIRECTORIES = ("views", "initrds", "roots", "reports", "profiles", "locks")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
# What belongs into directories whose names are not free; anything else there is left alone.
_OURS = {
    "views": re.compile(r"[0-9a-f]{32}\.json"),
    "roots": re.compile(r"[0-9a-f]{32}"),
    "initrds": re.compile(r"[0-9a-f]{32}\.(img|json)"),
    "packs": re.compile(r"[0-9a-f]{32}\.(squashfs|json|hot)"),
    "hot": re.compile(r"[0-9a-f]{32}\.json"),
    "databases": re.compile(r"[0-9a-f]{32}\.gz"),
    "profiles": _HOST,
}
# At the top. What is in dhcp is also read by dnsmasq's user, so its modes are not ours to change.
_TOP = re.compile(
    r"(server\.key|lock|rollouts|serving|[a-z]+\.json|storeboot\.sqlite|dhcp|lost\+found|\.)"
)


class StateDirectory:
    """Files below one directory; each appears under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._views = Views(path)
        with files.reported(
            "cannot write to the state directory",
            "set server.state_directory to one that this user may write",
        ):
            for name in _DIRECTORIES:
                files.make_directory(path / name)

    def clean_up(self) -> None:
        """What a server does at its start: remove what killed processes have left half written,
        take permissions away that older versions have given, and name what does not belong here.
        """
        places = [self.path / name for name in ("", *sorted({*_DIRECTORIES, *_OURS, "ssh"}))]
        for place in (*places, *(self.path / "reports").iterdir()):
            for left in files.sweep(place):
                log.info("state.swept", file=str(left))
        for stray in self.strays():
            log.warning("state.stray", file=str(stray), reason="it is none of ours, and left alone")
        self._restrict()

    def restrict_database(self) -> None:
        """SQLite makes its file as the umask has it, and those beside it as that file is."""
        for suffix in ("", "-wal", "-shm"):
            files.restrict(self.path / f"storeboot.sqlite{suffix}", files.FILE_MODE)

    def _restrict(self) -> None:
        """A directory that has more in it than we have put there is somebody else's as well."""
        own = {*_DIRECTORIES, *_OURS, "ssh"}
        if all(_TOP.match(place.name) or place.name in own for place in self.path.iterdir()):
            files.restrict(self.path, files.DIRECTORY_MODE)
        for name in sorted(own):
            for place, _, names in os.walk(self.path / name):
                files.restrict(Path(place), files.DIRECTORY_MODE)
                for each in names:
                    if not Path(place, each).is_symlink():
                        files.restrict(Path(place, each), files.FILE_MODE)
        for file in self.path.iterdir():
            if _TOP.match(file.name) and file.is_file() and not file.is_symlink():
                files.restrict(file, files.FILE_MODE)

    def strays(self) -> list[Path]:
        """Files and directories that are none of ours, where every name has a meaning."""
        found = []
        for name, ours in _OURS.items():
            directory = self.path / name
            for file in directory.iterdir() if directory.is_dir() else ():
                is_right = name != "profiles" or file.is_dir()
                if not (ours.fullmatch(file.name) and is_right) and not files.is_partial(file):
                    found.append(file)
        return sorted(found)

    def key(self) -> bytes:
        """The secret behind filehandles, tokens and agent keys; made at the first start."""
        file = self.path / "server.key"
        if not file.exists():
            with files.reported("cannot make the server's key", _SAME_USER):
                files.link_new(file, secrets.token_bytes(KEY_SIZE))
        key = self._read_key(file)
        if len(key) != KEY_SIZE and not self._is_used():
            key = self._key_again(file)
        if len(key) != KEY_SIZE:
            raise DamagedError(
                f"{file} has {len(key)} bytes instead of {KEY_SIZE}",
                "restore it from a backup; a new one makes every running machine's handles stale",
            )
        return key

    def _read_key(self, file: Path) -> bytes:
        with files.reported("cannot read the server's key", _SAME_USER):
            return file.read_bytes()

    def _is_used(self) -> bool:
        """Whether anything may depend on the key: no boot begins without a view."""
        return any(next((self.path / name).iterdir(), None) for name in ("views", "roots"))

    def _key_again(self, file: Path) -> bytes:
        """In place of a key that was cut off at the first start, and that nobody has ever used."""
        with self.lock(alone=True):
            key = self._read_key(file)
            if len(key) != KEY_SIZE and not self._is_used():
                log.warning("state.key_made_again", file=str(file), bytes=len(key))
                key = secrets.token_bytes(KEY_SIZE)
                with files.reported("cannot make the server's key", _SAME_USER):
                    files.write(file, key, files.SECRET_MODE)
        return key

    def lock(
        self, *, alone: bool = False, seconds: float = PATIENCE
    ) -> AbstractContextManager[None]:
        """Between processes. Who makes or relies on roots holds it; who takes them, alone, and only
        for as long as it takes to decide which."""
        return locked(self.path / "lock", "the state directory", alone=alone, seconds=seconds)

    def host_lock(self, host: str, seconds: float = PATIENCE) -> AbstractContextManager[None]:
        """Between processes, for one host: to look at its generations and change them."""
        return locked(self.path / "locks" / host, f"host {host}", seconds=seconds)

    def rollout_lock(self, seconds: float = PATIENCE) -> AbstractContextManager[None]:
        """Between processes: to carry rollouts on."""
        return locked(self.path / "rollouts", "what rollouts do", seconds=seconds)

    def serves(self) -> None:
        """The server is up. A disk that takes no note of it stops nobody."""
        try:
            files.touch(self.path / "serving")
        except OSError as error:
            log.warning("state.not_noted", file=str(self.path / "serving"), reason=error.strerror)

    def served_until(self) -> float | None:
        """When it was up last, in seconds since 1970."""
        try:
            return (self.path / "serving").stat().st_mtime
        except FileNotFoundError:
            return None

    def add_view(self, store: Store, toplevel: StorePath) -> ViewRecord:
        """The view of one system, on disk; nothing is written for one that is there."""
        return self._views.add(store, toplevel)

    def view(self, identity: str) -> ViewRecord | None:
        """A view by its id, None if it is not known; DamagedError if its file is no good."""
        return self._views.get(identity)

    def mended_view(self, store: Store, identity: str) -> ViewRecord | None:
        """The same; one that is damaged or lost is made again from its root. Blocking."""
        return self._views.mended(store, identity)

    def views(self) -> list[str]:
        """Ids of the views that are rooted here."""
        return self._views.ids()

    def damaged_views(self, *, lost: bool = False) -> dict[str, str]:
        """What is wrong with the files of views, by the view's id; see `Views.damages`."""
        return dict(self._views.damages(lost=lost))

    def is_rooted(self, identity: str) -> bool:
        return self._views.is_rooted(identity)

    def toplevel(self, identity: str) -> StorePath | None:
        """What a view that is rooted boots."""
        return self._views.toplevel(identity)

    def drop_view(self, identity: str) -> None:
        self._views.drop(identity)

    def database(self, view: ViewRecord) -> Path:
        """A view's paths as Nix on the machine knows them, gzipped. Blocking."""
        return self._views.database(view)

    def garbage(self) -> dict[str, Registered]:
        """Paths that were given up before, and perhaps not deleted.

        Of a file that is damaged nothing is known; Nix's own collection deletes those paths too.
        """
        file = self.path / "garbage.json"
        try:
            document = json.loads(file.read_bytes())
            return {path: Registered(size, tuple(refs)) for path, (size, refs) in document.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("gc.garbage_forgotten", file=str(file), reason=str(error))
        return {}

    def set_garbage(self, paths: Mapping[str, Registered]) -> None:
        file = self.path / "garbage.json"
        if not paths:
            files.remove(file, durable=False)
            return
        document = {path: (each.size, each.references) for path, each in paths.items()}
        files.write(file, json.dumps(document))

    def profile(self, store: Store, host: str) -> Profile:
        return Profile(store, self.path / "profiles" / host / "system")

    def host_key(self, host: str) -> Path:
        """The host's private ssh key, made when it boots first."""
        return self.path / "ssh" / f"{host}.ed25519"

    def profiled(self) -> list[str]:
        """Hosts that have or had generations."""
        return sorted(
            place.name
            for place in (self.path / "profiles").iterdir()
            if _HOST.fullmatch(place.name) and place.is_dir()
        )

    @property
    def packs(self) -> Path:
        return self.path / "packs"

    def hot(self, view: str) -> HotList | None:
        """What was learned of a view's boots; None if nothing was, or it was lost."""
        return _hot_list(self._hot(view))

    def hot_lists(self) -> list[HotList]:
        """Of all views, the one that was learned last first."""
        found = (_hot_list(file) for file in self._hot_files())
        return [hot for hot in found if hot is not None]

    def forget_hot(self, needed: Callable[[str], bool], keep: int) -> None:
        """Remove the lists of views that are not needed, but for the newest: an update takes its
        first list from one that is most like it."""
        gone = [file for file in self._hot_files() if not needed(file.stem)]
        for file in gone[keep:]:
            files.remove(file, durable=False)

    def set_hot(self, view: str, hot: HotList) -> None:
        """Not synced: a list that is lost is learned again."""
        file = self._hot(view)
        files.make_directory(file.parent)
        files.write(file, json.dumps(hot.document()), durable=False)

    def _hot(self, view: str) -> Path:
        return self.path / "hot" / f"{view}.json"

    def _hot_files(self) -> list[Path]:
        """The newest first."""
        found = [
            file for file in (self.path / "hot").glob("*.json") if _OURS["hot"].fullmatch(file.name)
        ]
        return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)

    @property
    def initrds(self) -> Path:
        return self.path / "initrds"

    def report(self, boot: str, part: str) -> Path:
        return self.path / "reports" / boot / part


def _hot_list(file: Path) -> HotList | None:
    try:
        return HotList.from_document(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("pack.hot_list_lost", file=str(file), reason=str(error))
        with suppress(OSError):  # said once; it is learned anew
            files.remove(file, durable=False)
        return None
