from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storeboot.nfs.handle import (
    HANDLE_SIZE,
    Handle,
    HandleCodec,
    MountToken,
    Place,
    object_id,
    path_id,
)
from storeboot.nfs.status import NfsError, Status
from unit.nfs_tree import KEY

HANDLE = Handle(Place.STORE_OBJECT, bytes(16), object_id(b"0" * 31 + b"1-x"), path_id(b"bin/sh"))


def test_layout_is_final() -> None:
    """These bytes are in the memory of running machines: they may not change."""
    assert HandleCodec(KEY).encode(HANDLE).hex() == EXPECTED


EXPECTED = (
    "0103000000000000000000000000000000000000010000000000000000000000"
    "0000000000000000fc96ff1da3b8ec670adb720e5d331510d10ba57d6b5eedfc"
)


def test_round_trip_and_size() -> None:
    codec = HandleCodec(KEY)
    raw = codec.encode(HANDLE)
    assert len(raw) == HANDLE_SIZE
    assert codec.decode(raw) == HANDLE


@given(st.integers(0, HANDLE_SIZE * 8 - 1))
def test_one_flipped_bit_makes_it_bad(bit: int) -> None:
    codec = HandleCodec(KEY)
    raw = bytearray(codec.encode(HANDLE))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NfsError) as caught:
        codec.decode(bytes(raw))
    assert caught.value.status is Status.BADHANDLE


@given(st.binary(max_size=128))
def test_foreign_bytes_are_bad(raw: bytes) -> None:
    with pytest.raises(NfsError):
        HandleCodec(KEY).decode(raw)


def test_another_key_does_not_accept_it() -> None:
    with pytest.raises(NfsError):
        HandleCodec(bytes(32)).decode(HandleCodec(KEY).encode(HANDLE))


def test_token_round_trip() -> None:
    codec, token = HandleCodec(KEY), MountToken(b"v" * 16, b"b" * 8)
    assert codec.decode_token(codec.encode_token(token).encode()) == token


@given(st.binary(max_size=80))
def test_no_other_text_is_a_token(text: bytes) -> None:
    assert HandleCodec(KEY).decode_token(text) is None
