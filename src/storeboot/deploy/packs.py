"""The packs of the views that are served, and what is learned for the next ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from storeboot.config import PacksSection
from storeboot.deploy.state import StateDirectory, ViewRecord
from storeboot.errors import StorebootError
from storeboot.nix.store import Store, StorePath
from storeboot.pack.builder import Pack, build, choose, find, hot_files
from storeboot.pack.guess import guess
from storeboot.pack.hot import HotList

log = structlog.get_logger()
# A few files more or less are not worth another file for every machine.
ENOUGH_NEW = 4
ENOUGH_LESS = 1 / 8  # of the files that a pack has

Progress = Callable[[str], None]


@dataclass(slots=True)
class Packs:
    """Packs by view; all of them can be made again from the state directory."""

    section: PacksSection
    state: StateDirectory
    store: Store
    ready: dict[str, Pack | None] = field(default_factory=dict)  # None: it cannot be built
    learning: threading.Lock = field(default_factory=threading.Lock)

    def get(self, view: str) -> Pack | None:
        """The newest that is ready, as long as its file is there."""
        pack = self.ready.get(view)
        if pack is not None and not pack.path.exists():
            self.ready.pop(view, None)
            return None
        return pack

    def was_tried(self, view: str) -> bool:
        """Whether there is nothing left to be done for a view."""
        return self.get(view) is not None or view in self.ready

    def file(self, view: str, name: str) -> Path | None:
        """A pack of a view by name, also one that was superseded a moment ago."""
        return find(self.state.packs, view, name)

    def prepare(self, view: ViewRecord, progress: Progress) -> None:
        """Make a view's pack ready; that it cannot be built stops no boot."""
        try:
            self.build(view, progress)
        except (StorebootError, OSError) as error:
            reason = error.message if isinstance(error, StorebootError) else str(error)
            hint = error.hint if isinstance(error, StorebootError) else None
            self.ready.setdefault(view.view_id)
            log.error("pack.not_built", view=view.view_id, reason=reason, hint=hint)

    def build(self, view: ViewRecord, progress: Progress) -> Pack:
        """The pack of a view by what is known of its boots; raises what is wrong."""
        hot = self.choose(view)
        made = build(self.store, view.view_id, view.paths, hot, self.state.packs, progress)
        self.ready[view.view_id] = made
        return made

    def choose(self, view: ViewRecord) -> frozenset[bytes]:
        """The files that the next pack of a view has with their data."""
        return choose(self.store, self.hot(view), self.section.hot_size << 20)

    def hot(self, view: ViewRecord) -> HotList:
        """What boots of the view have read, or of the one most like it, or what one may guess."""
        own = self.state.hot(view.view_id)
        if own is not None:
            return own
        names = [path.rpartition("/")[2].encode() for path in view.paths]
        others = (other.for_closure(names) for other in self.state.hot_lists())
        best = max(others, key=lambda hot: len(hot.files), default=HotList())
        if best.files:
            return best
        return guess(self.store, map(StorePath, view.paths), map(StorePath, view.toplevels))

    def learn(
        self, view: ViewRecord, held: str | None, read: set[bytes], resident: set[bytes] | None
    ) -> None:
        """What a boot says of a view's hot files; see `HotList.with_boot`. Blocking.

        `held` is the name of the pack that the machine had.
        """
        names = {path.rpartition("/")[2].encode() for path in view.paths}
        own = {path for path in read if path.partition(b"/")[0] in names}
        image = self.file(view.view_id, held) if held else None
        had = hot_files(image) if image is not None else frozenset[bytes]()
        if resident is not None:
            resident &= had
        with self.learning:
            hot = self.hot(view).with_boot(own, had, resident)
            self.state.set_hot(view.view_id, hot)
            if self._is_outdated(view):
                self.prepare(view, lambda _text: None)

    def _is_outdated(self, view: ViewRecord) -> bool:
        pack = self.get(view.view_id)
        if pack is None:
            return True
        has, wants = hot_files(pack.path), self.choose(view)
        return len(wants - has) >= ENOUGH_NEW or len(has - wants) > ENOUGH_LESS * len(has)
