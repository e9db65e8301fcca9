"""Turns .deb files into trees that can be store paths."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from storeboot.errors import CommandError
from storeboot.initrd.busybox import applets
from storeboot.process import LONG, run
from storeboot.vm.demo.locking import locked
from storeboot.vm.demo.packages import BUSYBOX

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
_KEPT = frozenset({"usr", "etc"})
_STRIPPED = (
    *(
        f"usr/share/{name}"
        for name in (
            "doc", "doc-base", "man", "locale", "info", "lintian", "bug", "bash-completion", "zsh",
            "fish", "icons", "pixmaps", "applications", "menu", "gcc", "gdb", "metainfo",
            "polkit-1", "initramfs-tools", "apport", "common-licenses", "vim",
        )
    ),
    "usr/include",
    "usr/lib/udev/hwdb.d",
    "usr/lib/x86_64-linux-gnu/gconv",
    *(
        f"etc/{name}"
        for name in ("init.d", "kernel", "runit", "sv", "ufw", "dpkg", "apt", "initramfs-tools")
    ),
    *(f"etc/rc{level}.d" for level in "0123456S"),
)  # fmt: skip
# Trees are kept between runs, but not if the rules in this file have changed.
_RULES = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Tree:
    """A directory, and the name that it gets in the store."""

    name: str
    path: Path


@dataclass(frozen=True)
class Trees:
    """Everything that is made from a suite's packages."""

    packages: tuple[Tree, ...]
    busybox: Tree
    kernel: Tree
    modules: Tree
    kernel_version: str

    def with_kernel(self, version: str, image: Path, modules: Path) -> Trees:
        """Return the trees with another kernel, for which they need not be unpacked again."""
        into = self.kernel.path.parent
        kernel = Tree(f"linux-{version}", into / f"linux-{version}")
        tree = Tree(f"linux-{version}-modules", into / f"linux-{version}-modules")
        with locked(into):
            if not kernel.path.exists():
                kernel.path.mkdir()
                shutil.copy2(image, kernel.path / "bzImage")
            if not tree.path.exists():
                _copy_modules(modules, version, tree.path)
        return replace(self, kernel=kernel, modules=tree, kernel_version=version)


def unpack(debs: Iterable[Path], into: Path) -> Trees:
    """Extract packages, one tree each; keep trees that exist already."""
    into = into / _RULES
    into.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        trees = list(pool.map(lambda deb: _unpack_one(deb, into), sorted(debs)))
    kernel_tree = _only(trees, lambda tree: bool(list(tree.path.glob("usr/lib/modules/*"))))
    busybox_tree = _only(trees, lambda tree: tree.name.startswith(f"{BUSYBOX}-"))
    kernel, modules = split_kernel(kernel_tree, into)
    special = {kernel_tree.name, busybox_tree.name}
    return Trees(
        packages=tuple(t for t in trees if t.name not in special and any(t.path.iterdir())),
        busybox=make_busybox(busybox_tree, into),
        kernel=kernel,
        modules=modules,
        kernel_version=kernel.name.removeprefix("linux-"),
    )


def store_name(filename: str) -> str:
    """Return `<package>-<version>` with characters that Nix allows."""
    package, version, _ = filename.replace("%3a", "-").split("_", 2)
    return re.sub(r"[^A-Za-z0-9+._?=-]", "-", f"{package}-{version}")


def _only(trees: list[Tree], wanted: Callable[[Tree], bool]) -> Tree:
    found = [tree for tree in trees if wanted(tree)]
    if len(found) != 1:
        raise CommandError(f"expected one such package, found {[tree.name for tree in found]}")
    return found[0]


def _unpack_one(deb: Path, into: Path) -> Tree:
    tree = Tree(store_name(deb.name), into / store_name(deb.name))
    if tree.path.exists():
        return tree
    partial = into / f".{tree.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    run(["dpkg-deb", "-x", deb, partial], seconds=LONG)
    _clean(partial)
    partial.rename(tree.path)
    return tree


def _clean(root: Path) -> None:
    merge_usr(root)
    for image in root.glob("boot/vmlinuz-*"):
        image.rename(root / "usr" / "vmlinuz")
    for name in _STRIPPED:
        shutil.rmtree(root / name, ignore_errors=True)
    for entry in root.iterdir():
        if entry.name not in _KEPT:
            shutil.rmtree(entry)
    plain_modes(root)


def merge_usr(root: Path) -> None:
    """Move /bin, /sbin, /lib and /lib64 under /usr."""
    for name in _MERGED:
        old = root / name
        if old.is_symlink():
            old.unlink()
        elif old.is_dir():
            merge_tree(old, root / "usr" / name)


def merge_tree(source: Path, target: Path) -> None:
    """Move a directory's entries into another, where directories may exist already."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        goal = target / entry.name
        if entry.is_dir() and not entry.is_symlink() and goal.is_dir():
            merge_tree(entry, goal)
        elif not goal.exists():
            entry.rename(goal)
        else:
            entry.unlink()
    source.rmdir()


def plain_modes(root: Path) -> None:
    """Reduce modes to what a store keeps: executable or not, and no setuid bits."""
    for path in [root, *root.rglob("*")]:
        if path.is_symlink():
            continue
        executable = path.is_dir() or path.stat().st_mode & 0o111
        path.chmod(0o755 if executable else 0o644)


def split_kernel(tree: Tree, into: Path) -> tuple[Tree, Tree]:
    """Split kernel image and modules into two trees, the modules with depmod's indexes."""
    version = next(tree.path.glob("usr/lib/modules/*")).name
    kernel = Tree(f"linux-{version}", into / f"linux-{version}")
    modules = Tree(f"linux-{version}-modules", into / f"linux-{version}-modules")
    if not kernel.path.exists():
        kernel.path.mkdir()
        shutil.copy2(tree.path / "usr" / "vmlinuz", kernel.path / "bzImage")
    if not modules.path.exists():
        _copy_modules(tree.path / "usr" / "lib" / "modules" / version, version, modules.path)
    return kernel, modules


def _copy_modules(source: Path, version: str, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(
        source,
        partial / "lib" / "modules" / version,
        symlinks=True,
        ignore=shutil.ignore_patterns("build", "source"),
    )
    run(["depmod", "-b", partial, version], environment={"LC_ALL": "C"}, seconds=LONG)
    partial.rename(target)


def make_busybox(tree: Tree, into: Path) -> Tree:
    """Give busybox a bin/ with a link for each of its applets."""
    name = tree.name.replace(f"{BUSYBOX}-", "busybox-", 1)
    made = Tree(name, into / name)
    if made.path.exists():
        return made
    partial = into / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "bin").mkdir(parents=True)
    shutil.copy2(tree.path / "usr" / "bin" / "busybox", partial / "bin" / "busybox")
    for applet in sorted(applets(partial / "bin" / "busybox")):
        if applet != "busybox":
            (partial / "bin" / applet).symlink_to("busybox")
    partial.rename(made.path)
    return made
