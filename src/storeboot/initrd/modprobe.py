"""What a system's own configuration says about loading modules: modprobe.d(5).

NixOS writes it from boot.extraModprobeConfig, boot.blacklistedKernelModules and
boot.kernelParams. The initrd obeys it as the system would.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from storeboot.initrd.module_tree import Soft, canonical, soft_dependencies

# Commands that are given instead of a module so that it is never loaded.
_NOTHING = re.compile(r"(?:\S*/)?(?:true|false|:|exit(?:\s+\d+)?)\s*")
_BLACKLIST = ("modprobe.blacklist", "module_blacklist")


@dataclass(frozen=True, slots=True)
class Modprobe:
    """The configuration, with names as the kernel has them."""

    options: tuple[tuple[str, str], ...] = ()  # module, parameters
    aliases: tuple[tuple[str, str], ...] = ()  # pattern, module
    blacklist: frozenset[str] = frozenset()  # never loaded for the sake of a device
    forbidden: Mapping[str, str] = field(
        default_factory=dict
    )  # never loaded; the line that says so
    soft: Soft = field(default_factory=dict)
    before: Soft = field(default_factory=dict)


def parse(texts: Iterable[str], kernel_params: Iterable[str] = ()) -> Modprobe:
    """Parse the files of modprobe.d in the order of their names.

    What an `install` line runs instead of a module cannot run in the initrd: the module is loaded,
    unless the command is one that does nothing.
    """
    options, aliases, soft = [], [], []
    blacklist: set[str] = set()
    forbidden: dict[str, str] = {}
    for line in (line for text in texts for line in _lines(text)):
        word, name, rest = (*line.split(None, 2), "", "")[:3]
        match word:
            case "options" if rest:
                options.append((canonical(name), rest))
            case "alias" if rest and rest != "off":
                aliases.append((name, canonical(rest)))
            case "blacklist" if name:
                blacklist.add(canonical(name))
            case "install" if _NOTHING.fullmatch(rest):
                forbidden[canonical(name)] = line
            case "softdep":
                soft.append(line)
            case _:
                pass
    for param in kernel_params:
        name, equals, value = param.partition("=")
        if equals and name in _BLACKLIST:
            names = [canonical(each) for each in value.split(",") if each]
            blacklist.update(names)
            if name == "module_blacklist":  # the kernel itself refuses these
                forbidden.update((each, param) for each in names)
    softs = soft_dependencies(soft)
    return Modprobe(
        tuple(options), tuple(aliases), frozenset(blacklist), forbidden, softs[0], softs[1]
    )


def _lines(text: str) -> list[str]:
    """Return the lines without comments; a backslash continues a line."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in joined if line.strip() and line.lstrip()[0] != "#"]
