"""Small inputs as they are met outside, each with the verdict that the product has to reach.

A case is a file KIND/NAME.toml. Its `verdict` is text, its `about` says where such an input comes
from; everything else is for the judge of its kind, the module judges/KIND.py, whose
`judge(case, directory)` gives the input to the product and returns the verdict that it reached.
`directory` is empty and writable.
"""

from __future__ import annotations

import importlib
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.toml"))


def _read(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text())


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}-{path.stem}" for path in CASES])
def test_verdict(path: Path, tmp_path: Path) -> None:
    case = _read(path)
    judge = importlib.import_module(f"corpus.judges.{path.parent.name}").judge
    assert judge(case, tmp_path) == str(case["verdict"]).strip("\n")


def test_every_case_says_where_it_comes_from() -> None:
    assert [path.name for path in CASES if not _read(path).get("about")] == []


def test_every_judge_can_say_more_than_one_thing() -> None:
    """A judge that always says the same would be no judge."""
    verdicts = defaultdict(set)
    for path in CASES:
        verdicts[path.parent.name].add(str(_read(path)["verdict"]))
    assert [kind for kind, said in verdicts.items() if len(said) < 2] == []
