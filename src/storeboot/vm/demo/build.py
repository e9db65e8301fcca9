"""Builds the demo system with Nix in a chroot store."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from storeboot.nix.store import Store, StorePath
from storeboot.process import LONG, run
from storeboot.vm.demo.debian import fetch
from storeboot.vm.demo.locking import locked
from storeboot.vm.demo.packages import ARCHITECTURES, FOREIGN, PACKAGES, Machine, Suite
from storeboot.vm.demo.uml_kernel import UmlKernel, uml_kernel
from storeboot.vm.demo.unpack import Tree, Trees, unpack

HERE = Path(__file__).with_name("system")
Kind = Literal["demo", "micro"]
Flavour = Literal["systemd", "scripted"]
NetworkManager = Literal["networkd", "NetworkManager", "dhcpcd"]

KERNEL_PARAMS = ("console=ttyS0", "loglevel=4", "root=fstab", "panic=10")
_CONSOLES: dict[Machine, str] = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
# A separate store needs no daemon, no build users and no substituters. The sandbox lets a builder
# see it as /nix/store.
_OPTIONS = (
    ("build-users-group", ""),
    ("sandbox", "true"),
    ("sandbox-fallback", "false"),
    ("substituters", ""),
)
_INSTALL_NIX = "install Nix (on Debian: apt-get install nix-bin)"
CHANGED = "openssh-server-"  # the package that differs between editions
LEAST_FILES = {"demo": 5000, "micro": 1000}

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EtcOverlay:
    """What `system.etc.overlay.enable` adds to a toplevel, for the micro system."""

    image: Tree  # EROFS with the metadata
    base: Tree  # directory with the content


@dataclass(frozen=True, slots=True)
class Native:
    """What a system that mounts its own store contains: an initrd, and its agent's units."""

    initrd: Tree
    units: Tree | None = (
        None  # fstab and networks as well; @busybox@ and @agent@ in them are filled in
    )
    agent: Tree | None = None
    stage2: Tree | None = None  # instead of the stand-in; @bash@ and the like are filled in


@dataclass(frozen=True, slots=True)
class DemoSystem:
    """A built system and the store it is in."""

    store: Store
    toplevel: StorePath
    least_files: int  # minimum number of regular files in its closure
    has_nix: bool
    uml: UmlKernel | None = None  # its kernel, if that is a program


def build_demo(
    directory: Path,
    *,
    kind: Kind = "demo",
    flavour: Flavour = "systemd",
    suite: Suite = "trixie",
    network: NetworkManager = "networkd",
    etc_overlay: EtcOverlay | None = None,
    edition: int = 1,
    machine: Machine = "x86_64",
    native: Native | None = None,
    uml: bool = False,
    progress: Progress = lambda _text: None,
) -> DemoSystem:
    """Download, unpack and build below `directory`, except for what exists already.

    The same packages give the same store path. With a higher `edition`, a demo system has one
    package at another store path, as after a small update, and a micro system has another label.
    For another `machine` there is only a micro system. With `uml`, the kernel is the suite's
    user-mode Linux.
    """
    work = directory / suite
    store = Store(directory / "store")
    store.root.mkdir(parents=True, exist_ok=True)
    trees = packages(directory, suite, progress)
    kernel = uml_kernel(directory, suite) if uml else None
    if kernel is not None:
        trees = trees.with_kernel(kernel.version, kernel.program, kernel.modules)
    if machine != "x86_64":
        return _build_foreign(directory, store, trees, suite, machine)
    progress(f"building the {kind} system with Nix in {store.root}")
    if kind == "micro":
        extras = _extras(etc_overlay, native)
        text = _build_micro(store, trees, trees, suite, work, extras, edition)
    else:
        spec = _spec(trees, suite, edition, native)
        text = _instantiate(store, "system.nix", spec.json(), work, flavour, network)
    # User-mode Linux has fewer modules.
    least = LEAST_FILES[kind] - (200 if uml else 0)
    return DemoSystem(store, StorePath.from_arg(text), least, has_nix=kind == "demo", uml=kernel)


def packages(directory: Path, suite: Suite, progress: Progress = lambda _text: None) -> Trees:
    """Download and unpack the packages of a suite's systems."""
    work = directory / suite
    with locked(work):
        progress(f"packages of Debian {suite}")
        debs = fetch(PACKAGES, suite, work)
        progress(f"unpacking {len(debs)} packages")
        return unpack(debs, work / "trees")


