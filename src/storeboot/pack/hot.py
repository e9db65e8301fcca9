"""Hot lists: which files boots of a system read, kept over updates of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HASH = 33  # characters of `<hash>-`
WEIGHT = 1 / 8  # of the newest boot in a file's share
FIRST = 1 / 4  # share of a file that is read for the first time
GUESSED = 1 / 9  # share of a file that nobody was seen to read: the first boot without it ends it
RARE = 1 / 10  # share below which a file is forgotten
_VERSION = re.compile(rb"-[0-9].*")


@dataclass(frozen=True, slots=True)
class HotList:
    """Files below the store directory, and the share of boots that read each, 0 to 1.

    The newer a boot is, the more it counts: a file that is not read any more is forgotten.
    """

    files: Mapping[bytes, float] = field(default_factory=dict)

    def with_boot(
        self,
        read: Iterable[bytes],
        held: Iterable[bytes] = (),
        resident: Iterable[bytes] | None = (),
    ) -> HotList:
        """After another boot.

        `read` came over NFS; `held` were in its pack, of which `resident` were in its page cache.
        None if the machine could not tell: then nothing is learned of what its pack held.
        """
        unknown = frozenset(held) if resident is None else frozenset()
        seen = {*read, *(resident or ())}
        files = {
            path: share if path in unknown else share + WEIGHT * ((path in seen) - share)
            for path, share in self.files.items()
        }
        files |= dict.fromkeys(seen - self.files.keys(), FIRST)
        return HotList({path: share for path, share in files.items() if share >= RARE})

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
        files: dict[bytes, float] = {}
        for path, share in self.files.items():
            base, _, inside = path.partition(b"/")
            plain = base[HASH:]
            goals = [base] if base in known else by_name.get(plain, [])
            for goal in goals or by_name.get(_VERSION.sub(b"", plain), []):
                files[goal + b"/" + inside if inside else goal] = share
        return HotList(files)
