"""Defines what a machine can be recognised by: MAC address, SMBIOS UUID and serial, iPXE label."""

from __future__ import annotations

import re

SERIAL = re.compile(r"[0-9a-f]{8}([0-9a-f]{8})")  # of a Raspberry Pi, and its TFTP directory
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
LABEL = re.compile(r"[a-z][a-z0-9/.-]{0,62}")  # a setting of iPXE
# What firmware says where nobody wrote a serial number or a UUID into it.
_SHARED = frozenset(
    {
        "", "0123456789", "1234567890", "123456789", "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc", "chassis serial number", "default string", "empty",
        "invalid", "n/a", "na", "none", "not applicable", "not available", "not specified", "oem",
        "o.e.m.", "serial", "system serial number", "system version", "to be filled by o.e.m.",
        "unknown", "unspecified",
    }
)  # fmt: skip


def is_shared(matcher: str) -> bool:
    """Return whether a UUID or serial number is one that boards of many kinds have."""
    plain = matcher.strip().lower()
    return plain in _SHARED or len(set(plain.replace("-", ""))) < 2
