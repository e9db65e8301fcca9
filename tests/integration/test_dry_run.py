"""`deploy --dry-run` says what the deployment would say, and writes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from integration.deploying import WAIT, make_system, storeboot
from integration.stores import add, toplevel_tree
from integration.test_cli import fails
from storeboot.config import Config
from storeboot.nix.store import Store, StorePath
from storeboot.process import run


def contents(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and the time of its last change."""
    return {
        str(each.relative_to(directory)): (each.lstat().st_size, each.lstat().st_mtime_ns)
        for each in sorted(directory.rglob("*"))
        if "sqlite" not in each.name  # opening a database is no change of it
    }


def spoilt(config: Config, directory: Path, case: str) -> StorePath:
    """Make a system that a deployment refuses; each case is found by another step."""
    tree = toplevel_tree(directory / case)
    store = Store(config.store.root)
    (tree / "etc").mkdir()
    modules = tree / "kernel-modules/lib/modules/6.12.1"
    match case:
        case "luks":
            (tree / "etc/crypttab").write_text("root /dev/sda1\n")
        case "disk":
            (tree / "etc/fstab").write_text("/dev/sda1 /var ext4 x-initrd.mount\n")
        case "overlay":
            (modules / "modules.builtin").write_text("kernel/fs/nfs.ko\n")
        case "damaged":
            (modules / "modules.dep").write_text("kernel/x.ko:\n")
            (modules / "modules.alias").write_text("alias pci:v0000BEEFd* x\n")
        case "long":
            (tree / "kernel-params").write_text("x=" + "y" * 2100)
        case "invalid":
            place = store.directory / f"{'0' * 32}-nixos-system-invalid"
            store.directory.mkdir(parents=True, exist_ok=True)
            run(["cp", "-r", tree, place])
            return StorePath(f"/nix/store/{place.name}")
        case "missing":
            return StorePath(f"/nix/store/{'0' * 32}-nixos-system-missing")
        case _:
            raise ValueError(case)
    return add(store, tree)


@pytest.mark.parametrize("used", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("luks", "LUKS devices need a local disk"),
        ("disk", "neededForBoot"),
        ("overlay", "no module nfsv3"),
        ("damaged", "modules.dep of 6.12.1 names kernel/x.ko: it does not exist"),
        ("long", "command line"),
        ("invalid", "is not valid in Nix's database"),
        ("missing", "does not exist in the store"),
    ],
)
async def test_it_refuses_what_the_deployment_refuses(
    config: Config, path: Path, tmp_path: Path, case: str, said: str, used: bool
) -> None:
    state = config.server.state_directory
    if used:
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", make_system(config, tmp_path, 1))
    system = await asyncio.to_thread(spoilt, config, tmp_path, case)
    before = contents(state)
    tried = await fails(tmp_path, "deploy", "lab1", system.text, "--dry-run", "-c", str(path))
    assert said in tried
    assert contents(state) == before
    assert state.exists() is used
    done = await fails(tmp_path, "deploy", "lab1", system.text, "-c", str(path))
    assert errors(tried) == errors(done)


def errors(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(("error:", "hint:"))]


async def test_it_writes_nothing_for_a_system_that_boots(
    config: Config, path: Path, tmp_path: Path
) -> None:
    state, system = config.server.state_directory, make_system(config, tmp_path, 1)
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system, "--dry-run")
    assert not state.exists()


async def test_a_test_needs_a_server(config: Config, path: Path, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    for dry in (["--dry-run"], []):
        said = await fails(tmp_path, "deploy", "lab1", system.text, "--test", *dry, "-c", str(path))
        assert "error: no server is running" in said


async def test_it_knows_holds_and_missing_fallbacks(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    for words in (("--test", WAIT), ("--test", WAIT, "--dry-run")):
        said = await fails(tmp_path, "deploy", "lab1", system.text, *words, "-c", str(path))
        assert "has no generation to fall back to" in said
    await asyncio.to_thread(storeboot, path, "hold", "lab1")
    for dry in (["--dry-run"], []):
        said = await fails(tmp_path, "deploy", "lab1", system.text, *dry, "-c", str(path))
        assert "held" in said
