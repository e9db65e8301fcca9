"""Package, overlay and flake: what they say, in the stand-in; nothing is built."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from modules.worlds import HERE, nix

ROOT = Path(__file__).parents[2]
PKGS = f"(import {HERE}/standin/pkgs.nix)"


@pytest.fixture(scope="module")
def package() -> dict[str, Any]:
    found: dict[str, Any] = nix(
        f"let p = (import {ROOT}/default.nix {{ pkgs = {PKGS}; }}).storeboot; in {{ "
        "inherit (p) pname version makeWrapperArgs postInstall; "
        "dependencies = map (each: each.pname) p.dependencies; main = p.meta.mainProgram; }"
    )
    return found


def test_it_is_this_project(package: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert package["pname"] == package["main"] == project["name"]
    assert package["version"] == project["version"]
    wanted = {each.partition(">=")[0].partition(";")[0] for each in project["dependencies"]}
    assert set(package["dependencies"]) == wanted | {"psycopg"}


def test_it_is_wrapped_with_what_it_runs(package: dict[str, Any]) -> None:
    *words, arguments = package["makeWrapperArgs"]
    assert words == ["--suffix", "PATH", ":"]
    for program in ("nix", "openssh", "squashfs-tools-ng", "dnsmasq", "util-linux"):
        assert f"-{program}/bin" in arguments
    # A static busybox for initrds, and nothing that would hide another program of its name.
    assert "busybox-static" in package["postInstall"]
    assert "-busybox-static/bin" not in arguments


def test_the_overlay_adds_it() -> None:
    expression = f"(import {ROOT}/nix/overlay.nix {PKGS} {{ }}).storeboot.pname"
    assert nix(expression) == "storeboot"


def test_the_flake_has_what_users_look_for() -> None:
    outputs = nix(
        f"let lib = import {HERE}/standin/lib.nix; flake = import {ROOT}/flake.nix; "
        f"pkgs = {PKGS}; "
        "nixpkgs = { inherit lib; legacyPackages = lib.genAttrs "
        '[ "x86_64-linux" "aarch64-linux" ] (_: pkgs); }; '
        "self = flake.outputs { inherit self nixpkgs; }; "
        "names = lib.mapAttrs (_: builtins.attrNames); in { "
        "packages = names self.packages; checks = names self.checks; "
        "shells = names self.devShells; modules = builtins.attrNames self.nixosModules; "
        "overlays = builtins.attrNames self.overlays; }"
    )
    for system in ("aarch64-linux", "x86_64-linux"):
        assert outputs["packages"].pop(system) == ["default", "storeboot"]
        assert outputs["checks"].pop(system) == ["boot", "storeboot"]  # the stand-in is a PC
        assert outputs["shells"].pop(system) == ["default"]
    assert outputs == {
        "packages": {}, "checks": {}, "shells": {},
        "modules": ["client", "server"], "overlays": ["default"],
    }  # fmt: skip


def test_the_machine_test_reads_as_one() -> None:
    """What it does is only known where there is nixpkgs: `nix flake check`."""
    found = nix(
        f"let test = import {ROOT}/nix/tests/boot.nix {{ pkgs = {PKGS}; "
        f"lib = import {HERE}/standin/lib.nix; }}; in {{ inherit (test) name; "
        "nodes = builtins.attrNames test.nodes; script = builtins.isFunction test.testScript "
        "|| builtins.isString test.testScript; }"
    )
    assert found == {"name": "storeboot", "nodes": ["client", "server"], "script": True}
