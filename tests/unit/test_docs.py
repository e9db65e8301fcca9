"""What the documents say, held against the code."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from bench import picture

from storeboot.config import Config
from storeboot.nfs.status import Status
from storeboot.nfs.v4.constants import Op
from storeboot.nfs.v4.operations import OPERATIONS
from storeboot.process import run
from unit import test_v4

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/reference/storeboot.example.toml"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_the_reference_is_what_the_code_has() -> None:
    run([sys.executable, ROOT / "scripts/reference", "--check"], hint="run scripts/reference")


def test_the_example_names_every_section_and_setting() -> None:
    text = EXAMPLE.read_text()
    document = tomllib.loads(text)
    assert set(document) == set(Config.model_fields)
    for section in Config.model_json_schema()["$defs"].values():
        for name in section["properties"]:
            assert re.search(rf"^#? ?{name} = ", text, re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_commands_of_the_readme_are_targets() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    wanted = re.findall(r"^    make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert wanted
    assert set(wanted) <= set(targets)


def test_what_pynfs_fails_is_what_the_dispatch_table_refuses() -> None:
    """Whoever makes an operation work has to take its tests off the page."""
    rows = re.findall(r"^\| ([A-Z]+) \|", (ROOT / "docs/reference/pynfs.md").read_text(), re.M)
    assert rows == ["OPEN", "CREATE"]
    assert OPERATIONS[Op.CREATE].refusal == Status.ROFS
    refused = test_v4.after_walk(then=test_v4.open_arguments(1, b"new", create=True))
    assert refused.status == Status.ROFS


def test_no_file_is_too_long_to_have_one_idea() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    assert len(sources) > 100
    assert {path.name for path in sources if len(path.read_text().splitlines()) > 600} == set()


def test_the_readme_shows_what_was_measured() -> None:
    """`python -m bench.picture` after a benchmark."""
    rows = picture.read()
    assert picture.with_tables(picture.README.read_text(), rows) == picture.README.read_text()
    assert picture.PICTURE.read_text() == picture.picture(rows)


def test_every_promise_has_a_test() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    named = re.findall(r"`([a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", text)
    rows = re.findall(r"^\| .* \|$", text, re.MULTILINE)
    assert len(rows) - 2 == len(named)  # but for the two heads
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), (file, name)
    injected = text.partition("## Failures that the tests inject")[2]
    assert len(re.findall(r"`[a-z0-9_/]+\.py::", injected)) >= 32
