"""Which files each address has read since it was asked for: what a boot needs of its store."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_ADDRESSES = 256  # the one that was heard of first goes
MAX_FILES = 20_000  # of one address; a boot reads a few thousand


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
        """What the address has read; from here on it is noted anew."""
        files = self.by_address.pop(address, set())
        return {b"/".join(part for part in file if part) for file in files}
