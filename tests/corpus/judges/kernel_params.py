"""What the kernel gets of parameters that a host or a system brings, or why they are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ipxe_model import kernel_line
from storeboot.boot.script import boot_script
from storeboot.config import SettingsSection
from storeboot.errors import UnbootableError
from storeboot.nix.toplevel import BOOTSPEC_V1
from unit.toplevels import BOOTSPEC, Toplevel


def judge(case: dict[str, Any], directory: Path) -> str:
    params = tuple(case["params"])
    try:
        if case["by"] == "host":
            params = SettingsSection(kernel_params=params).kernel_params
        else:
            params = _of_system(directory, params)
    except ValidationError as error:
        return "refused: " + error.errors()[0]["msg"].removeprefix("Value error, ")
    except UnbootableError as error:
        return "refused: " + error.message.partition(" cannot boot: ")[2]
    script = boot_script(
        url="http://192.168.1.1:8080", view="v", command_line=" ".join(params), host="lab1"
    )
    return kernel_line(script).rpartition(" BOOTIF=")[0]


def _of_system(directory: Path, params: tuple[str, ...]) -> tuple[str, ...]:
    toplevel = Toplevel(directory)
    spec = {BOOTSPEC_V1: {**BOOTSPEC, "kernelParams": params}}
    toplevel.write("boot.json", json.dumps(spec))
    return toplevel.read().kernel_params
