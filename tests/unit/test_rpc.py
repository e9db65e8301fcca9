from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storeboot.nfs.rpc import RecordReader, RpcError, RpcMismatchError, framed, read_call

# NULL of NFSv3 with AUTH_NONE, as RFC 5531 section 9 lays it out.
NULL_CALL = bytes.fromhex(
    "6e9c3d4a0000000000000002000186a30000000300000000"
    "00000000000000000000000000000000"
)  # fmt: skip


def test_header_of_a_null_call() -> None:
    call = read_call(NULL_CALL)
    assert (call.xid, call.program, call.version, call.procedure) == (0x6E9C3D4A, 100003, 3, 0)
    call.arguments.end()


def test_other_rpc_version_is_told_apart() -> None:
    with pytest.raises(RpcMismatchError) as caught:
        read_call(NULL_CALL[:8] + b"\0\0\0\3" + NULL_CALL[12:])
    assert caught.value.xid == 0x6E9C3D4A


@given(st.binary(max_size=200))
def test_any_bytes_are_a_call_or_an_rpc_error(data: bytes) -> None:
    with suppress(RpcError, RpcMismatchError):
        read_call(data)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5), st.data())
def test_records_come_out_however_the_stream_is_cut(
    records: list[bytes], data: st.DataObject
) -> None:
    stream = b""
    for record in records:
        cut = data.draw(st.integers(0, len(record)))
        stream += len(record[:cut]).to_bytes(4, "big") + record[:cut]
        stream += (0x8000_0000 | len(record[cut:])).to_bytes(4, "big") + record[cut:]
    size = data.draw(st.integers(1, len(stream)))
    reader, found = RecordReader(1000), []
    for at in range(0, len(stream), size):
        found += list(reader.feed(stream[at : at + size]))
    assert found == records
    assert not reader.partial


def test_a_record_over_the_limit_ends_the_connection_at_its_mark() -> None:
    with pytest.raises(RpcError, match="over the limit"):
        list(RecordReader(1000).feed(b"\xff\xff\xff\xff"))


def test_many_empty_fragments_end_the_connection() -> None:
    with pytest.raises(RpcError, match="fragments"):
        list(RecordReader(1000).feed(bytes(4) * 100))


def test_framed_reply_starts_with_the_size_of_all_segments() -> None:
    assert framed([b"abcd"]) == [b"\x80\0\0\4abcd"]
