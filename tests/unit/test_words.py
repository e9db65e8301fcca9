"""Text and numbers of machines, made harmless."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storeboot.cli.tables import plain, print_table
from storeboot.hosts import words

BAD = words.REPLACEMENT


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Zürich 東京 7%", "Zürich 東京 7%"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x\x1b]8;;http://y\x1b\\z", "xz"),
        ("\x1bc\x1b(0", ""),
        ("\x1b", BAD),
        ("a\rb\x00c\x7fd\x9be", f"a{BAD}b{BAD}c{BAD}d{BAD}e"),
        ("a\u202eb\u2066c\u200bd\u2028e", f"a{BAD}b{BAD}c{BAD}d{BAD}e"),
        ("\ud800", BAD),
        ("x\ny", f"x{BAD}y"),
    ],
)
def test_a_line_has_nothing_that_a_terminal_acts_on(said: str, kept: str) -> None:
    assert words.line(said, 100) == kept


def test_a_block_keeps_its_lines_and_the_end_of_what_is_too_long() -> None:
    assert words.block("a\r\n\tb\x1b[2Jc\n", 100) == "a\n\tbc\n"
    assert words.block("x" * 50 + "the end", 10) == "xxxthe end"


@given(st.text(), st.sampled_from((words.line, words.block)))
def test_whatever_comes_is_printable_and_short(text: str, clean: Callable[[str, int], str]) -> None:
    found = clean(text, 20)
    assert len(found) <= 20
    assert all(c in "\n\t" or c.isprintable() for c in found)
    found.encode()


@pytest.mark.parametrize("said", ["nan", "inf", "-inf", "-0.1", "1e308", "", "x", "9" * 400])
def test_no_number(said: str) -> None:
    assert words.number(said) is None


def test_numbers() -> None:
    assert words.number("12.5") == 12.5
    assert words.number("0") == 0.0
    assert words.number("61", most=60) is None


def test_cells_are_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("HOST", "MEANING"), [("lab1", "[red]x[/red] \x1b[2J[link=file:///]y[/link]\nz")])
    assert capsys.readouterr().out.splitlines() == [
        "HOST  MEANING",
        f"lab1  [red]x[/red] [link=file:///]y[/link]{BAD}z",
    ]
    assert plain("a\x1b[31mb\nc") == f"ab{BAD}c"


def test_columns_stand_below_each_other_whatever_the_script(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("A", "B"), [("東京", "x"), ("e\N{COMBINING ACUTE ACCENT}", "y"), ("", "z")])
    assert capsys.readouterr().out.splitlines() == [
        "A     B",
        "東京  x",
        "e\N{COMBINING ACUTE ACCENT}     y",
        "      z",
    ]


def test_a_cell_without_end_disturbs_its_own_row_only(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "B"), [("x" * 3000, "y"), ("x", "y")])
    head, long, short = capsys.readouterr().out.splitlines()
    assert long == "x" * 3000 + "  y"
    assert len(head) == len(short) == 103
