"""What a machine can be known by: MAC address, SMBIOS UUID and serial number, label of iPXE.

Each has one normal form, in which what operators write and what machines send is compared.
"""

from __future__ import annotations

import re

SERIAL = re.compile(r"[0-9a-f]{8}([0-9a-f]{8})")  # of a Raspberry Pi, and its TFTP directory
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LABEL = re.compile(r"[a-z][a-z0-9/.-]{0,62}")  # a setting of iPXE
_OCTETS = re.compile(
    r"(?:(?:0?1[:-]))?([0-9a-f]{1,2}(?:([:-])[0-9a-f]{1,2})(?:\2[0-9a-f]{1,2}){4})"
)
_DIGITS = re.compile(r"(?:01)?([0-9a-f]{12})")

# What firmware says where nobody wrote a serial number or a UUID into it: letters and digits only,
# in lower case, because makers spell the same words with other dots, blanks and underscores.
_PLACEHOLDERS = frozenset(
    {
        "03000200040005000006000700080009",
        "12345678123456789abccddeefaabbcc", "12345678123456789abcdef012345678",
        "1234567812345678123456789abcdef0", "123456781234567890abcddeefaabbcc",
        "00112233445566778899aabbccddeeff", "4c4c454400002010802080c04f202020",
        "6ab5b300538d10149fb5b0684d007b53",
        "na", "nil", "null", "none", "nonespecified", "nullstring", "empty", "blank", "default",
        "defaultstring", "defaultvalue", "string", "invalid", "unknow", "unknown", "undefined",
        "unspecified", "unavailable", "oem", "eval", "sample", "tbd", "todo",
        "filledbyoem", "tobefilled", "tobefilledbyoem", "tobefilledbymanufacturer",
        "systemversion", "systemname", "systemproductname", "systemmanufacturer", "systemuuid",
        "assettag", "systemassettag", "chassisassettag", "baseboardassettag",
        "typeassettaghere", "systemserialnumb", "123456fvgv3i0b8o5n6n7k",
    }
)  # fmt: skip
_RUN = 6  # a shorter row of digits may well be somebody's own number
_RUNS = ("01234567890123456789012345678901", "0123456789abcdefghijklmnopqrstuvwxyz", "9876543210")
_NAME_OF_SERIAL = re.compile(
    r"(oem|system|sys|product|chassis|baseboard|board|motherboard|mb|machine)?"
    r"(serial(no|num|number)?|sn)x*"
)
_ASKS_FOR_IT = re.compile(
    r"(please)?(enter|type|insert|set|fill)(in)?(the|your|a)?(system|chassis|oem)?"
    r"(serial(no|num|number)?|sn|uuid|assettag)(here)?"
)
_SAYS_NO = re.compile(
    r"(not?)(yet)?(set|settable|specified|applicable|available|present|provided|programmed|defined"
    r"|supported|assigned|filled|initialized|used|implemented|"
    r"(smbios|system|chassis|board)?(serial(no|num|number)?|sn|uuid|asset(tag|information)?))"
)
_ADDRESS_OF_NONE = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})


def normal_mac(text: str) -> str:
    """Return a MAC address in the form 52:54:00:12:34:56, or other text in lower case.

    Accepts six groups with `:` or `-`, three groups with `.`, no separator at all, and each of
    these behind the hardware type 01 of Ethernet (RFC 2132 section 9.14), as PXELINUX writes it.
    """
    plain = text.strip().lower()
    groups = _OCTETS.fullmatch(plain)
    if groups is not None:
        return ":".join(group.zfill(2) for group in re.split("[:-]", groups[1]))
    digits = _DIGITS.fullmatch(re.sub(r"[.:\s-]", "", plain)) if _is_digits(plain) else None
    if digits is not None:
        return ":".join(re.findall("..", digits[1]))
    return plain


def _is_digits(plain: str) -> bool:
    """Return whether text is a MAC address without separators, or with one after each group."""
    return re.fullmatch(r"[0-9a-f]{12,14}|[0-9a-f]{2,6}([.\s:-][0-9a-f]{2,6})+", plain) is not None


def normal_uuid(text: str) -> str:
    """Return a UUID in the form of RFC 9562, or other text in lower case.

    Accepts braces, `urn:uuid:`, and dashes or blanks anywhere, or none.
    """
    plain = text.strip().lower()
    digits = re.sub(r"[\s-]", "", plain.removeprefix("urn:uuid:").strip("{}() "))
    if re.fullmatch(r"[0-9a-f]{32}", digits) is None:
        return plain
    cuts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(cuts)


def other_order(uuid: str) -> str:
    """Return a normal UUID with its first three fields in the other byte order.

    SMBIOS has them in little-endian order since version 2.6 (DSP0134 section 7.2.1). Firmware that
    is older, or claims to be, and tools that ignore the version, show one machine in both orders.
    """
    if UUID.fullmatch(uuid) is None:
        return uuid
    first, second, third, *others = uuid.split("-")
    return "-".join([*(_reversed(field) for field in (first, second, third)), *others])


def _reversed(field: str) -> str:
    return "".join(reversed(re.findall("..", field)))


def normal_serial(text: str) -> str:
    """Return a serial number in upper case, without blanks around it and with single ones in it.

    SMBIOS pads strings with blanks, and programs disagree about them.
    """
    return " ".join(text.split()).upper()


def normal_label(text: str) -> str:
    """Return NAME=VALUE with the value in the form of a serial number."""
    name, is_label, value = text.strip().partition("=")
    return f"{name}={normal_serial(value)}" if is_label else name


def spellings(matcher: str) -> tuple[str, ...]:
    """Return a matcher in normal form, and the form with which the same machine could be known."""
    return tuple(dict.fromkeys((matcher, other_order(matcher))))


def is_shared(matcher: str) -> bool:
    """Return whether a UUID or serial number is one that boards of many kinds have."""
    if matcher.strip().lower() in _ADDRESS_OF_NONE:
        return True
    plain = "".join(filter(str.isalnum, matcher.lower()))
    swapped = other_order(normal_uuid(matcher)).replace("-", "")
    if len(set(plain)) < 2 or not _PLACEHOLDERS.isdisjoint((plain, swapped)):
        return True
    if len(plain) == 32 and len(set(re.findall("..", plain))) < 2:  # 01010101-0101-…
        return True
    if any(form.fullmatch(plain) for form in (_NAME_OF_SERIAL, _ASKS_FOR_IT, _SAYS_NO)):
        return True
    bare = re.sub(r"^(sys|sn|mb|serial|oem)(?=[0-9])", "", plain)
    size = len(bare)
    return size >= _RUN and any(bare in (run[:size], run[1 : size + 1]) for run in _RUNS)
