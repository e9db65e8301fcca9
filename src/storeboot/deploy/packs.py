"""Builds the packs of the views that are served, and learns what goes into the next ones.

Machines say what they have read, and anyone can pose as a machine. So packs learn only from boots
that came up (the caller knows which did), no single machine fills the packs of all (`pack/hot.py`),
and packs are rebuilt only once in a while.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from storeboot.config import PacksSection
from storeboot.deploy.state import StateDirectory, ViewRecord
from storeboot.errors import StorebootError
from storeboot.nix.store import Store, StorePath
from storeboot.pack.builder import Pack, build, choose, find, hot_files, newest
from storeboot.pack.guess import guess
from storeboot.pack.hot import HotList, Witness

log = structlog.get_logger()
# A few files more or less are not worth another file for every machine.
ENOUGH_NEW = 4
ENOUGH_LESS = 1 / 8  # of the files that a pack has
# Bytes in one pack of files that only a single boot has read. The demo's first boot reads 5.3 MiB
# that could not be guessed, so its second boot has all of it.
MAX_DOUBTED = 8 << 20
# Seconds between two packs of a view that are built from what was learned: the first one at once,
# because one boot tells most of what there is to learn, then rarely.
PAUSES = (0.0, 60.0, 600.0)
PATIENCE = 120.0  # seconds that a learning boot waits while another one's pack is built

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PackagePart:
    """What a pack contains of one store path."""

    name: str
    files: int
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class PackOverview:
    """What is known of a view's packs."""

    view: str
    built: Pack | None  # the newest
    hot: tuple[bytes, ...]  # the files whose data the next one contains
    packages: tuple[PackagePart, ...]  # the store paths of these files, largest first


@dataclass(slots=True)
class Packs:
    """Packs by view. All of them can be rebuilt from the state directory."""

    section: PacksSection
    state: StateDirectory
    store: Store
    ready: dict[str, Pack | None] = field(default_factory=dict)  # None: it cannot be built
    clock: Callable[[], float] = time.monotonic
    learning: threading.Lock = field(default_factory=threading.Lock)
    rebuilt: dict[str, tuple[int, float]] = field(default_factory=dict)  # how often, and when last
    due: dict[str, ViewRecord] = field(default_factory=dict)  # views whose packs are outdated

    def get(self, view: str) -> Pack | None:
        """Return the newest pack that is ready, or None; only if its file is whole."""
        pack = self.ready.get(view)
        if pack is not None and not pack.is_whole():
            self.ready.pop(view, None)
            return None
        return pack

    def was_tried(self, view: str) -> bool:
        """Return whether there is nothing left to build for a view."""
        return self.get(view) is not None or view in self.ready

    def file(self, view: str, name: str) -> Path | None:
        """Return a pack of a view by name, or None; also one that was superseded a moment ago."""
        return find(self.state.packs, view, name)

    def prepare(self, view: ViewRecord, progress: Progress) -> None:
        """Prepare a view's pack. If it cannot be built, boots continue without it.

        An older pack is used then, for example on a full disk.
        """
        try:
            self.build(view, progress)
        except (StorebootError, OSError) as error:
            reason = error.message if isinstance(error, StorebootError) else str(error)
            hint = error.hint if isinstance(error, StorebootError) else None
            self.ready.setdefault(view.view_id, newest(self.state.packs, view.view_id))
            log.error("pack.not_built", view=view.view_id, reason=reason, hint=hint)

    def build(self, view: ViewRecord, progress: Progress) -> Pack:
        """Build the pack of a view from what is known of its boots, and return it; raise any
        error."""
        hot = self.choose(view)
        made = build(self.store, view.view_id, view.paths, hot, self.state.packs, progress)
        self.ready[view.view_id] = made
        return made

    def choose(self, view: ViewRecord) -> frozenset[bytes]:
        """Return the files whose data the next pack of a view contains."""
        return choose(self.store, self.hot(view), self.section.hot_size << 20, MAX_DOUBTED)

    def overview(self, view: ViewRecord) -> PackOverview:
        """Return what is known of a view's newest pack, and what the next one will contain.
        Blocking."""
        chosen = tuple(sorted(self.choose(view)))
        sizes, files = Counter[str](), Counter[str]()
        for path in chosen:
            package = path.partition(b"/")[0].decode()
            sizes[package] += (self.store.directory / os.fsdecode(path)).lstat().st_size
            files[package] += 1
        packages = (PackagePart(name, files[name], size) for name, size in sizes.most_common())
        built = newest(self.state.packs, view.view_id)
        return PackOverview(view.view_id, built, chosen, tuple(packages))

    def hot(self, view: ViewRecord) -> HotList:
        """Return the view's hot list: learned, or that of the most similar view, or a guess."""
        own = self.state.hot_lists.get(view.view_id)
        if own is not None:
            return own
        names = [path.rpartition("/")[2].encode() for path in view.paths]
        others = (other.for_closure(names) for other in self.state.hot_lists.all())
        best = max(others, key=lambda hot: len(hot.files), default=HotList())
        if best.files:
            return best
        return guess(self.store, map(StorePath, view.paths), map(StorePath, view.toplevels))

    def learn(
        self,
        view: ViewRecord,
        held: str | None,
        read: set[bytes],
        resident: set[bytes] | None,
        by: Witness,
    ) -> None:
        """Learn from a boot that came up which files are hot; see `HotList.with_boot`. Blocking.

        `held` is the name of the pack that the machine had.
        """
        names = {path.rpartition("/")[2].encode() for path in view.paths}
        own = {path for path in read if path.partition(b"/")[0] in names}
        image = self.file(view.view_id, held) if held else None
        had = hot_files(image) if image is not None else frozenset[bytes]()
        if resident is not None:
            resident = resident & had
        with self._alone():
            hot = self.hot(view).with_boot(own, had, resident, by)
            self.state.hot_lists.set(view.view_id, hot)
            if self._is_outdated(view):
                self.due[view.view_id] = view
        self.catch_up()

    def catch_up(self) -> None:
        """Rebuild the packs that are outdated and have not been rebuilt recently. Blocking."""
        for identity, view in list(self.due.items()):
            count, at = self.rebuilt.get(identity, (0, 0.0))
            if count and self.clock() - at < PAUSES[min(count, len(PAUSES) - 1)]:
                continue
            with self._alone():
                if self.due.pop(identity, None) is None:
                    continue  # another thread was faster
                self.rebuilt[identity] = (count + 1, self.clock())
                if self.state.views.is_rooted(identity):
                    self.prepare(view, lambda _text: None)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self.learning.acquire(timeout=PATIENCE):
            raise StorebootError(f"another pack has been built for more than {PATIENCE:.0f} s")
        try:
            yield
        finally:
            self.learning.release()

    def _is_outdated(self, view: ViewRecord) -> bool:
        pack = self.get(view.view_id)
        if pack is None:
            return True
        has, wants = hot_files(pack.path), self.choose(view)
        return len(wants - has) >= ENOUGH_NEW or len(has - wants) > ENOUGH_LESS * len(has)
