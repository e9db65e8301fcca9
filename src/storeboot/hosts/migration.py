"""Brings a database's schema up to date. Only who has to do that imports this, and alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from storeboot.errors import StorebootError
from storeboot.hosts.revision import HEAD, revision


def migrate(connection: Connection) -> None:
    """Change the schema to that of `schema.py`, in the caller's transaction.

    Raises StorebootError for a schema that is none of ours, or of a newer version.
    """
    if revision(connection) == HEAD:
        return  # somebody else was first
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, HEAD)
    except (CommandError, KeyError) as error:
        raise StorebootError(
            f"cannot use the database: {error}",
            "it may be from a newer storeboot, or not a database of storeboot",
        ) from None
