"""Hot lists: which files boots of a system read, kept over updates of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HASH = 33  # characters of `<hash>-`
_VERSION = re.compile(rb"-[0-9].*")


@dataclass(frozen=True, slots=True)
class HotList:
    """Files below the store directory, and how many boots have read each over NFS."""

    files: Mapping[bytes, int] = field(default_factory=dict)

    def with_boot(self, read: Iterable[bytes]) -> HotList:
        """After another boot; what it had from its pack it has not read."""
        files = dict(self.files)
        for path in read:
            files[path] = files.get(path, 0) + 1
        return HotList(files)

    def for_closure(self, names: Iterable[bytes]) -> HotList:
        """What it says of another closure (base names of store paths), by paths inside packages.

        A package is the one of the same name, or else of the same name without its version.
        """
        by_name: dict[bytes, list[bytes]] = defaultdict(list)
        known = set(names)
        for name in sorted(known):
            plain = name[HASH:]
            by_name[plain].append(name)
            by_name[_VERSION.sub(b"", plain)].append(name)
        files: dict[bytes, int] = {}
        for path, count in self.files.items():
            base, _, inside = path.partition(b"/")
            plain = base[HASH:]
            goals = [base] if base in known else by_name.get(plain, [])
            for goal in goals or by_name.get(_VERSION.sub(b"", plain), []):
                files[goal + b"/" + inside if inside else goal] = count
        return HotList(files)
