"""Draws results.json as the picture and the tables of the README: `python -m bench.picture`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.rows import RESULTS

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "boot.svg"
README = ROOT / "README.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
_WIDTH, _LABEL, _BAR, _GAP = 760, 250, 16, 8
_OURS, _THEIRS = "#3b6ea8", "#b9b9b9"
_WAYS = {
    "seed": "NFSv4 `ro` from NFS-Ganesha",
    "seed.ours": "NFSv4 `ro` from storeboot",
    "plain": 'storeboot, `mode = "plain"`',
    "names": "storeboot, a pack of names only",
    "first": "**storeboot, first boot**",
    "second": "**storeboot, second boot**",
    "after_update": "**storeboot, after an update**",
    "squashfs": "closure as squashfs in the initrd",
    "cpio": "closure as cpio in the initrd",
}
_PICTURED = ("seed", "plain", "first", "second", "after_update")

Rows = dict[str, dict[str, Any]]


def read() -> Rows:
    return {row["id"]: row for row in json.loads(RESULTS.read_text())["rows"]}


def table(rows: Rows) -> str:
    """Return a Markdown table of what crosses the wire and what stays in memory, by way."""
    lines = [
        "| how the store gets to the machine | round trips | over NFS | over HTTP | memory |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, words in _WAYS.items():
        row = rows[f"boot.rpcs.{name}"]
        detail = row["detail"]
        sizes = (detail["nfs_bytes"], detail["image_bytes"], detail["held"])
        cells = (f"{size / 1e6:.1f} MB" if size else "–" for size in sizes)
        lines.append(f"| {words} | {row['value']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def times(rows: Rows) -> str:
    """Return a Markdown table of seconds by round-trip time."""
    heads = (
        "added round trip", "NFSv4 `ro` from NFS-Ganesha", "storeboot, second boot",
        "closure as squashfs in the initrd",
    )  # fmt: skip
    lines = [
        f"| {' | '.join(heads)} |",
        "|---|--:|--:|--:|",
    ]
    for milliseconds in (0, 1, 5):
        row = rows[f"boot.time.vs_seed.{milliseconds}ms"]
        ram = rows.get(f"boot.time.vs_ram.{milliseconds}ms")
        cells = [row["detail"]["theirs"], row["detail"]["ours"]]
        cells += [ram["detail"]["theirs"]] if ram else []
        words = [f"{statistics.median(cell):.1f} s" for cell in cells] + ([] if ram else ["–"])
        lines.append(f"| {milliseconds} ms | {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def picture(rows: Rows) -> str:
    """Return two groups of bars: round trips of a boot, and seconds with longer and longer wires."""
    trips = [
        (_plain(_WAYS[name]), float(rows[f"boot.rpcs.{name}"]["value"]), name in ("first", "second",
         "after_update"), "")
        for name in _PICTURED
    ]  # fmt: skip
    seconds = []
    for milliseconds in (0, 1, 5):
        detail = rows[f"boot.time.vs_seed.{milliseconds}ms"]["detail"]
        for who, side in (("NFSv4 `ro`", "theirs"), ("storeboot", "ours")):
            label = f"{_plain(who)}, {milliseconds} ms added"
            seconds.append((label, statistics.median(detail[side]), side == "ours", " s"))
    body = [*_group("Round trips until the machine is up", trips, 0)]
    top = 40 + len(trips) * (_BAR + _GAP) + 20
    body += _group("Seconds from the mounted store until it is up", seconds, top)
    height = top + 40 + len(seconds) * (_BAR + _GAP)
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">')  # fmt: skip
    ground = f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, ground, *body, "</svg>"]) + "\n"


def _group(title: str, bars: list[tuple[str, float, bool, str]], top: int) -> Iterator[str]:
    yield f'<text x="0" y="{top + 20}" font-weight="bold">{escape(title)}</text>'
    most = max(value for _, value, _, _ in bars)
    for place, (label, value, ours, unit) in enumerate(bars):
        y = top + 34 + place * (_BAR + _GAP)
        length = max(2, round((_WIDTH - _LABEL - 80) * value / most))
        text = f"{value:,.1f}" if unit else f"{value:,.0f}"
        yield f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
        yield (f'<rect x="{_LABEL}" y="{y}" width="{length}" height="{_BAR}" '
               f'fill="{_OURS if ours else _THEIRS}"/>')  # fmt: skip
        yield f'<text x="{_LABEL + length + 6}" y="{y + 13}">{text}{unit}</text>'


def _plain(markdown: str) -> str:
    return markdown.replace("*", "").replace("`", "")


def with_tables(readme: str, rows: Rows) -> str:
    """Return the README with new tables between its marks."""
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table(rows)}\n{times(rows)}\n{END}{after}"


def main() -> None:
    rows = read()
    PICTURE.write_text(picture(rows))
    README.write_text(with_tables(README.read_text(), rows))


if __name__ == "__main__":
    main()
