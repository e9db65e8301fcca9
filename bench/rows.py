"""Defines the rows of results, and writes them to their file."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number; `id` names what is measured, dot by dot."""

    id: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    target: float | None
    against: str
    spread: tuple[float, float]
    detail: Mapping[str, object]

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        higher = self.better == "higher"
        return self.value >= self.target if higher else self.value <= self.target


def ratio(
    identity: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    target: float | None,
    against: str,
    inverse: bool = False,
    **detail: object,
) -> Row:
    """Return our side divided by theirs, pair by pair: the median and the range.

    `inverse` is for what is spent, such as seconds: theirs over ours, so that more is better.
    """
    pairs = sorted(b / a if inverse else a / b for a, b in zip(ours, theirs, strict=True))
    sides = {"ours": _rounded(ours), "theirs": _rounded(theirs)}
    spread = (round(pairs[0], 3), round(pairs[-1], 3))
    value = round(statistics.median(pairs), 3)
    return Row(identity, value, "×", "higher", target, against, spread, {**sides, **detail})


def share(
    identity: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    target: float | None,
    against: str,
    **detail: object,
) -> Row:
    """Return what we spend divided by what they spend, pair by pair: less is better."""
    pairs = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    sides = {"ours": _rounded(ours), "theirs": _rounded(theirs)}
    spread = (round(pairs[0], 3), round(pairs[-1], 3))
    value = round(statistics.median(pairs), 3)
    return Row(identity, value, "×", "lower", target, against, spread, {**sides, **detail})


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def write(rows: Sequence[Row]) -> None:
    """Write rows to the file; keep those of other groups, which were measured earlier."""
    kept: dict[str, object] = {}
    if RESULTS.exists():
        kept = {row["id"]: row for row in json.loads(RESULTS.read_text())["rows"]}
    kept |= {row.id: asdict(row) for row in rows}
    document = {"machine": _machine(), "rows": [kept[name] for name in sorted(kept)]}
    RESULTS.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _machine() -> str:
    models = [
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = f"{len(models)} × {models[0] if models else platform.machine()}"
    return f"{processor}, Linux {platform.release()}, Python {platform.python_version()}"
