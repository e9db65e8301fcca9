"""Defines what a word of the protocol is."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """The word as it goes over the wire, and what it means.

    A member is written as a tuple, `NAME = "word", "meaning"`, and is itself the string.
    """

    meaning: str

    # The default is for mypy, to which looking a word up is a call of this.
    def __new__(cls, word: str, meaning: str = "") -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member
