from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storeboot.nfs.xdr import FileSlice, Reader, Writer, XdrError

CALLS = ["uint32", "uint64", "boolean", "bitmap"]


def test_opaque_is_padded_to_four_bytes() -> None:
    writer = Writer()
    writer.opaque(b"abcde")
    assert writer.getvalue() == b"\0\0\0\5abcde\0\0\0"


def test_truncated_opaque_is_rejected() -> None:
    with pytest.raises(XdrError):
        Reader(b"\0\0\0\5abc").opaque(10)


def test_opaque_over_its_limit_is_rejected_before_it_is_read() -> None:
    with pytest.raises(XdrError, match="over the limit"):
        Reader(b"\xff\xff\xff\xff").opaque(1024)


def test_bytes_left_over_are_rejected() -> None:
    with pytest.raises(XdrError, match="left over"):
        Reader(b"\0\0\0\0").end()


def test_file_data_counts_but_is_not_copied() -> None:
    writer, data = Writer(), FileSlice(b"name", b"bin/sh", 0, 5, 5)
    writer.file(data)
    writer.uint32(7)
    assert writer.segments() == [b"\0\0\0\5", data, b"\0\0\0" + b"\0\0\0\7"]
    assert len(writer) == 4 + 5 + 3 + 4


def test_a_writer_with_file_data_extends_another_in_order() -> None:
    first, second, data = Writer(), Writer(), FileSlice(b"name", b"", 3, 4, 7)
    first.uint32(1)
    second.file(data)
    second.uint32(2)
    first.extend(second)
    assert first.segments() == [b"\0\0\0\1\0\0\0\4", data, b"\0\0\0\2"]


@given(st.frozensets(st.integers(0, 127)))
def test_bitmap_round_trip(bits: frozenset[int]) -> None:
    writer = Writer()
    writer.bitmap(bits)
    reader = Reader(writer.getvalue())
    assert reader.bitmap() == bits
    reader.end()


@given(st.binary(max_size=64), st.sampled_from(CALLS))
def test_any_bytes_decode_or_raise_xdr_error(data: bytes, call: str) -> None:
    with suppress(XdrError):
        getattr(Reader(data), call)()
