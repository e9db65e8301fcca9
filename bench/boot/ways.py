"""Defines the ways to give a diskless machine its store, each as a change to the same initrd.

The changes are functions of `initrd/scripts/store.sh`, written anew in an archive that the kernel
unpacks over the initrd's own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storeboot.config import Mode
from storeboot.initrd import cpio
from storeboot.nix.store import Store, StorePath

SCRIPTS = Path(cpio.__file__).with_name("scripts")


@dataclass(frozen=True, slots=True)
class Way:
    """How a machine comes to its store."""

    name: str
    mode: Mode = "plain"
    functions: str = ""  # of store.sh, in place of those with the same names
    archive: Path | None = None  # unpacked over the initrd as well
    no_hot: bool = False  # the pack has names only


PLAIN = Way("plain")  # NFSv3 nocto
NAMES = Way("names", mode="pack", no_hot=True)
PACK = Way("pack", mode="pack")

_SEED = """
probe_nfs() {{
    timeout 10 nc -w 5 "$(fact nfs_server)" "{port}" </dev/null 2>"$SB/nc-error" >/dev/null
}}
mount_nfs() {{
    probe_nfs || return 1
    timeout -s KILL 60 mount -i -t nfs4 \\
        -o "ro,vers={version},addr=$(fact nfs_server),port={port},clientaddr=$(fact ip)" \\
        "$(fact nfs_server):{path}" "$SYSROOT/nix/.ro-store" 2>"$SB/mount-error"
}}
"""
# What every way in RAM has in place of NFS.
_RAM = """
mount_store() {{
    wait "$STORE_MODULES"
    mount -t tmpfs -o mode=0755,size=90% tmpfs "$SYSROOT" || fail "cannot mount a tmpfs as root"
    mkdir -p "$SYSROOT/nix/.ro-store"
    {mount}
}}
"""
_SQUASHFS = """modprobe -a -q loop squashfs
    mount -t squashfs -o ro,loop /nix-store.squashfs "$SYSROOT/nix/.ro-store" || fail "no squashfs"
"""
_CPIO = """mv /nix/store/* "$SYSROOT/nix/.ro-store/" || fail "cannot move the store"
"""


def seed(version: str, port: int | None = None, path: str = "/view/$(fact token)") -> Way:
    """Return the way of NFSv4 with `ro` and nothing else, from our server unless a port is given."""
    own = "$(fact nfs_port)" if port is None else str(port)
    functions = _SEED.format(version=version, port=own, path=path)
    return Way("seed.ours" if port is None else "seed", functions=functions)


def squashfs(store: Store, paths: tuple[str, ...], directory: Path) -> Way:
    """Return the way of a squashfs of the closure in the initrd, as nixpkgs' netboot has it."""
    image = closure_squashfs(store, paths, directory / "nix-store.squashfs")
    archive = directory / "squashfs.cpio"
    with archive.open("wb") as stream:
        for piece in cpio.archive([cpio.regular("nix-store.squashfs", image.read_bytes())]):
            stream.write(piece)
    return Way("squashfs", functions=_RAM.format(mount=_SQUASHFS), archive=archive)


def closure_squashfs(store: Store, paths: tuple[str, ...], image: Path) -> Path:
    """Make the squashfs as nixpkgs does (make-squashfs.nix, netboot.squashfsCompression)."""
    places: list[Path] = [store.directory / StorePath(path).base_name for path in paths]
    argv: list[str | Path] = [
        "mksquashfs", *places, image, "-no-hardlinks", "-keep-as-directory", "-all-root",
        "-b", "1048576", "-comp", "zstd", "-Xcompression-level", "19", "-noappend", "-quiet", "-no-progress",
    ]  # fmt: skip
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return image


def unpacked(store: Store, paths: tuple[str, ...], directory: Path) -> Way:
    """Return the way of a compressed cpio archive of the closure, as nix-netboot-serve has it."""
    archive = directory / "closure.cpio.zst"
    root = store.directory.parents[1]
    names = "".join(f"{name}\0" for name in _names(root, paths))
    script = "cpio --quiet -0 -o -H newc | zstd -q -12 -T0"
    with archive.open("wb") as stream:
        subprocess.run(["sh", "-c", script], cwd=root, check=True, stdout=stream,
                       input=names.encode())  # fmt: skip
    return Way("cpio", functions=_RAM.format(mount=_CPIO), archive=archive)


def _names(root: Path, paths: tuple[str, ...]) -> Iterator[str]:
    """Yield the names below the directory that has `nix/store`, parents first."""
    yield from ("nix", "nix/store")
    found = ["find", *(path.lstrip("/") for path in paths), "-print0"]
    done = subprocess.run(found, cwd=root, check=True, stdout=subprocess.PIPE)
    yield from (name for name in done.stdout.decode().split("\0") if name)


def extra(way: Way) -> bytes:
    """Return what is appended to the initrd: the way's functions, and an agent that reports."""
    store = (SCRIPTS / "store.sh").read_text() + way.functions
    agent = (SCRIPTS / "agent.sh").read_text()
    asked = "        report multi-user\n"
    if asked not in agent:
        raise RuntimeError("the agent does not report multi-user where this looks for it")
    account = """        cat /proc/meminfo "$SB/mountstats.boot" >"$SB/account"
        report multi-user "$SB/account"
"""
    members = [
        cpio.regular("storeboot/store.sh", store.encode(), 0o755),
        cpio.regular("storeboot/agent.sh", agent.replace(asked, account).encode(), 0o755),
    ]
    return b"".join(cpio.archive(members)) + (way.archive.read_bytes() if way.archive else b"")
