"""Servers, clients, network, clock and crashes under one seed.

A failure names its seed; the same seed is the same run.
"""

from __future__ import annotations

import itertools

import pytest

from simulation.callers import Caller
from simulation.client3 import Client3
from simulation.client4 import Client4
from simulation.hostile import Hostile
from simulation.model import make_model
from simulation.servers import KEY, Service
from simulation.world import World
from storeboot.nfs import replies
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.index import Index
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4 import clients, locks
from storeboot.serve.nfs import connection as nfs_connection

pytestmark = pytest.mark.timeout(600)

BATCH = 50  # seeds in one test
BATCHES = 20
TROUBLE = 100.0  # seconds in which things go wrong
LARGEST_REPLY = 1 << 20
TOO_LATE = 1500.0  # seconds: whoever is not done by then is stuck


class Run:
    """One seed's world."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        dice = self.world.dice
        self.service = Service(self.world, make_model(dice))
        token = HandleCodec(KEY).encode_token(MountToken(bytes(16), dice.randbytes(8)))
        self.clients: list[Caller] = []
        for number in range(dice.randint(1, 4)):
            kind: type[Caller] = dice.choice([Client3, Client4])
            # Some share an address, as machines behind one router do.
            client = kind(self.world, self.service, f"10.0.0.{dice.randint(1, 2 + number)}")
            client.token = token
            client.begin(dice.choice([1, 1, 1, 2, 2, 4, 4, 16]))
            self.clients.append(client)
        captured = self.clients[0].captured
        Hostile(self.world, self.service, captured, dice.choice([0, 0, 20, 60]))
        for _ in range(dice.choice([0, 1, 2, 6])):
            self.world.after(dice.uniform(0, TROUBLE), self._trouble)

    def _trouble(self) -> None:
        dice = self.world.dice
        match dice.randrange(4):
            case 0:
                self.service.worker_dies()
            case 1:
                self.service.server_dies()
            case 2:
                self.service.address_moves()
            case _:
                for link in list(self.service.links):
                    if dice.random() < 0.5:
                        link.cut()

    def run(self) -> None:
        self.world.run(TOO_LATE, lambda: all(client.done for client in self.clients))
        for client in self.clients:
            assert client.done, f"{client.address} is stuck at {self.world.now:.0f} s"
        self._check_memory()

    def _check_memory(self) -> None:
        for process in self.service.all:
            known = process.programs.clients
            assert len(known._clients) <= clients.MAX_CLIENTS
            assert len(known._dead) <= clients.MAX_DEAD
            assert len(known.sessions) <= clients.MAX_CLIENTS * clients.MAX_SESSIONS
            for _, connection in process.connections.values():
                sessions = connection.peer.sessions
                assert len(sessions) <= clients.MAX_SESSIONS, "sessions of a peer"
                connection._check()
                assert connection._queued <= nfs_connection.QUEUE + LARGEST_REPLY, "queue"
                assert len(connection._loads) <= nfs_connection.MAX_LOADS, "loads"


def run(seed: int) -> None:
    try:
        Run(seed).run()
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}") from error


def test_a_seed_is_one_run() -> None:
    first, second = Run(3), Run(3)
    first.run()
    second.run()
    captured = [[client.captured for client in run.clients] for run in (first, second)]
    assert captured[0] == captured[1]
    assert any(captured[0])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a short run reaches."""
    monkeypatch.setattr(clients, "MAX_CLIENTS", 8)
    monkeypatch.setattr(clients, "MAX_DEAD", 16)
    monkeypatch.setattr(clients, "MAX_SESSIONS", 4)
    monkeypatch.setattr(nfs_connection, "QUEUE", 1500)
    monkeypatch.setattr(nfs_connection, "INLINE", 6000)
    monkeypatch.setattr(nfs_connection, "TURN", 20_000)
    monkeypatch.setattr(nfs_connection, "MAX_LOADS", 3)


def run_batch(number: int) -> None:
    _run_all(range(number * BATCH, (number + 1) * BATCH))


def _run_all(seeds: range) -> None:
    for seed in seeds:
        run(seed)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_seeds(batch: int) -> None:
    run_batch(batch)


@pytest.mark.long
@pytest.mark.parametrize("batch", range(BATCHES, 20 * BATCHES))
def test_more_seeds(batch: int) -> None:
    run_batch(batch)


def _other_key(record: bytes, start: int) -> bytes:
    return record[4:28] + record[start + 48 : start + 60]


def _unbounded(peer: clients.Peer, session: clients.Session, _clients: object) -> None:
    peer.session = session
    peer.sessions[session.session_id] = session
    session.connections += 1


def _other_view(_codec: HandleCodec, _text: bytes) -> MountToken:
    return MountToken(bytes([1] * 16), bytes(8))


def _own_order(index: Index, relative: bytes) -> tuple[bytes, ...]:
    """Turn the order round at every third question, as servers that disagree would."""
    names = _NAMES(index, relative)
    return names if next(_QUESTIONS) % 3 else names[::-1]


def _same_stateid(stateid: bytes) -> bytes:
    return stateid


def _never(_clients: clients.Clients, *_rest: object) -> clients.Session:
    raise NfsError(Status.DELAY)


def _one_pass(connection: nfs_connection.Connection) -> None:
    """Answer up to the bound, write, and leave it at that."""
    connection._sent = 0
    connection._answer()
    connection._write()
    connection._wait()


def _unchecked(_connection: nfs_connection.Connection) -> None:
    pass


_NAMES = Index.names
_QUESTIONS = itertools.count()


@pytest.mark.parametrize(
    ("where", "name", "broken", "found"),
    [
        (replies, "_compound_key", _other_key, "seed"),
        (clients.Peer, "use", _unbounded, "sessions of a peer"),
        (HandleCodec, "decode_token", _other_view, "outside|LOOKUP"),
        (Index, "names", _own_order, "listing"),
        (locks, "_next_stateid", _same_stateid, "does not count"),
        (clients.Clients, "open_session", _never, "stuck"),
        (nfs_connection.Connection, "_turn", _one_pass, "calls with nothing to wake"),
    ],
    ids=[
        "memo_of_another_question",
        "leak",
        "foreign_view",
        "order_of_its_own",
        "changes_that_do_not_count",
        "stuck",
        "asleep",
    ],
)
def test_a_broken_server_is_found(
    where: object, name: str, broken: object, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulation can fail, and for the right reason."""
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError, match=found):
        _run_all(range(300))


def test_a_connection_that_sleeps_is_found_by_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the connection's own check the machine behind it is stuck, and that is seen."""
    monkeypatch.setattr(nfs_connection.Connection, "_turn", _one_pass)
    monkeypatch.setattr(nfs_connection.Connection, "_check", _unchecked)
    with pytest.raises(AssertionError, match="stuck"):
        _run_all(range(300))
