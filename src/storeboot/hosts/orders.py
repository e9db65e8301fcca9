"""Orders for running machines, from any process. An agent takes its order at a heartbeat."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from storeboot.hosts.database import Database
from storeboot.hosts.schema import orders
from storeboot.protocol.orders import Order


class Orders:
    """The table: one order per boot, the one that was given last."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, boot: str, order: Order) -> None:
        with self._database.begin() as connection:
            connection.execute(delete(orders).where(orders.c.boot == boot))
            connection.execute(insert(orders).values(boot=boot, word=order))

    def revoke(self, boot: str) -> bool:
        """Withdraw a boot's order; return whether there was one that had not been taken."""
        with self._database.begin() as connection:
            return bool(connection.execute(delete(orders).where(orders.c.boot == boot)).rowcount)

    def take(self, boot: str) -> str:
        """Remove and return the boot's order; "" if there is none."""
        with self._database.begin() as connection:
            word: str | None = connection.execute(
                select(orders.c.word).where(orders.c.boot == boot)
            ).scalar()
            if word is not None:
                connection.execute(delete(orders).where(orders.c.boot == boot))
        return word or ""
