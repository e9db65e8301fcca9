"""Builds a view's pack, a squashfs, so that hot files take little room in transit and memory."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from storeboot import files
from storeboot.errors import StoreError
from storeboot.nfs.views import FLAT_DIRECTORY_NAME, flat_name
from storeboot.nix.beneath import FILE, open_beneath, opened
from storeboot.nix.store import Store, StorePath
from storeboot.pack import tar
from storeboot.pack.hot import HotList
from storeboot.pack.tree import Inode, inodes
from storeboot.process import feed

log = structlog.get_logger()

KEPT = 2  # packs of one view
FORMAT = 4  # part of every name; increase it when the same inputs give another pack
# Files up to this many bytes are never stubs: a stub's inode, redirect included, is hardly smaller,
# and Linux before 6.5 looks up a stub's data together with its name.
INLINE = 2048
# A stub whose data the initrd has itself: with it a machine tries whether its kernel finds the data
# of stubs, without asking the server. It is hidden in the machine's store.
TRIAL, TRIAL_DATA = b".storeboot-trial", b"storeboot\n"
TRIAL_REDIRECT = b"/.storeboot-trial-data"
_TAR2SQFS = (
    "tar2sqfs", "--quiet", "--force", "--no-skip", "--compressor", "zstd",
)  # fmt: skip
_INSTALL = "install squashfs-tools-ng (on Debian: apt-get install squashfs-tools-ng)"
_PIECE = 1 << 20
_IMAGE, _HOT, _FACTS = ".squashfs", ".hot", ".json"
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

    def is_whole(self) -> bool:
        """Return whether its file exists and is what it was when it was built."""
        return files.checked.match(self.path, self.size, self.sha256)


def build(
    store: Store,
    view: str,
    paths: tuple[str, ...],
    hot: frozenset[bytes],
    cache: Path,
    progress: Progress = lambda _text: None,
) -> Pack:
    """Return the pack of a view with the files in `hot`, paths below the store directory. Blocking.

    It depends on nothing but the arguments, comes from the cache if it is there, and gets its name
    only when it is complete.
    """
    name = pack_name(view, hot)
    image = cache / f"{name}{_IMAGE}"
    known = _whole(image)
    if known is not None:
        with suppress(OSError):  # the disk cannot be written
            image.with_suffix(_FACTS).touch()  # now the newest, whatever was built since
        return known
    files.make_directory(cache)
    progress(f"pack of {len(paths)} store paths, {len(hot)} hot files")
    writer = _Writer(store, hot)
    with files.publish(image) as partial:
        feed([*_TAR2SQFS, partial], writer.stream(map(StorePath, paths)), hint=_INSTALL)
        pack = Pack(
            path=image,
            size=partial.stat().st_size,
            sha256=files.sha256(partial),
            view=view,
            inodes=writer.inodes,
            hot_files=writer.hot_files,
            hot_bytes=writer.hot_bytes,
        )
        # Written first, so that no image is ever without its facts, which tell whether it is
        # complete.
        listed = b"\0".join(sorted(hot))
        files.write(image.with_suffix(_HOT), listed)
        files.write(image.with_suffix(_FACTS), json.dumps(_facts(pack, listed)))
    forget(cache, lambda _view: True)
    log.info("pack.built", view=view, bytes=pack.size, inodes=pack.inodes, hot=pack.hot_files)
    return pack


def newest(cache: Path, view: str) -> Pack | None:
    """Return the newest pack of a view that is kept and complete, or None."""
    made = []
    for made_at, facts, found in _kept(cache):
        if found is not None and found.view == view:
            made.append((made_at, facts.with_suffix(_IMAGE)))
    packs = (_whole(image) for _, image in sorted(made, reverse=True))
    return next((pack for pack in packs if pack is not None), None)


def forget(cache: Path, needed: Callable[[str], bool]) -> None:
    """Remove the packs of views that are not needed, and superseded packs of the others.

    The one before the newest stays, because a machine may be about to fetch it. Damaged packs are
    removed as well.
    """
    by_view: dict[str, list[tuple[float, Path]]] = {}
    for made_at, facts, found in _kept(cache):
        if found is None:
            _remove(facts)
        else:
            by_view.setdefault(found.view, []).append((made_at, facts))
    for view, made in by_view.items():
        made.sort(reverse=True)
        for _, facts in made[KEPT:] if needed(view) else made:
            _remove(facts)
    for image in cache.glob(f"*{_IMAGE}"):
        if _NAME.fullmatch(image.name) and not image.with_suffix(_FACTS).exists():
            _remove(image)


def _kept(cache: Path) -> Iterator[tuple[float, Path, Pack | None]]:
    """Yield when each pack was made, its facts file, and the pack, or None if it is damaged."""
    for facts in cache.glob(f"*{_FACTS}"):
        if _NAME.fullmatch(facts.with_suffix(_IMAGE).name):
            with suppress(FileNotFoundError):  # another process removes packs as well
                yield facts.stat().st_mtime, facts, _described(facts.with_suffix(_IMAGE))


def _remove(pack: Path) -> None:
    """Remove a pack, its facts last, so that the rest of an interrupted removal can be found."""
    for suffix in (_IMAGE, _HOT, _FACTS):
        files.remove(pack.with_suffix(suffix), durable=False)


def _described(image: Path) -> Pack | None:
    """Return a pack by its facts, or None if they are lost, damaged, or of an older version."""
    try:
        facts = json.loads(image.with_suffix(_FACTS).read_bytes())
        listed = image.with_suffix(_HOT)
        if not files.checked.match(listed, facts.pop("list_size"), facts.pop("list_sha256")):
            return None
        return Pack(path=image, **facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _whole(image: Path) -> Pack | None:
    """Return a pack whose files all exist and are what they were when it was built, or None."""
    pack = _described(image)
    return pack if pack is not None and pack.is_whole() else None


def find(cache: Path, view: str, name: str) -> Path | None:
    """Return the file of a view's pack by its name, or None unless it is kept and complete."""
    pack = _whole(cache / name) if _NAME.fullmatch(name) else None
    return pack.path if pack is not None and pack.view == view else None


