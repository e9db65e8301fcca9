"""Stores hot lists: `hot/VIEW.json` lists the files of a view that its boots have read.

Nothing is synced: a list that is lost is learned again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot import files
from storeboot.pack.hot import HotList

log = structlog.get_logger()
_NAME = re.compile(r"[0-9a-f]{32}\.json")


@dataclass(frozen=True, slots=True)
class HotLists:
    """The hot lists in one directory, by view."""

    directory: Path

    def get(self, view: str) -> HotList | None:
        """Return what was learned of a view's boots, or None if nothing was, or it was lost."""
        return _read(self._file(view))

    def all(self) -> list[HotList]:
        """Return the lists of all views, the most recently learned first."""
        found = map(_read, self._newest_first())
        return [hot for hot in found if hot is not None]

    def set(self, view: str, hot: HotList) -> None:
        """Store what was learned of a view's boots."""
        files.make_directory(self.directory)
        files.write(self._file(view), json.dumps(hot.document()), durable=False)

    def forget(self, needed: Callable[[str], bool], keep: int) -> None:
        """Remove the lists of views that are not needed, except for the `keep` newest of them.

        These stay because the first list of a new closure is made from the most similar one.
        """
        gone = [file for file in self._newest_first() if not needed(file.stem)]
        for file in gone[keep:]:
            files.remove(file, durable=False)

    def _file(self, view: str) -> Path:
        return self.directory / f"{view}.json"

    def _newest_first(self) -> list[Path]:
        found = [file for file in self.directory.glob("*.json") if _NAME.fullmatch(file.name)]
        return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)


def _read(file: Path) -> HotList | None:
    try:
        return HotList.from_document(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("pack.hot_list_lost", file=str(file), reason=str(error))
        with suppress(OSError):  # logged once; it is learned again
            files.remove(file, durable=False)
        return None
