"""What machines send, made harmless where it arrives: text that is only text, numbers that can be.

Whoever stands on the network chooses both. Text ends up on terminals, in logs and in databases; a
number in sums with times.
"""

from __future__ import annotations

import math
import re
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONGEST = 10 * 365 * 86400.0  # seconds; no machine runs for longer
# ECMA-48: control sequences, and strings that only a terminator ends.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[PX^_\]][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]"
)
# Controls, formats (among them those that turn the direction of writing), surrogates, separators.
_BAD = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def line(text: str, limit: int) -> str:
    """One line of at most `limit` characters, without anything that a terminal would act on."""
    return "".join(map(_harmless, _ESCAPES.sub("", text[: 4 * limit])))[:limit]


def block(text: str, limit: int) -> str:
    """The same for several lines: line feeds and tabs stay; of what is too long, the end stays."""
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
    """A number from 0 to `most`; None for anything else."""
    try:
        value = float(text[:40])
    except ValueError:
        return None
    return value if math.isfinite(value) and 0.0 <= value <= most else None
