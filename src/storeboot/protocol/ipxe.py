"""Text that iPXE passes on or shows as it is, whatever it looks like.

iPXE splits a line at white space, and each word that is `||`, `&&` or `;`, or begins with `#`, ends
a command (src/core/exec.c: split_command, command_terminator). Only then it expands `${NAME}` in
each word, again and again until none is left (src/core/settings.c: expand_settings). The result is
not split again, so a word that contains an expansion of nothing ends no command. A line that ends
with a backslash goes on in the next one (src/image/script.c: process_script).
"""

from __future__ import annotations

import re
import unicodedata

NOTHING = "${storeboot-nothing}"  # a setting that does not exist expands to nothing
_ENDS = frozenset({"||", "&&", ";"})
_EXPANSION = re.compile(r"\$\{[^ ]*?\}")


def fault(text: str) -> str | None:
    """Return why iPXE cannot pass text on as it is, or None if it can; the text's subject is the
    caller's."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return "has a line break or another control character"
    if _EXPANSION.search(text):
        return "has ${…}, which iPXE replaces"
    return None


def is_end(word: str) -> bool:
    """Return whether a word ends a command, or begins a comment."""
    return word in _ENDS or word.startswith("#")


def literal(text: str) -> str:
    """Return what to write into a script so that iPXE passes the text on, blank for blank.

    Raises ValueError for text with a `fault`.
    """
    reason = fault(text)
    if reason is not None:
        raise ValueError(f"{text!r} {reason}")
    return " ".join(map(_literal, text.split(" ")))


def _literal(word: str) -> str:
    """An empty word stands between two blanks, which iPXE would make one."""
    before = NOTHING if not word or is_end(word) else ""
    return before + word + (NOTHING if word.endswith("\\") else "")


def shown(text: str) -> str:
    """Return text to show on a console, in ASCII and with `?` for what iPXE cannot show."""
    plain = re.sub(r"[^ -~]", "?", text)
    return literal(_EXPANSION.sub("?", plain).replace("${", "?"))
