"""Reads what kernel modules say about themselves: ELF sections and undefined symbols.

System V gABI, chapters "Sections" and "Symbol Table". Relocatable files of both classes and both
byte orders.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SYMTAB = 2  # SHT_SYMTAB
_NOBITS = 8  # SHT_NOBITS
_UNDEFINED = 0  # SHN_UNDEF


def section(elf: bytes, name: str) -> bytes:
    """Return the bytes of a section, or nothing if there is none; ValueError if it is no ELF."""
    return next((data for each, data in _sections(elf) if each == name.encode()), b"")


def modinfo(elf: bytes, field: str) -> tuple[str, ...]:
    """Return the values of a field of .modinfo (Linux, include/linux/module.h, MODULE_INFO)."""
    prefix = field.encode() + b"="
    words = section(elf, ".modinfo").split(b"\0")
    values = {word.removeprefix(prefix) for word in words if word.startswith(prefix)}
    return tuple(sorted(value.decode(errors="replace") for value in values))


def imports(elf: bytes) -> frozenset[bytes]:
    """Return the names of the symbols that a module takes from the kernel and other modules."""
    headers = _headers(elf)
    order, is_wide = _form(elf)
    # Name, value, size, info, other and section index; the two classes order them differently.
    entry = struct.Struct(order + ("IBBHQQ" if is_wide else "IIIBBH"))
    index = 3 if is_wide else 5
    found: set[bytes] = set()
    for kind, offset, size, link, _name in headers:
        if kind != _SYMTAB or link >= len(headers):
            continue
        strings = elf[headers[link][1] : headers[link][1] + headers[link][2]]
        whole = size - size % entry.size
        for symbol in entry.iter_unpack(elf[offset : offset + whole]):
            if symbol[index] == _UNDEFINED and symbol[0]:
                found.add(_text(strings, symbol[0]))
    return frozenset(found)


def _sections(elf: bytes) -> Iterator[tuple[bytes, bytes]]:
    headers = _headers(elf)
    order, is_wide = _form(elf)
    (at,) = struct.unpack_from(order + "H", elf, 62 if is_wide else 50)  # e_shstrndx
    if at >= len(headers):
        return
    _, start, length, _, _ = headers[at]
    names = elf[start : start + length]
    for kind, offset, size, _, name in headers:
        yield _text(names, name), b"" if kind == _NOBITS else elf[offset : offset + size]


def _headers(elf: bytes) -> list[tuple[int, int, int, int, int]]:
    """Return type, offset, size, link and name of each section."""
    order, is_wide = _form(elf)
    try:
        (offset,) = struct.unpack_from(
            order + ("Q" if is_wide else "I"), elf, 40 if is_wide else 32
        )
        size, count = struct.unpack_from(order + "HH", elf, 58 if is_wide else 46)
        form = struct.Struct(order + ("IIQQQQIIQQ" if is_wide else "IIIIIIIIII"))
        found = []
        for number in range(count):
            name, kind, _, _, place, length, link, *_ = form.unpack_from(
                elf, offset + number * size
            )
            if kind not in (0, _NOBITS) and place + length > len(elf):
                raise ValueError("is cut off")
            found.append((kind, place, length, link, name))
    except struct.error:
        raise ValueError("is cut off") from None
    return found


def _form(elf: bytes) -> tuple[str, bool]:
    """Return byte order and whether the file is of the 64-bit class."""
    if elf[:4] != b"\x7fELF" or len(elf) < 16:
        raise ValueError("is no ELF file")
    return ">" if elf[5] == 2 else "<", elf[4] == 2


def _text(strings: bytes, at: int) -> bytes:
    return strings[at : strings.find(b"\0", at)]
