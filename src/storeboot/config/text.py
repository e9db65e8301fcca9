"""Reads text that people wrote with an editor or a spreadsheet."""

from __future__ import annotations

import codecs
from pathlib import Path

from storeboot.errors import ConfigError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Raises ConfigError if the file cannot be read or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", _cure(path, error)) from None
    if data.startswith(_UTF16):
        raise ConfigError(f"{path} is UTF-16", "save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} line {line}: not UTF-8", "save it as UTF-8") from None


def _cure(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "run the command as a user who may read it"
    if isinstance(error, FileNotFoundError):
        return f"write {path}, or name another file"
    return "name another file"
