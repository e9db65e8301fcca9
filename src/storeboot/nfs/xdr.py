"""External Data Representation: bounds-checked reading and writing (RFC 4506)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_UINT32 = struct.Struct(">I")
_UINT64 = struct.Struct(">Q")
_INT64 = struct.Struct(">q")


class XdrError(ValueError):
    """The peer sent bytes that the protocol does not allow here."""


class Reader:
    """Reads values from the front of a message. Every variable length has a limit."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._pos = position
        self._end = len(data)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, without padding."""
        start, stop = self._pos, self._pos + size
        if size < 0 or stop > self._end:
            raise XdrError(f"message ends {stop - self._end} bytes too early")
        self._pos = stop
        return self._data[start:stop]

    def uint32(self) -> int:
        start = self._pos
        if start + 4 > self._end:
            raise XdrError("message ends inside a 32-bit number")
        self._pos = start + 4
        value: int = _UINT32.unpack_from(self._data, start)[0]
        return value

    def uint64(self) -> int:
        value: int = _UINT64.unpack(self.take(8))[0]
        return value

    def boolean(self) -> bool:
        value = self.uint32()
        if value > 1:
            raise XdrError(f"{value} is not a boolean")
        return value == 1

    def opaque(self, limit: int) -> bytes:
        """Return variable-length opaque data of at most `limit` bytes (RFC 4506 section 4.10)."""
        size = self.uint32()
        if size > limit:
            raise XdrError(f"opaque of {size} bytes is over the limit of {limit}")
        data = self.take(size)
        self.take(-size % 4)
        return data

    def bitmap(self) -> frozenset[int]:
        """Return an NFSv4 bitmap4 as the set of its bit numbers (RFC 8881 section 3.3.7)."""
        words = self.uint32()
        if words > 8:
            raise XdrError(f"bitmap of {words} words is over the limit of 8")
        bits = set()
        for index in range(words):
            word = self.uint32()
            while word:
                low = word & -word
                bits.add(index * 32 + low.bit_length() - 1)
                word ^= low
        return frozenset(bits)

    def end(self) -> None:
        """Raise XdrError unless the whole message has been read."""
        if self._pos != self._end:
            raise XdrError(f"{self._end - self._pos} bytes are left over")


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`count` bytes of a store file from `offset` on. The owner of the socket reads them."""

    store_path: bytes  # base name below the store directory
    relative: bytes  # path inside it; b"" for a store path that is itself a file
    offset: int
    count: int
    size: int  # bytes of the whole file when its store path was indexed

    def behind(self, sent: int) -> FileSlice:
        """Return what is left after the first `sent` bytes."""
        return FileSlice(
            self.store_path, self.relative, self.offset + sent, self.count - sent, self.size
        )


Segment = bytes | FileSlice


class Writer:
    """Builds a message as a list of segments, so that file data is never copied into it."""

    __slots__ = ("_buffer", "_length", "_segments")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._segments: list[Segment] = []
        self._length = 0  # of the finished segments

    def __len__(self) -> int:
        return self._length + len(self._buffer)

    @property
    def is_whole(self) -> bool:
        """Return whether the message is one piece, without file data."""
        return not self._segments

    def raw(self, data: bytes) -> None:
        """Append bytes that are XDR already."""
        self._buffer += data

    def uint32(self, value: int) -> None:
        self._buffer += _UINT32.pack(value)

    def uint64(self, value: int) -> None:
        self._buffer += _UINT64.pack(value)

    def int64(self, value: int) -> None:
        self._buffer += _INT64.pack(value)

    def boolean(self, value: bool) -> None:
        self._buffer += b"\0\0\0\1" if value else b"\0\0\0\0"

    def opaque(self, data: bytes) -> None:
        self._buffer += _UINT32.pack(len(data)) + data + bytes(-len(data) % 4)

    def bitmap(self, bits: frozenset[int]) -> None:
        words = [0] * ((max(bits) // 32 + 1) if bits else 0)
        for bit in bits:
            words[bit // 32] |= 1 << bit % 32
        self.uint32(len(words))
        for word in words:
            self.uint32(word)

    def file(self, data: FileSlice) -> None:
        """Append variable-length opaque data that comes from a file."""
        self.uint32(data.count)
        if data.count:
            self._segments += [bytes(self._buffer), data]
            self._length += len(self._buffer) + data.count
            self._buffer = bytearray(-data.count % 4)

    def extend(self, other: Writer) -> None:
        """Append everything that `other` contains."""
        if other._segments:
            first, *rest = other._segments
            assert isinstance(first, bytes)
            self._segments += [bytes(self._buffer) + first, *rest]
            self._length += len(self._buffer) + other._length
            self._buffer = other._buffer
        else:
            self._buffer += other._buffer

    def segments(self) -> list[Segment]:
        return [*self._segments, bytes(self._buffer)]

    def getvalue(self) -> bytes:
        """Return the message as one piece. Only for messages without file data."""
        if self._segments:
            raise ValueError("the message has file data in it")
        return bytes(self._buffer)
