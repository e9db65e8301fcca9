"""Makes what machines send harmless on arrival: text without controls, numbers within limits.

Anyone on the network can choose both. Text ends up on terminals, in logs and in databases; numbers
are added to times.
"""

from __future__ import annotations

import math
import re
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONGEST = 10 * 365 * 86400.0  # seconds; no machine runs longer
# ECMA-48: control sequences, and strings that only a terminator ends.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[PX^_\]][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]"
)
# Control, format (including writing direction) and surrogate characters, and separators.
_BAD = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def line(text: str, limit: int) -> str:
    """Return one line of at most `limit` characters, without anything that a terminal acts on."""
    return "".join(map(_harmless, _ESCAPES.sub("", text[: 4 * limit])))[:limit]


def block(text: str, limit: int) -> str:
    """Return several lines in the same way, with line feeds and tabs; the end of a long text
    stays."""
    plain = _ESCAPES.sub("", text[-4 * limit :]).replace("\r\n", "\n")
    return "".join(c if c in "\n\t" else _harmless(c) for c in plain)[-limit:]


def _harmless(character: str) -> str:
    if " " <= character <= "~":
        return character
    category = unicodedata.category(character)
    if category in _BAD:
        return REPLACEMENT
    return " " if category == "Zs" else character


def number(text: str, most: float = LONGEST) -> float | None:
    """Return a number from 0 to `most`, or None for anything else."""
    try:
        value = float(text[:40])
    except ValueError:
        return None
    return value if math.isfinite(value) and 0.0 <= value <= most else None
