"""What iPXE makes of a script, by its own rules, as a second opinion.

src/image/script.c (process_script), src/core/exec.c (split_command, command_terminator,
expand_tokens, concat_args), src/core/settings.c (expand_settings).
"""

from __future__ import annotations

import re

SETTINGS = {"netX/mac:hexhyp": "52-54-00-00-00-01", "net0/mac": "52:54:00:00:00:01"}


def commands(line: str) -> list[list[str]]:
    """Return the commands of a line, each with its words as the command gets them."""
    found: list[list[str]] = [[]]
    for word in re.split("[ \t\n\v\f\r]+", line.strip(" \t\n\v\f\r")):
        if word.startswith("#"):
            break
        if word in ("||", "&&", ";"):
            found.append([])
        elif word:
            found[-1].append(_expanded(word))
    return [command for command in found if command]


def _expanded(word: str) -> str:
    while True:
        start = -1
        for at, character in enumerate(word):
            if word[at : at + 2] == "${":
                start = at
            if start >= 0 and character == "}":
                word = word[:start] + SETTINGS.get(word[start + 2 : at], "") + word[at + 1 :]
                break
        else:
            return word


def script_commands(script: str) -> list[list[str]]:
    """Return all commands of a script, without labels."""
    lines = re.sub(r"\\\r?\n", "", script).splitlines()
    assert lines[0] == "#!ipxe"
    return [command for line in lines[1:] if not line.startswith(":") for command in commands(line)]


def kernel_line(script: str) -> str:
    """Return the command line that the script's kernel gets: words joined by single blanks."""
    (kernel,) = (each for each in script_commands(script) if each[0] == "kernel")
    return " ".join(kernel[2:])
