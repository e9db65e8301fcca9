"""What is guessed of a system that never booted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from integration.stores import add
from storeboot.nix.store import Store, StorePath
from storeboot.pack.guess import guess


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


def made(store: Store, place: Path, files: dict[str, str], links: dict[str, str]) -> StorePath:
    for name, text in files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    for name, target in links.items():
        link = place / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return add(store, place)


def test_units_name_programs_and_programs_name_libraries(store: Store, tmp_path: Path) -> None:
    libraries = tmp_path / "libc-1"
    (libraries / "lib").mkdir(parents=True)
    (libraries / "lib" / "libc.so.6").write_text("a library")
    (libraries / "lib" / "libother.so.1").write_text("of nobody")
    libc = add(store, libraries)
    tools = tmp_path / "tools-1"
    (tools / "bin").mkdir(parents=True)
    shutil.copy("/bin/true", tools / "bin" / "tool")  # an ELF file that needs libc.so.6
    shutil.copy("/bin/false", tools / "bin" / "unused")
    tool = add(store, tools)
    script = made(
        store, tmp_path / "script-1", {"start": f"#!/bin/sh\nexec {tool}/bin/tool --loop\n"}, {}
    )
    unit = f"[Service]\nExecStart={script}/start\n"
    toplevel = made(
        store,
        tmp_path / "system-1",
        {"init": "#!/bin/sh\n", "etc/systemd/system/a.service": unit, "etc/hosts": "127.0.0.1\n"},
        {"etc/systemd/system/multi-user.target.wants/a.service": "../a.service",
         "etc/loop": ".", "etc/nowhere": "/nix/store/none"},
    )  # fmt: skip
    hot = guess(store, [libc, tool, script, toplevel], [toplevel])
    names = {os.fsdecode(path).partition("-")[2] for path in hot.files}
    assert names == {
        "system-1/init", "system-1/etc/hosts", "system-1/etc/systemd/system/a.service",
        "script-1/start", "tools-1/bin/tool", "libc-1/lib/libc.so.6",
    }  # fmt: skip


def test_a_program_that_is_no_good_ends_nothing(store: Store, tmp_path: Path) -> None:
    toplevel = made(store, tmp_path / "system-1", {"init": "\x7fELF and no more"}, {})
    assert len(guess(store, [toplevel], [toplevel]).files) == 1
