"""Toplevels as NixOS writes them, to be spoilt."""

from __future__ import annotations

import json
from pathlib import Path

from storeboot.findings import Finding, find
from storeboot.nix import rules, toplevel
from storeboot.nix.store import Store, StorePath
from storeboot.nix.system import System, read_system

TOP = "/nix/store/" + "0" * 32 + "-nixos-system-lab1-26.05"
BOOTSPEC = {
    "kernelParams": ["loglevel=4", "root=fstab"],
    "label": "NixOS 26.05",
    "init": TOP + "/init",
}


class Toplevel:
    """A toplevel that is right, to be spoilt."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.path = self.store.directory / StorePath(TOP).base_name
        modules = self.path / "kernel-modules" / "lib" / "modules" / "6.12.1"
        modules.mkdir(parents=True)
        (modules / "modules.dep").write_text("")
        (self.path / "etc").mkdir()
        self.write("init", "#!/nix/store/x/bin/sh\n")
        self.write("kernel", "")
        self.write("boot.json", json.dumps({"org.nixos.bootspec.v1": BOOTSPEC}))

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def read(self) -> System:
        return read_system(self.store, StorePath(TOP))

    def findings(self) -> tuple[Finding, ...]:
        """Return what the rules find, errors included."""
        return find(rules.RULES, toplevel.Toplevel(self.store, StorePath(TOP)))
