"""The shell scripts of initrd and agent as text, for tests that hold them to definitions."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "src/storeboot/initrd/scripts"
# Each says `SOURCE=agent`, or is only called from one that does.
OF_AGENT = frozenset({"agent.sh", "common.sh", "native.sh", "report.sh", "units.sh"})
_LOOP = re.compile(r"^( *)for (\w+) in ([\w. -]+); do\n(.*?)^\1done$", re.MULTILINE | re.DOTALL)


def code(*names: str) -> str:
    """Return these scripts, or all, without comments and with loops over plain words unrolled."""
    paths = [SCRIPTS / name for name in names] or sorted(SCRIPTS.iterdir())
    text = "".join(path.read_text() for path in paths)
    text = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return _LOOP.sub(_unrolled, text)


def _unrolled(loop: re.Match[str]) -> str:
    _, variable, words, body = loop.groups()
    return "".join(re.sub(rf"\${{?{variable}\b}}?", word, body) for word in words.split())


def function(name: str, *scripts: str) -> str:
    """Return the body of a function."""
    found = re.findall(rf"^{name}\(\) {{\n(.*?)^}}$", code(*scripts), re.MULTILINE | re.DOTALL)
    (body,) = found
    return str(body)


def cases(body: str) -> set[str]:
    """Return the patterns of the case statements in a function, without the one for all else."""
    found = re.findall(r"^ *([\w| \\*-]+)\)(?: |$)", body, re.MULTILINE)
    return {word for patterns in found for word in re.split(r" \| ", patterns)} - {"*"}


def commands(name: str, text: str) -> set[str]:
    """Return the first words that a command is given, where they are plain."""
    found = re.findall(
        rf"(?:^|[;&|(]|\b(?:then|do|else|insist)\b) *{name} \"?([a-z][\w-]*)", text, re.M
    )
    return set(found)


def facts() -> tuple[set[str], set[str]]:
    """Return the names of facts that are read, and of those that the scripts themselves set."""
    read, written = set[str](), set[str]()
    for name, value in re.findall(r"\bfact \"?([a-z]\w*)\"?( [\"'\w$])?", code()):
        (written if value else read).add(name)
    return read, written


def lines(text: str) -> set[str]:
    """Return the names of `name=value` lines that echo makes."""
    return set(re.findall(r"\becho \"([a-z_]+)=", text))
