"""Reads and judges what a machine reports about its own store."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from storeboot.protocol.reports import ReportFact


@dataclass(frozen=True, slots=True)
class MountStats:
    """The statistics of one NFS mount in /proc/self/mountstats, exact on a machine of any speed."""

    version: str
    rpcs: dict[str, int]  # by operation, those that were sent at least once
    bytes_read: int  # file data received over the network

    @property
    def total(self) -> int:
        return sum(self.rpcs.values())


def parse_mountstats(text: str, mount_point: str = "/nix/.ro-store") -> MountStats:
    """Return the statistics of the mount at `mount_point`; zeros if there is none."""
    version, bytes_read, rpcs, inside, operations = "", 0, dict[str, int](), False, False
    for line in text.splitlines():
        words = line.split()
        if line.startswith("device "):
            inside = " mounted on " in line and words[4] == mount_point
            operations = False
        elif not inside or not words:
            continue
        elif words[0] == "opts:":
            options = words[1].split(",")
            version = next((o[5:] for o in options if o.startswith("vers=")), "")
        elif words[0] == "bytes:":
            bytes_read = int(words[5])
        elif line.strip() == "per-op statistics":
            operations = True
        elif operations and words[0].endswith(":") and int(words[1]):
            rpcs[words[0][:-1]] = int(words[1])
    return MountStats(version, dict(sorted(rpcs.items(), key=lambda item: -item[1])), bytes_read)


def parse_facts(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def parse_hashes(data: bytes) -> dict[bytes, str]:
    """Return the lines of sha256sum: SHA-256 by path."""
    hashes = {}
    for line in data.split(b"\n"):
        digest, separator, path = line.partition(b"  ")
        if separator:
            hashes[path] = digest.decode("ascii", "replace")
    return hashes


def parse_attributes(data: bytes) -> dict[bytes, str]:
    """Return the lines of stat by path: mode, owner, group, size, mtime, link target.

    The size of a directory is `-`.
    """
    attributes = {}
    for line in data.splitlines():
        *words, name = line.split(b" ", 5)
        target = b""
        if words and stat.S_ISLNK(int(words[0], 16)):
            name, _, target = name.strip(b"'").partition(b"' -> '")
        attributes[name] = os.fsdecode(b" ".join((*words, target)))
    return attributes


@dataclass(frozen=True, slots=True)
class GuestReport:
    """The machine's report, compared with what the server knows."""

    facts: Mapping[str, str]
    files_hashed: int
    mismatches: tuple[str, ...]  # paths whose content differs, is missing, or is extra
    boot: MountStats
    after: MountStats
    other_attributes: tuple[str, ...] = ()  # paths whose mode, owner, size, mtime or target differ

    @property
    def overlay(self) -> bool:
        return self.facts.get(ReportFact.STORE_FSTYPE) == "overlay"

    @property
    def lower_fstype(self) -> str:
        return self.facts.get(ReportFact.LOWER_FSTYPE, "")

    @property
    def write_ok(self) -> bool:
        return self.facts.get(ReportFact.WRITE_OK) == "yes"

    @property
    def closure_valid(self) -> bool:
        return self.facts.get(ReportFact.CLOSURE_VALID) == "yes"

    def faults(self, *, system: str, least_files: int, nix: bool) -> list[str]:
        """Return everything that is wrong, as text; `nix`: whether the system has Nix."""
        faults = []
        if self.facts.get(ReportFact.SYSTEM) != system:
            faults.append(
                f"it runs {self.facts.get(ReportFact.SYSTEM) or 'nothing'} instead of {system}"
            )
        if not self.overlay:
            faults.append(
                f"/nix/store is {self.facts.get(ReportFact.STORE_FSTYPE) or 'nothing'}, no overlay"
            )
        if self.lower_fstype not in ("nfs", "nfs4"):
            faults.append(
                f"the store below the overlay is {self.lower_fstype or 'nothing'}, not NFS"
            )
        if not self.write_ok:
            faults.append("writing to the machine's store failed")
        if self.mismatches:
            faults.append(f"{len(self.mismatches)} files differ, first {self.mismatches[0]}")
        if self.other_attributes:
            faults.append(
                f"attributes of {len(self.other_attributes)} paths differ, first "
                f"{self.other_attributes[0]}"
            )
        for kind, fact in (("hot", ReportFact.CHANGES_HOT), ("stub", ReportFact.CHANGES_STUB)):
            if self.facts.get(fact, "yes") != "yes":
                faults.append(f"a {kind} file of the pack cannot be changed")
        if self.files_hashed < least_files:
            faults.append(f"only {self.files_hashed} files were read, expected {least_files}")
        if nix and not self.closure_valid:
            faults.append("the machine's Nix does not take the closure as valid")
        if self.facts.get(ReportFact.FAILED_UNITS, "").strip():
            faults.append(f"failed units: {self.facts[ReportFact.FAILED_UNITS].strip()}")
        return faults


def compare(theirs: Mapping[bytes, str], ours: Mapping[bytes, str]) -> tuple[str, ...]:
    """Return the paths on which the two sides differ, sorted."""
    differing = {path for path in theirs.keys() | ours.keys() if theirs.get(path) != ours.get(path)}
    return tuple(path.decode(errors="backslashreplace") for path in sorted(differing))
