"""Stores views: what each one boots, every path in it, and the root that keeps it.

`roots/ID` is the garbage collection root, a symlink to the view's toplevel; `views/ID.json`
describes the view. Running machines rely on it, so it never changes. It can be rebuilt from the
root, because a toplevel's closure never changes either.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot import faults, files
from storeboot.errors import DamagedError, StorebootError
from storeboot.nfs.views import view_id
from storeboot.nix.database import database
from storeboot.nix.store import Store, StorePath, parse_registration, registration

log = structlog.get_logger()
_ID = re.compile(r"[0-9a-f]{32}")
_CHECKSUM = re.compile(rb'\{"checksum": "([0-9a-f]{64})", ')
_SQLITE = b"SQLite format 3\0"
_FROM_COPY = "copy it from a backup, or from the server that this one takes over from"


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """A stored view: its id, what it boots, and every path in it."""

    view_id: str
    toplevels: tuple[str, ...]
    paths: tuple[str, ...]
    registration: str


class Views:
    """The views of a state directory."""

    def __init__(self, state: Path) -> None:
        self._roots = state / "roots"
        self._descriptions = state / "views"
        self._databases = state / "databases"

    def add(self, store: Store, toplevel: StorePath) -> ViewRecord:
        """Return the view of one system; root it first and then record it, if it does not exist
        yet.

        On return all of it is on disk, and so are the store paths.
        """
        identity = view_id([toplevel.text]).hex()
        with suppress(DamagedError):
            known = self.get(identity)
            if known is not None and self.is_rooted(identity):
                return known
        store.require(toplevel)
        store.add_root(self._root(identity), toplevel)
        faults.reach("view.rooted")
        closure = store.closure(toplevel)
        # Nix does not sync what it builds and copies (fsync-store-paths is off).
        store.sync()
        paths = tuple(info.path.text for info in closure)
        record = ViewRecord(identity, (toplevel.text,), paths, registration(closure))
        files.write(self._description(identity), _written(record))
        return record

    def get(self, identity: str) -> ViewRecord | None:
        """Return a view, or None if it is not known; raise DamagedError if its file is damaged."""
        file = self._description(identity)
        try:
            return _parsed(identity, file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedError(f"{file} cannot be read: {error.strerror}", _FROM_COPY) from error
        except (ValueError, KeyError, TypeError):
            raise DamagedError(f"{file} is damaged", _FROM_COPY) from None

    def mended(self, store: Store, identity: str) -> ViewRecord | None:
        """Return a view as `get` does, but rebuild it from its root if it is damaged or lost.
        Blocking.

        Raises OSError if it cannot be read for lack of file descriptors or memory, which passes.
        """
        try:
            found = self.get(identity)
        except DamagedError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in files.PASSING:
                raise cause from None
            return self._again(store, identity, error)
        if found is not None or not self.is_rooted(identity):
            return found
        return self._again(store, identity, DamagedError(
            f"{self._description(identity)} is missing, but its root exists", _FROM_COPY
        ))  # fmt: skip

    def _again(self, store: Store, identity: str, damage: DamagedError) -> ViewRecord:
        toplevel = self.toplevel(identity)
        if toplevel is None:
            raise damage
        try:
            record = self.add(store, toplevel)
        except (StorebootError, OSError) as error:
            raise DamagedError(
                f"{damage.message}, and cannot be rebuilt: {error}", damage.hint
            ) from None
        log.warning("view.made_again", view=identity, reason=damage.message)
        return record

    def ids(self) -> list[str]:
        """Return the ids of the views that are rooted here.

        A view that is recorded but not rooted was copied from a server whose machines this one
        takes over.
        """
        names = (file.name for file in self._roots.iterdir())
        return sorted(name for name in names if _ID.fullmatch(name) and self.is_rooted(name))

    def are_any(self) -> bool:
        """Return whether there is a view, or was one, or is about to be one."""
        places = (self._roots, self._descriptions)
        return any(next(place.iterdir(), None) for place in places)

    def is_rooted(self, identity: str) -> bool:
        return self._root(identity).is_symlink()

    def toplevel(self, identity: str) -> StorePath | None:
        """Return what a view boots, according to its root, or None."""
        with suppress(OSError, StorebootError):
            toplevel = StorePath.from_arg(str(self._root(identity).readlink()))
            if view_id([toplevel.text]).hex() == identity:
                return toplevel
        return None

    def drop(self, identity: str) -> None:
        """Remove a view, and its root last: as long as that exists, the next collection continues.

        Nothing is synced: what reappears after a power cut is dropped again.
        """
        files.remove(self._description(identity), durable=False)
        files.remove(self._database(identity), durable=False)
        faults.reach("view.unwritten")
        files.remove(self._root(identity), durable=False)

    def damages(self, *, lost: bool = False) -> dict[str, str]:
        """Return what is wrong with the files of views, by view id.

        Lost files are included only on request: a rooted view without a file is either about to be
        written, or is rebuilt at the next start.
        """
        known = {
            file.stem for file in self._descriptions.glob("*.json") if _ID.fullmatch(file.stem)
        }
        words = {
            identity: self._damage(identity, lost) for identity in sorted({*known, *self.ids()})
        }
        return {identity: each for identity, each in words.items() if each is not None}

    def _damage(self, identity: str, lost: bool) -> str | None:
        file = self._description(identity)
        try:
            return None if _is_whole(identity, file.read_bytes()) else f"{file} is damaged"
        except OSError as error:
            is_lost = isinstance(error, FileNotFoundError)
            if is_lost and not lost and self.toplevel(identity) is not None:
                return None
            return f"{file} cannot be read: {error.strerror}"

    def database(self, view: ViewRecord) -> Path:
        """Return the gzipped database with which Nix on the machine knows a view's paths. Blocking.

        It is built at the first call, and again if the file is damaged.
        """
        file = self._database(view.view_id)
        if not files.checked.holds(file, "database", _is_database):
            files.make_directory(file.parent)
            files.write(file, gzip.compress(database(view.registration), mtime=0))
        return file

    def _root(self, identity: str) -> Path:
        return self._roots / identity

    def _database(self, identity: str) -> Path:
        return self._databases / f"{identity}.gz"

    def _description(self, identity: str) -> Path:
        return self._descriptions / f"{identity}.json"


def _written(record: ViewRecord) -> bytes:
    """Return the record as JSON. The first member is the SHA-256 of everything after it."""
    document = {
        "toplevels": record.toplevels,
        "paths": record.paths,
        "registration": record.registration,
    }
    rest = json.dumps(document).removeprefix("{").encode()
    return b'{"checksum": "%s", %s' % (hashlib.sha256(rest).hexdigest().encode(), rest)


def _parsed(identity: str, data: bytes) -> ViewRecord:
    """Return the record; raise ValueError, KeyError or TypeError if the data is not this view's."""
    document = json.loads(data)
    record = ViewRecord(
        identity,
        tuple(document["toplevels"]),
        tuple(document["paths"]),
        str(document["registration"]),
    )
    checksum = _checksum(data)
    if view_id(record.toplevels).hex() != identity or checksum is False:
        raise ValueError("this is another view's")
    # Files of older versions have no checksum.
    if checksum is None and parse_registration(record.registration).keys() != {*record.paths}:
        raise ValueError("paths and registration differ")
    return record


def _checksum(data: bytes) -> bool | None:
    """Return whether the checksum is right, or None if there is none."""
    match = _CHECKSUM.match(data)
    if match is None:
        return None
    return hashlib.sha256(data[match.end() :]).hexdigest().encode() == match[1]


def _is_whole(identity: str, data: bytes) -> bool:
    checksum = _checksum(data)
    if checksum is not None:
        return checksum
    try:
        _parsed(identity, data)
    except (ValueError, KeyError, TypeError):
        return False
    return True


def _is_database(file: Path) -> bool:
    """Return whether the file can be unpacked to the end, where gzip has a checksum."""
    try:
        with gzip.open(file) as stream:
            is_one = stream.read(len(_SQLITE)) == _SQLITE
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return is_one
