"""Which modules a kernel's initrd gets for the network, in the order of their names; or why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.errors import UnbootableError
from storeboot.initrd import modprobe
from storeboot.initrd.facter import devices
from storeboot.initrd.module_tree import module_name
from storeboot.initrd.modules import Needs, needed
from unit.kernel_modules import Kernel, Module


def judge(case: dict[str, Any], directory: Path) -> str:
    made = [
        Module(
            each["file"],
            tuple(each.get("imports", ())),
            tuple(each.get("aliases", ())),
            tuple(each.get("needs", ())),
        )
        for each in case.get("module", ())
    ]
    (directory / "facter.json").write_text(case.get("facter", ""))
    own = modprobe.parse([case.get("modprobe", "")], case.get("kernel_params", ()))
    try:
        tree = Kernel(directory / "6.12.1", made, more=case.get("lists", {})).tree()
        known = devices(directory / "facter.json") if "facter" in case else ()
        files = needed(tree, Needs(tuple(case.get("drivers", ())), devices=known), "it", own)
    except UnbootableError as error:
        return error.message.replace(str(directory), "…")
    return "\n".join(sorted(map(module_name, files)))
