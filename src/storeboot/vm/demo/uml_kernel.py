"""User-mode kernels from Debian's packages, prepared to run on this host."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from storeboot.errors import CommandError
from storeboot.process import run
from storeboot.vm.demo.debian import fetch
from storeboot.vm.demo.locking import locked
from storeboot.vm.demo.packages import Suite

_PACKAGE = "user-mode-linux"
_INTERPRETER = b"/lib64/ld-linux-x86-64.so.2\0"
_OWN_INTERPRETER = b"./ld.so\0"
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_PRELOAD = Path(__file__).with_name("uml_preload.c")
_INSTALL_TCC = "install tcc (on Debian: apt-get install tcc)"
# Trees are kept between runs, but not if what is made from the packages has changed.
_RULES = hashlib.sha256(Path(__file__).read_bytes() + _PRELOAD.read_bytes()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class UmlKernel:
    """A kernel that is a program, the libraries that it needs, and its modules."""

    version: str
    program: Path
    libraries: Path
    preload: Path  # a library to load before the others
    modules: Path  # lib/modules/<version>


def uml_kernel(directory: Path, suite: Suite) -> UmlKernel:
    """Download and unpack the user-mode kernel of a suite, unless it exists already.

    The program of a newer suite needs a newer C library than the host's, so it gets its own
    suite's.
    """
    work = directory / "uml" / suite
    tree = work / _RULES
    with locked(work):
        if not tree.exists():
            _make(fetch([_PACKAGE], suite, work), work, tree)
    modules = next((tree / "usr" / "lib" / "uml" / "modules").iterdir())
    return UmlKernel(
        version=modules.name,
        program=tree / "linux",
        libraries=tree / _LIBRARIES,
        preload=tree / "preload.so",
        modules=modules,
    )


def _make(debs: list[Path], work: Path, tree: Path) -> None:
    """Unpack the packages; `tree` gets its name when it is complete."""
    partial = work / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    for deb in debs:
        run(["dpkg-deb", "-x", deb, partial])
    program = (partial / "usr" / "bin" / "linux.uml").read_bytes()
    if program.count(_INTERPRETER) != 1:
        raise CommandError(f"linux.uml of {work.name} is not the program that was expected")
    own = _OWN_INTERPRETER.ljust(len(_INTERPRETER), b"\0")
    (partial / "linux").write_bytes(program.replace(_INTERPRETER, own))
    (partial / "linux").chmod(0o755)
    if (partial / "lib").is_dir() and not (partial / "lib").is_symlink():  # bookworm's packages
        shutil.copytree(partial / "lib", partial / "usr" / "lib", symlinks=True, dirs_exist_ok=True)
    (partial / "ld.so").symlink_to(_LIBRARIES / "ld-linux-x86-64.so.2")
    run(
        ["tcc", "-nostdlib", "-shared", "-o", partial / "preload.so", _PRELOAD],
        hint=_INSTALL_TCC,
    )
    partial.rename(tree)
