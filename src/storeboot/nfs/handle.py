"""Filehandles and mount tokens: computed, authenticated, the same in every process.

A filehandle is 64 bytes, the most that NFSv3 allows (RFC 1813 section 2.4):

    offset  size  field
         0     1  layout version, 1
         1     1  kind of place (`Place`)
         2     2  zero
         4    16  view id
        20    20  hash part of the store path, decoded from Nix's base 32
        40    14  BLAKE2b of the path inside the store path
        54    10  keyed BLAKE2b of the 54 bytes before

A mount token is 64 hexadecimal digits: 16 bytes view id, 8 bytes boot id, 8 bytes of keyed
BLAKE2b. Any process with the key can verify both without a table.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

from storeboot.nfs.status import NfsError, Status

HANDLE_SIZE = 64
VERSION = 1
VIEW_ID_SIZE = 16
BOOT_ID_SIZE = 8
OBJECT_SIZE = 20
PATH_ID_SIZE = 14

_NIX32 = "0123456789abcdfghijklmnpqrsvwxyz"
_NIX32_VALUE = {letter: value for value, letter in enumerate(_NIX32)}
_NIX32_PAIRS = [(high + low).encode() for high in _NIX32 for low in _NIX32]


class Place(IntEnum):
    """What a filehandle points to: a directory of the pseudo file system, or something in a
    view."""

    PSEUDO_ROOT = 0
    VIEW_DIRECTORY = 1
    VIEW_ROOT = 2
    STORE_OBJECT = 3
    FLAT_DIRECTORY = 4


_PLACES = tuple(Place)


@dataclass(frozen=True, slots=True)
class Handle:
    """A filehandle that was decoded and verified."""

    place: Place
    view: bytes = bytes(VIEW_ID_SIZE)
    object_id: bytes = bytes(OBJECT_SIZE)
    path_id: bytes = bytes(PATH_ID_SIZE)


@dataclass(frozen=True, slots=True)
class MountToken:
    """The view that a boot may mount."""

    view: bytes
    boot: bytes


def object_id(store_name: bytes) -> bytes:
    """Return the 20 bytes encoded by the 32 digits with which a store path's base name starts.

    Nix writes them least significant digit last (nix/src/libutil, printHash32).
    """
    number = 0
    for letter in store_name[:32].decode("ascii"):
        number = number * 32 + _NIX32_VALUE[letter]
    return number.to_bytes(OBJECT_SIZE, "little")


def hash_digits(identity: bytes) -> bytes:
    """Return the 32 digits that an object id was made from."""
    number = int.from_bytes(identity, "little")
    return b"".join([_NIX32_PAIRS[number >> shift & 1023] for shift in range(150, -1, -10)])


def path_id(relative: bytes) -> bytes:
    """Return the identity of a path inside its store path."""
    return blake2b(relative, digest_size=PATH_ID_SIZE).digest()


class HandleCodec:
    """Makes and verifies filehandles and tokens with one server key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._handle_mac = blake2b(key=key, person=b"storeboot-fh", digest_size=10)
        self._token_mac = blake2b(key=key, person=b"storeboot-mount", digest_size=8)

    def encode(self, handle: Handle) -> bytes:
        body = b"".join(
            (
                bytes((VERSION, handle.place, 0, 0)),
                handle.view,
                handle.object_id,
                handle.path_id,
            )
        )
        return body + _digest(self._handle_mac, body)

    def decode(self, raw: bytes) -> Handle:
        """Return the decoded filehandle; raise BADHANDLE for anything that this key did not
        sign."""
        body, mac = raw[:54], raw[54:]
        if len(raw) != HANDLE_SIZE or raw[0] != VERSION or raw[1] >= len(_PLACES):
            raise NfsError(Status.BADHANDLE)
        if not hmac.compare_digest(mac, _digest(self._handle_mac, body)):
            raise NfsError(Status.BADHANDLE)
        return Handle(_PLACES[raw[1]], raw[4:20], raw[20:40], raw[40:54])

    def encode_token(self, token: MountToken) -> str:
        body = token.view + token.boot
        return (body + _digest(self._token_mac, body)).hex()

    def decode_token(self, text: bytes) -> MountToken | None:
        """Return the decoded token, or None for anything that this key did not sign."""
        try:
            raw = bytes.fromhex(text.decode("ascii"))
        except ValueError:
            return None
        body, mac = raw[:24], raw[24:]
        if len(raw) != 32 or not hmac.compare_digest(mac, _digest(self._token_mac, body)):
            return None
        return MountToken(raw[:16], raw[16:24])


def _digest(state: blake2b, body: bytes) -> bytes:
    mac = state.copy()
    mac.update(body)
    return mac.digest()
