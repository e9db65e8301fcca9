"""Store paths that a collection has given up but not deleted yet: `garbage.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot import files
from storeboot.nix.store import Registered

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Garbage:
    """The list, in one file. The next collection continues with it."""

    file: Path

    def get(self) -> dict[str, Registered]:
        """Return the paths that were given up earlier and perhaps not deleted.

        A damaged file counts as empty; Nix's own collection deletes those paths too.
        """
        try:
            document = json.loads(self.file.read_bytes())
            return {path: Registered(size, tuple(refs)) for path, (size, refs) in document.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("gc.garbage_forgotten", file=str(self.file), reason=str(error))
        return {}

    def set(self, paths: Mapping[str, Registered]) -> None:
        """Store the list; remove the file if the list is empty."""
        if not paths:
            files.remove(self.file, durable=False)
            return
        document = {path: (each.size, each.references) for path, each in paths.items()}
        files.write(self.file, json.dumps(document))
