"""The reference page of what server and machine say to each other, from its definitions."""

from __future__ import annotations

from collections.abc import Iterable

from storeboot.protocol.fields import AnswerField, BeginField, NextField
from storeboot.protocol.mounting import Option, mount_options
from storeboot.protocol.orders import Order
from storeboot.protocol.parameters import Parameter
from storeboot.protocol.reports import ReportFact, ReportPart
from storeboot.protocol.stages import Source, Stage
from storeboot.protocol.units import EVENTS, UNITS, AgentEvent
from storeboot.protocol.word import Word

ADDRESS, PORT = "192.0.2.1", 2049  # RFC 5737, for documents


def page() -> str:
    """Return the page as Markdown."""
    parts = [
        "# Protocol",
        "",
        "What the server and a machine say to each other besides NFS: words and lines of",
        "`name=value` over HTTP, so that busybox can speak it. Running machines keep the scripts",
        "that they booted with, so a word never changes its meaning.",
        "",
        "## Stages",
        "",
        "What `storeboot timeline` shows. `/boots/BOOT/events` takes a stage from a machine.",
        "",
        "| stage | meaning | noticed by |",
        "|---|---|---|",
        *(f"| `{each}` | {each.meaning} | {_several(each.sources)} |" for each in Stage),
        "",
        *_table("noticed by", Source),
        "## Kernel command line",
        "",
        "Reserved parameters cannot be given in `kernel_params`.",
        "",
        "| parameter | meaning | reserved |",
        "|---|---|---|",
        *(
            f"| `{each}` | {each.meaning} | {'yes' if each.reserved else 'no'} |"
            for each in Parameter
        ),
        "",
        "## A boot begins: `POST /boots`",
        "",
        *_table("field of the request", BeginField),
        *_table("field of the answer", AnswerField),
        "Besides, the answer has what the machine must know of its host's settings, by their names",
        "in the [configuration](configuration.md).",
        "",
        "## Orders: `POST /boots/BOOT/heartbeat`",
        "",
        "The answer is one of these words, or nothing.",
        "",
        *_table("order", Order),
        "## What comes next: `GET /boots/BOOT/next`",
        "",
        *_table("field of the answer", NextField),
        "## Reports: `POST /boots/BOOT/reports/PART`",
        "",
        *_table("part", ReportPart),
        *_table("line of `facts`", ReportFact),
        "## NFS mount options",
        "",
        "All is said to the kernel itself: neither initrd has a mount helper.",
        "",
        *_table("option", Option),
        *_mounts(),
        "## Units in stage 2",
        "",
        f"They write a line to the FIFO `{EVENTS}`, which the agent reads.",
        "",
        *_table("line", AgentEvent),
        "| service | wanted by | line |",
        "|---|---|---|",
        *(
            f"| `{each.name.removesuffix('.service')}` | `{each.target}` | `{each.line}` |"
            for each in UNITS
        ),
        "",
    ]
    return "\n".join(parts)


def _table(title: str, words: Iterable[Word]) -> list[str]:
    rows = [f"| `{each}` | {each.meaning} |" for each in words]
    return [f"| {title} | meaning |", "|---|---|", *rows, ""]


def _mounts() -> list[str]:
    """The options that depend on server and version."""
    parts = []
    for version in ("3", "4.2"):
        options = mount_options(version, ADDRESS, PORT, "192.0.2.9")[len(Option) :]
        parts += [f"For version {version}, from {ADDRESS} to a machine at 192.0.2.9, besides:", "",
                  f"    {','.join(options)}", ""]  # fmt: skip
    return parts


def _several(sources: Iterable[Source]) -> str:
    return ", ".join(f"`{each}`" for each in sources)
