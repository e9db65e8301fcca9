"""Builds a view's pack: squashfs, which keeps the hot files small on their way and in memory."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from storeboot.nfs.views import FLAT_DIRECTORY_NAME, flat_name
from storeboot.nix.store import Store, StorePath
from storeboot.pack import tar
from storeboot.pack.hot import HotList
from storeboot.pack.tree import Inode, inodes
from storeboot.process import feed

log = structlog.get_logger()

KEPT = 2  # packs of one view
FORMAT = 3  # part of every name; raise it when the same inputs give another pack
# Bytes of a file that is never a stub: the stub's inode, redirect included, is hardly smaller, and
# Linux before 6.5 looks a stub's data up with its name.
INLINE = 2048
_TAR2SQFS = (
    "tar2sqfs", "--quiet", "--force", "--no-skip", "--compressor", "zstd",
)  # fmt: skip
_INSTALL = "install squashfs-tools-ng (on Debian: apt-get install squashfs-tools-ng)"
_PIECE = 1 << 20
_IMAGE, _HOT = ".squashfs", ".hot"
_NAME = re.compile(r"[0-9a-f]{32}\.squashfs")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pack:
    """A built pack, ready to be served."""

    path: Path
    size: int  # bytes
    sha256: str
    view: str
    inodes: int
    hot_files: int
    hot_bytes: int  # of the files' data, before compression


def build(
    store: Store,
    view: str,
    paths: tuple[str, ...],
    hot: frozenset[bytes],
    cache: Path,
    progress: Progress = lambda _text: None,
) -> Pack:
    """The pack of a view with the files in `hot` (paths below the store directory), blocking.

    It depends on nothing but these, is taken from the cache where it is there already, and appears
    under its name only when it is whole.
    """
    name = pack_name(view, hot)
    image, facts = cache / f"{name}{_IMAGE}", cache / f"{name}.json"
    if image.is_file() and facts.is_file():
        facts.touch()  # the newest again, whatever was built since
        return _from_facts(image, json.loads(facts.read_text()))
    cache.mkdir(parents=True, exist_ok=True)
    progress(f"pack of {len(paths)} store paths, {len(hot)} hot files")
    writer = _Writer(store, hot)
    partial = _partial(image)
    try:
        feed([*_TAR2SQFS, partial], writer.stream(map(StorePath, paths)), hint=_INSTALL)
        pack = Pack(
            path=image,
            size=partial.stat().st_size,
            sha256=_sha256(partial),
            view=view,
            inodes=writer.inodes,
            hot_files=writer.hot_files,
            hot_bytes=writer.hot_bytes,
        )
        _write(image.with_suffix(_HOT), b"\0".join(sorted(hot)))
        partial.replace(image)
    finally:
        partial.unlink(missing_ok=True)
    _write(facts, json.dumps(_facts(pack)).encode())
    forget(cache, lambda _view: True)
    log.info("pack.built", view=view, bytes=pack.size, inodes=pack.inodes, hot=pack.hot_files)
    return pack


def newest(cache: Path, view: str) -> Pack | None:
    """The newest pack of a view that is kept."""
    made = []
    for facts in cache.glob("*.json"):
        with suppress(FileNotFoundError):  # forgotten meanwhile
            document = json.loads(facts.read_text())
            if document["view"] == view:
                made.append(
                    (facts.stat().st_mtime, _from_facts(facts.with_suffix(_IMAGE), document))
                )
    return max(made, key=lambda each: each[0])[1] if made else None


def forget(cache: Path, needed: Callable[[str], bool]) -> None:
    """Remove what is there of views that are not needed, and what was superseded of the others.

    The one before the newest stays: a machine may be about to fetch it.
    """
    by_view: dict[str, list[tuple[float, Path]]] = {}
    for facts in cache.glob("*.json"):
        with suppress(FileNotFoundError):  # another process forgets as well
            made_at = facts.stat().st_mtime
            view = json.loads(facts.read_text())["view"]
            by_view.setdefault(view, []).append((made_at, facts))
    for view, made in by_view.items():
        made.sort(reverse=True)
        for _, facts in made[KEPT:] if needed(view) else made:
            facts.unlink(missing_ok=True)
            for suffix in (_IMAGE, _HOT):
                facts.with_suffix(suffix).unlink(missing_ok=True)


def find(cache: Path, view: str, name: str) -> Path | None:
    """The file of a view's pack by its name, if it is still kept."""
    image = cache / name
    if not _NAME.fullmatch(name) or not image.is_file():
        return None
    try:
        facts = json.loads(image.with_suffix(".json").read_text())
    except FileNotFoundError:  # forgotten meanwhile
        return None
    return image if facts["view"] == view else None


