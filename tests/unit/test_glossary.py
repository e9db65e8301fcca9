"""The glossary has every word of the protocol, each once, and pages use no other word for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from storeboot.boot.state import Condition
from storeboot.config import Mode
from storeboot.protocol.orders import Order
from storeboot.protocol.stages import Stage

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/reference/glossary.md"
GENERATED = {"commands.md", "configuration.md", "nfs.md", "nixos.md", "protocol.md"}
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(ROOT.glob("docs/**/*.md")) if page.name not in GENERATED),
]
# Other words for a test, to prepare, a ticket.
OTHER_WORDS = re.compile(r"\b(probations?|ma(?:de|ke|king) ready|seals?)\b")


def test_each_term_is_explained_once_and_in_order() -> None:
    terms = re.findall(r"^- \*\*(.+?)\*\*: ", GLOSSARY.read_text(), re.MULTILINE)
    assert len(terms) > 50
    assert terms == sorted(set(terms), key=str.lower)


@pytest.mark.parametrize("word", [*Stage, *Order, *get_args(Mode), *Condition])
def test_it_has_every_word_of_the_protocol(word: str) -> None:
    assert f"`{word}`" in GLOSSARY.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_no_other_word(page: Path) -> None:
    assert OTHER_WORDS.search(page.read_text().lower()) is None
