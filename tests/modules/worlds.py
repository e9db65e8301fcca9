"""NixOS modules evaluated: in the stand-in, and in nixpkgs where one is given."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
NIXPKGS = os.environ.get("STOREBOOT_NIXPKGS")  # a checkout; `make test-nixpkgs` sets it
Stage1 = Literal["scripted", "systemd"]
# The document that storeboot began with, as it stands.
SEED = """
  boot.initrd.supportedFilesystems = [ "nfs" "nfsv4" "overlay" ];
  boot.initrd.availableKernelModules = [ "nfs" "nfsv4" "overlay" ];
  fileSystems."/" = { device = "tmpfs"; fsType = "tmpfs"; options = [ "size=2G" ]; };
  fileSystems."/nix/.rw-store" = {
    fsType = "tmpfs"; options = [ "mode=0755" "size=8G" ]; neededForBoot = true;
  };
  fileSystems."/nix/.ro-store" = {
    fsType = "nfs4"; device = "%(server)s:nixstore"; options = [ "ro" ]; neededForBoot = true;
  };
  fileSystems."/nix/store" = {
    fsType = "overlay"; device = "overlay";
    options = [
      "lowerdir=/nix/.ro-store" "upperdir=/nix/.rw-store/store" "workdir=/nix/.rw-store/work"
    ];
    depends = [ "/nix/.ro-store" "/nix/.rw-store/store" "/nix/.rw-store/work" ];
  };
  boot.initrd.network.enable = true;
  networking.useDHCP = true;
"""


class EvaluationError(Exception):
    """What Nix says."""


def nix(expression: str) -> Any:
    """A value, evaluated whole."""
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "-E", expression]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EvaluationError(done.stderr)
    return json.loads(done.stdout)


@dataclass(frozen=True, slots=True)
class World:
    """Where modules are evaluated."""

    stage1: Stage1
    nixpkgs: str | None

    def __call__(self, module: str) -> dict[str, Any]:
        """What comes of storeboot's modules with one more, whose text is given."""
        place = f"nixpkgs = {self.nixpkgs};" if self.nixpkgs else ""
        found: dict[str, Any] = nix(
            f"import {HERE}/evaluate.nix {{ module = {{ lib, ... }}: {{ {module} }}; "
            f'stage1 = "{self.stage1}"; {place} }}'
        )
        return found

    def fault(self, module: str) -> str:
        """What an evaluation says that must fail."""
        try:
            self(module)
        except EvaluationError as error:
            return str(error)
        raise AssertionError(f"evaluates: {module}")


def complaints(found: dict[str, Any]) -> list[str]:
    """Assertions of ours that do not hold; NixOS has others."""
    return [message for message in found["failed"] if "storeboot" in message]
