"""What is true: a small store with everything that a client may be told about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from random import Random

from storeboot.nfs.index import Index, Kind, Node, fileid
from storeboot.nfs.views import View
from storeboot.nfs.xdr import FileSlice

_DIGITS = b"0123456789abcdfghijklmnpqrsvwxyz"
SECRET = b"secret"  # in every name that only other views have, and in none of this one's


LARGEST = 40_000  # bytes of a file


def content(store_name: bytes, relative: bytes, offset: int, size: int) -> bytes:
    """Return bytes of a file, each block of which is a hash of where it is."""
    return _whole(store_name, relative)[offset : offset + size]


@lru_cache(maxsize=500)
def _whole(store_name: bytes, relative: bytes) -> bytes:
    place = b"%s/%s " % (store_name, relative)
    blocks = range((LARGEST + 63) // 64)
    return b"".join(blake2b(place + b"%d" % block).digest() for block in blocks)


def data(piece: FileSlice) -> bytes:
    return content(piece.store_path, piece.relative, piece.offset, piece.count)


@dataclass
class Model:
    """Store paths, and which of them are in which view."""

    paths: dict[bytes, dict[bytes, Node]] = field(default_factory=dict)
    views: dict[bytes, list[bytes]] = field(default_factory=dict)

    def view(self, view_id: bytes) -> View | None:
        names = self.views.get(view_id)
        if names is None:
            return None
        return View(view_id, {name: _bare(self.paths[name][b""]) for name in names})

    def index(self, store_name: bytes) -> Index | None:
        nodes = self.paths.get(store_name)
        return None if nodes is None else Index(store_name, nodes)


def _bare(node: Node) -> Node:
    return Node(node.kind, node.fileid, node.size, node.executable, node.target)


def make_model(dice: Random) -> Model:
    """Two views that share some paths, and one path that is in none."""
    model = Model()
    shared = [_add(model, dice, b"shared%d" % number) for number in range(dice.randint(1, 3))]
    mine = [_add(model, dice, b"mine%d" % number) for number in range(dice.randint(1, 3))]
    theirs = [_add(model, dice, SECRET + b"%d" % number) for number in range(2)]
    _add(model, dice, SECRET + b"-of-nobody")
    model.views = {bytes(16): shared + mine, bytes([1] * 16): shared + theirs}
    return model


def _add(model: Model, dice: Random, name: bytes) -> bytes:
    digits = bytes(dice.choice(_DIGITS) for _ in range(32))
    store_name = digits + b"-" + name
    nodes: dict[bytes, Node] = {}
    if dice.random() < 0.2:
        nodes[b""] = _file(dice, store_name, b"")
    else:
        _fill(nodes, dice, store_name, b"", depth=0)
    model.paths[store_name] = nodes
    return store_name


def _fill(nodes: dict[bytes, Node], dice: Random, store_name: bytes, at: bytes, depth: int) -> None:
    names = {_name(dice) for _ in range(dice.choice([0, 1, 3, 6, 12]))}
    number = fileid(store_name, at)
    nodes[at] = Node(Kind.DIRECTORY, number, names=tuple(sorted(names)))
    for name in sorted(names):
        relative = at + b"/" + name if at else name
        kind = dice.random()
        if kind < 0.2 and depth < 2:
            _fill(nodes, dice, store_name, relative, depth + 1)
        elif kind < 0.4:
            target = b"../" * dice.randint(0, 4) + b"etc"
            nodes[relative] = Node(
                Kind.SYMLINK, fileid(store_name, relative), size=len(target), target=target
            )
        else:
            nodes[relative] = _file(dice, store_name, relative)


def _file(dice: Random, store_name: bytes, relative: bytes) -> Node:
    size = dice.choice([0, 1, 31, 100, 5000, LARGEST])
    number = fileid(store_name, relative)
    return Node(Kind.REGULAR, number, size=size, executable=dice.random() < 0.3)


def _name(dice: Random) -> bytes:
    odd = dice.random()
    if odd < 0.05:
        return b"n" * 250 + b"%05d" % dice.randrange(10000)
    if odd < 0.1:
        return b"\xff\xfe%d" % dice.randrange(100)
    return b"name%d" % dice.randrange(100)