@dataclass(frozen=True)
class Spec:
    """What the Nix expression reads: trees by name and place, and a system's own settings."""

    packages: tuple[Tree, ...]
    busybox: Tree
    systemd: Tree
    kernel: Tree
    modules: Tree
    hostname: str
    label: str
    kernelVersion: str  # noqa: N815
    systemdVersion: str  # noqa: N815
    kernelParams: tuple[str, ...]  # noqa: N815
    native: Native | None

    def json(self) -> str:
        """Return the specification as JSON, for the expression."""
        return json.dumps(asdict(self), default=str, sort_keys=True)


def _extras(etc_overlay: EtcOverlay | None, native: Native | None) -> dict[str, object]:
    """Return what a micro system may contain besides kernel and busybox."""
    return {
        "etcOverlay": asdict(etc_overlay) if etc_overlay else None,
        "native": asdict(native) if native else None,
    }


def _spec(trees: Trees, suite: Suite, edition: int, native: Native | None) -> Spec:
    """Describe a system made of a suite's packages."""
    package = next(tree for tree in trees.packages if re.match(r"systemd-\d", tree.name))
    version = package.name.removeprefix("systemd-").split("-")[0]
    return Spec(
        packages=tuple(_edited(tree, edition) for tree in trees.packages),
        busybox=trees.busybox,
        systemd=Tree(f"systemd-{version}-usr", package.path / "usr"),
        kernel=trees.kernel,
        modules=trees.modules,
        hostname="demo",
        label=f"{suite}-{version}" + (f"-{edition}" if edition > 1 else ""),
        kernelVersion=trees.kernel_version,
        systemdVersion=version,
        kernelParams=KERNEL_PARAMS,
        native=native,
    )


def _edited(tree: Tree, edition: int) -> Tree:
    """Return the tree with the changed name that it has in later editions, if it has one."""
    changed = edition > 1 and tree.name.startswith(CHANGED)
    return Tree(f"{tree.name}-{edition}", tree.path) if changed else tree


def _build_foreign(
    directory: Path, store: Store, builders: Trees, suite: Suite, machine: Machine
) -> DemoSystem:
    """Build a micro system for another processor, with programs of this one."""
    work = directory / f"{suite}-{machine}"
    with locked(work):
        debs = fetch(FOREIGN[machine], suite, work, ARCHITECTURES[machine])
        trees = unpack(debs, work / "trees")
    text = _build_micro(store, trees, builders, suite, work, _extras(None, None), 1, machine)
    return DemoSystem(store, StorePath.from_arg(text), LEAST_FILES["micro"], has_nix=False)


def _build_micro(
    store: Store,
    trees: Trees,
    builders: Trees,
    suite: Suite,
    work: Path,
    extras: dict[str, object],
    edition: int,
    machine: Machine = "x86_64",
) -> str:
    """Build the micro system, which needs only the kernel and busybox."""
    fields = {
        "busybox": asdict(trees.busybox),
        "builder": asdict(builders.busybox),
        "machine": machine,
        "kernel": asdict(trees.kernel),
        "modules": asdict(trees.modules),
        "hostname": "micro",
        **extras,
        "label": f"{suite}-micro" + (f"-{edition}" if edition > 1 else ""),
        "kernelVersion": trees.kernel_version,
        "kernelParams": (f"console={_CONSOLES[machine]}", *KERNEL_PARAMS[1:]),
    }
    inputs = json.dumps(fields, default=str, sort_keys=True)
    return _instantiate(store, "micro.nix", inputs, work)


def _instantiate(
    store: Store,
    expression: str,
    inputs: str,
    work: Path,
    flavour: Flavour | None = None,
    network: NetworkManager | None = None,
) -> str:
    """Evaluate one of the expressions and build it; return the toplevel's store path."""
    digest = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    file = work / f"inputs-{digest}-{expression}.json"  # other processes build other systems here
    file.write_text(inputs)
    words = ["--argstr", "inputs", str(file)]
    if flavour is not None and network is not None:
        words += ["--argstr", "flavour", flavour, "--argstr", "network", network]
    options = [word for name, value in _OPTIONS for word in ("--option", name, value)]
    common: list[str | Path] = ["--store", str(store.root), *options]
    derivation = _nix(["nix-instantiate", *common, HERE / expression, *words])
    return _nix(["nix-store", *common, "--realise", derivation])


def _nix(argv: list[str | Path]) -> str:
    """Return the last word that a Nix command prints."""
    environment = {"NIX_REMOTE": ""}
    return run(argv, environment=environment, hint=_INSTALL_NIX, seconds=LONG).split()[-1]