def hot_files(image: Path) -> frozenset[bytes]:
    """Return the files whose data a pack was built with: paths below the store directory."""
    try:
        return frozenset(image.with_suffix(_HOT).read_bytes().split(b"\0")) - {b""}
    except FileNotFoundError:  # removed in the meantime
        return frozenset()


def choose(
    store: Store, hot: HotList, limit: int, limit_doubted: int | None = None
) -> frozenset[bytes]:
    """Return the files that go into a pack: first those that most boots have read, then the
    smallest.

    `limit` is the sum of their sizes in bytes, and `limit_doubted` that of files in doubt.
    """
    sized: list[tuple[float, int, bytes]] = []
    for path, share in hot.files.items():
        with suppress(OSError):  # the package may not have it any more
            state = (store.directory / os.fsdecode(path)).lstat()
            if stat.S_ISREG(state.st_mode):
                sized.append((-share, state.st_size, path))
    chosen, total, doubted = [], 0, 0
    for _, size, path in sorted(sized):
        doubt = size if path in hot.doubted else 0
        fits = limit_doubted is None or doubted + doubt <= limit_doubted
        if fits and total + size <= limit:
            total += size
            doubted += doubt
            chosen.append(path)
    return frozenset(chosen)


def pack_name(view: str, hot: frozenset[bytes]) -> str:
    """Return a hash of everything that a pack is made from, in 32 hexadecimal digits."""
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
        trial = Inode(TRIAL, stat.S_IFREG | 0o444, len(TRIAL_DATA), mtime=1)
        yield tar.stub(trial, TRIAL_REDIRECT)
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
        """Return where NFS has the data: a flat name, which costs one LOOKUP at any depth."""
        return b"/%s/%s" % (FLAT_DIRECTORY_NAME, flat_name(store_name, relative))

    def _hot_file(self, inode: Inode) -> Iterator[bytes]:
        if inode.path in self._hot:
            self.hot_files += 1
            self.hot_bytes += inode.size
        with opened(os.fsencode(self._store.directory)) as top:
            descriptor = open_beneath(top, inode.path, FILE)
        with os.fdopen(descriptor, "rb") as stream:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode) or state.st_size != inode.size:
                raise StoreError(
                    f"{self._store.directory / os.fsdecode(inode.path)} has changed in place",
                    "nix-store --verify --check-contents finds what is wrong",
                )
            yield from tar.hot(inode, iter(lambda: stream.read(_PIECE), b""))


def _facts(pack: Pack, listed: bytes) -> dict[str, object]:
    facts = {name: value for name, value in asdict(pack).items() if name != "path"}
    checksum = hashlib.sha256(listed).hexdigest()
    return {**facts, "list_size": len(listed), "list_sha256": checksum}
