"""Hot lists: which files the boots of a system read, carried over to its updates."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

HASH = 33  # characters of `<hash>-`
WEIGHT = 1 / 8  # of the newest boot, in a file's share
FIRST = 1 / 4  # share of a file that is read for the first time
GUESSED = 1 / 9  # share of a file that no boot has read yet: the first boot without it ends it
RARE = 1 / 10  # share below which a file is forgotten
_VERSION = re.compile(rb"-[0-9].*")


@dataclass(frozen=True, slots=True)
class Witness:
    """The identity of a boot, as far as a server can know it."""

    boot: str
    host: str
    address: str

    def confirms(self, other: Witness, *, alone: bool) -> bool:
        """Return whether two boots are independent; on the only host, any two boots are."""
        if alone:
            return self.boot != other.boot
        return self.host != other.host and self.address != other.address


@dataclass(frozen=True, slots=True)
class HotList:
    """Files below the store directory, and the share of boots that read each, from 0 to 1.

    Newer boots count more, so that a file that is no longer read is forgotten.

    No single machine decides. A file that only one boot has read is in doubt, and packs contain few
    such files, until a boot of another host at another address has read it as well. If a system has
    only one host, another boot of that host is enough. If there are several hosts, one that boots
    again and again does not lower any file's share.
    """

    files: Mapping[bytes, float] = field(default_factory=dict)
    doubted: Mapping[bytes, Witness] = field(default_factory=dict)  # some of `files`
    hosts: tuple[str, ...] = ()  # that were learned from, the latest first; two at most

    def with_boot(
        self,
        read: Iterable[bytes],
        held: Iterable[bytes] = (),
        resident: Iterable[bytes] | None = (),
        by: Witness | None = None,
    ) -> HotList:
        """Return the list after another boot.

        `read` are files that came over NFS; `held` were in the boot's pack, and `resident` of these
        in its page cache, or None if the machine could not tell: then nothing is learned about the
        pack's files. If `by` is None, nothing that was read is in doubt.
        """
        unknown = frozenset(held) if resident is None else frozenset()
        seen = {*read, *(resident or ())}
        hosts = self._hosts_with(by)
        alone = len(hosts) < 2
        cools = alone or by is None or by.host != self.hosts[0]
        files = {
            path: share + WEIGHT * ((path in seen) - share)
            if path in seen or (cools and path not in unknown)
            else share
            for path, share in self.files.items()
        }
        new = seen - self.files.keys()
        files |= dict.fromkeys(new, FIRST)
        doubted = {
            path: witness
            for path, witness in self.doubted.items()
            if path not in seen or (by is not None and not by.confirms(witness, alone=alone))
        }
        doubted |= dict.fromkeys(new, by) if by is not None else {}
        return HotList(files, doubted, hosts)._without_rare()

    def _hosts_with(self, by: Witness | None) -> tuple[str, ...]:
        if by is None:
            return self.hosts
        return (by.host, *(host for host in self.hosts if host != by.host))[:2]

    def _without_rare(self) -> HotList:
        files = {path: share for path, share in self.files.items() if share >= RARE}
        doubted = {path: each for path, each in self.doubted.items() if path in files}
        return HotList(files, doubted, self.hosts)

    def document(self) -> dict[str, Any]:
        """Return the list as a JSON document."""
        shares = {os.fsdecode(path): round(share, 3) for path, share in self.files.items()}
        return {
            "files": dict(sorted(shares.items())),
            "doubted": {
                os.fsdecode(path): [each.boot, each.host, each.address]
                for path, each in sorted(self.doubted.items())
            },
            "hosts": self.hosts,
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> HotList:
        """Return the list of a document, which may be of an older version that had no doubts.

        Raises ValueError, TypeError or AttributeError if it is not such a document.
        """
        if "files" not in document:
            document = {"files": document}
        files = {os.fsencode(path): float(share) for path, share in document["files"].items()}
        doubted = {
            os.fsencode(path): Witness(*map(str, each))
            for path, each in document.get("doubted", {}).items()
        }
        return cls(files, doubted, tuple(map(str, document.get("hosts", ()))))

    def for_closure(self, names: Iterable[bytes]) -> HotList:
        """Return the list for another closure (base names of store paths), by paths inside
        packages.

        A package is matched by its name, or else by its name without the version.
        """
        by_name: dict[bytes, list[bytes]] = defaultdict(list)
        known = set(names)
        for name in sorted(known):
            plain = name[HASH:]
            by_name[plain].append(name)
            by_name[_VERSION.sub(b"", plain)].append(name)
        files: dict[bytes, float] = {}
        doubted: dict[bytes, Witness] = {}
        for path, share in self.files.items():
            base, _, inside = path.partition(b"/")
            plain = base[HASH:]
            goals = [base] if base in known else by_name.get(plain, [])
            for goal in goals or by_name.get(_VERSION.sub(b"", plain), []):
                there = goal + b"/" + inside if inside else goal
                files[there] = share
                if path in self.doubted:
                    doubted[there] = self.doubted[path]
        return HotList(files, doubted, self.hosts)
