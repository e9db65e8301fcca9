from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, insert, select

from storeboot.hosts import rows
from storeboot.hosts.boot import Event
from storeboot.hosts.rollouts import Rollout, RolloutStanding
from storeboot.hosts.schema import events, metadata, rollouts
from storeboot.protocol.orders import Order

ROLLOUT = Rollout(
    7, "lab", "/nix/store/x", 5, 1, Order.KEXEC, 600.0, 1.0, RolloutStanding.STOPPED, "why"
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://").begin() as made:
        metadata.create_all(made)
        yield made


def test_a_value_comes_back_as_it_was_written(connection: Connection) -> None:
    connection.execute(insert(rollouts).values(rows.to_row(ROLLOUT)))
    found = rows.first(connection, Rollout, select(rollouts))
    assert found == ROLLOUT
    assert found is not None
    assert (type(found.word), type(found.standing)) == (Order, RolloutStanding)


def test_a_word_may_be_missing(connection: Connection) -> None:
    values = {**rows.to_row(ROLLOUT, "id"), "word": None}
    connection.execute(insert(rollouts).values(values))
    (found,) = rows.every(connection, Rollout, select(rollouts))
    assert (found.id, found.word) == (1, None)


def test_a_word_that_is_none_of_them_is_an_error(connection: Connection) -> None:
    connection.execute(insert(rollouts).values({**rows.to_row(ROLLOUT), "standing": "lying"}))
    with pytest.raises(ValueError, match="lying"):
        rows.first(connection, Rollout, select(rollouts))


def test_columns_that_are_no_field_are_left_out(connection: Connection) -> None:
    event = Event("lab1", "server", "script", 1.0)
    connection.execute(insert(events).values(rows.to_row(event)))
    assert rows.every(connection, Event, select(events)) == [event]


def test_nothing_is_found_in_an_empty_table(connection: Connection) -> None:
    assert rows.first(connection, Rollout, select(rollouts)) is None
    assert rows.every(connection, Rollout, select(rollouts)) == []
