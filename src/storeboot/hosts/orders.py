"""What running machines are asked for, by whatever process; their agents take it at a heartbeat."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from storeboot.hosts.database import Database
from storeboot.hosts.schema import orders
from storeboot.protocol.orders import Order


class Orders:
    """The table: one order for a boot, the last one that was given."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, boot: str, order: Order) -> None:
        with self._database.begin() as connection:
            connection.execute(delete(orders).where(orders.c.boot == boot))
            connection.execute(insert(orders).values(boot=boot, word=order))

    def revoke(self, boot: str) -> bool:
        """Whether there was an order that had not been taken; it is none any more."""
        with self._database.begin() as connection:
            return bool(connection.execute(delete(orders).where(orders.c.boot == boot)).rowcount)

    def take(self, boot: str) -> str:
        """The boot's order, which is not given again; "" for none."""
        with self._database.begin() as connection:
            word: str | None = connection.execute(
                select(orders.c.word).where(orders.c.boot == boot)
            ).scalar()
            if word is not None:
                connection.execute(delete(orders).where(orders.c.boot == boot))
        return word or ""
