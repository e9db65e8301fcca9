"""Notes which files each address has read, so that packs can learn what a boot needs."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_ADDRESSES = 256  # the one that was silent longest is dropped
MAX_FILES = 20_000  # per address; a boot reads a few thousand


@dataclass(slots=True)
class Reads:
    """Paths below the store directory, by address."""

    by_address: dict[str, set[tuple[bytes, bytes]]] = field(default_factory=dict)

    def note(self, address: str, store_path: bytes, relative: bytes) -> None:
        files = self.by_address.get(address)
        if files is None:
            if len(self.by_address) >= MAX_ADDRESSES:
                del self.by_address[next(iter(self.by_address))]
            files = self.by_address[address] = set()
        if len(files) < MAX_FILES:
            files.add((store_path, relative))

    def take(self, address: str) -> set[bytes]:
        """Return what the address has read since the last call, and forget it."""
        files = self.by_address.pop(address, set())
        return {b"/".join(part for part in file if part) for file in files}