def hot_files(image: Path) -> frozenset[bytes]:
    """The files that a pack was to have with their data: paths below the store directory."""
    try:
        return frozenset(image.with_suffix(_HOT).read_bytes().split(b"\0")) - {b""}
    except FileNotFoundError:  # forgotten meanwhile
        return frozenset()


def choose(store: Store, hot: HotList, limit: int) -> frozenset[bytes]:
    """The files that go into a pack: those that most boots have read, then the smallest ones.

    `limit` is the sum of their sizes, in bytes.
    """
    sized: list[tuple[float, int, bytes]] = []
    for path, share in hot.files.items():
        with suppress(OSError):  # the package may have lost it
            state = (store.directory / os.fsdecode(path)).lstat()
            if stat.S_ISREG(state.st_mode):
                sized.append((-share, state.st_size, path))
    chosen, total = [], 0
    for _, size, path in sorted(sized):
        if total + size <= limit:
            total += size
            chosen.append(path)
    return frozenset(chosen)


def pack_name(view: str, hot: frozenset[bytes]) -> str:
    """Of all that a pack is made from; 32 hexadecimal digits."""
    inputs = repr((FORMAT, tar.METACOPY, view, sorted(hot))).encode()
    return hashlib.blake2b(inputs, digest_size=16, person=b"sb-pack").hexdigest()


class _Writer:
    """The stream of a pack, and what went into it."""

    def __init__(self, store: Store, hot: frozenset[bytes]) -> None:
        self._store = store
        self._hot = hot
        self.inodes = 0
        self.hot_files = 0
        self.hot_bytes = 0

    def stream(self, paths: Iterator[StorePath]) -> Iterator[bytes]:
        for inode in inodes(self._store, paths):
            self.inodes += 1
            if inode.is_directory:
                yield tar.directory(inode)
            elif inode.is_symlink:
                yield tar.symlink(inode)
            elif inode.is_file and (inode.size <= INLINE or inode.path in self._hot):
                yield from self._hot_file(inode)
            elif inode.is_file:
                yield tar.stub(inode, self._redirect(*inode.below))
        yield tar.end()

    @staticmethod
    def _redirect(store_name: bytes, relative: bytes) -> bytes:
        """Where NFS has the data: by the flat name, which costs one LOOKUP however deep it is."""
        return b"/%s/%s" % (FLAT_DIRECTORY_NAME, flat_name(store_name, relative))

    def _hot_file(self, inode: Inode) -> Iterator[bytes]:
        if inode.path in self._hot:
            self.hot_files += 1
            self.hot_bytes += inode.size
        place = self._store.directory / os.fsdecode(inode.path)
        with place.open("rb") as stream:
            yield from tar.hot(inode, iter(lambda: stream.read(_PIECE), b""))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _partial(file: Path) -> Path:
    """Of this process and thread."""
    return file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}.partial")


def _write(file: Path, data: bytes) -> None:
    partial = _partial(file)
    partial.write_bytes(data)
    partial.replace(file)


def _facts(pack: Pack) -> dict[str, object]:
    return {name: value for name, value in asdict(pack).items() if name != "path"}


def _from_facts(image: Path, facts: dict[str, object]) -> Pack:
    return Pack(path=image, **facts)  # type: ignore[arg-type]
