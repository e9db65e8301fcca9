"""The database: SQLite in the state directory, or any URL that SQLAlchemy takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from storeboot.config import Config
from storeboot.errors import ConfigError, StorebootError

HEAD = "0003"
# What begins a transaction of changes to the schema, whole or not at all, one at a time. SQLite's
# driver begins none by itself before a CREATE TABLE.
_ALONE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7370)"}
# A database that hangs must not hang the machines that ask for their scripts. In seconds, in ms.
_CONNECT = {"postgresql": {"connect_timeout": 5, "options": "-c statement_timeout=30000"}}


def open_database(url: str) -> Engine:
    """An engine whose schema is up to date."""
    hint = "correct database.url in the configuration"
    kind = url.partition(":")[0].partition("+")[0]
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=_CONNECT.get(kind, {}))
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"database.url is no URL of a database: {error}", hint) from None
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the driver of database.url is not installed: {error.name}",
            "install it, for PostgreSQL by storeboot[postgresql]",
        ) from None
    if kind == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    try:
        with engine.begin() as connection:
            current = _revision(connection)
        if current != HEAD:
            with engine.begin() as connection:
                connection.exec_driver_sql(_ALONE[kind])
                upgrade(connection)
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise StorebootError(f"cannot use the database: {reason}", hint) from None
    except (CommandError, KeyError) as error:
        raise StorebootError(
            f"cannot use the database: {error}", "it may be of a newer storeboot, or another kind"
        ) from None
    return engine


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def database_url(config: Config) -> str:
    return config.database.url or sqlite_url(config.server.state_directory)


def sqlite_url(state_directory: Path) -> str:
    return f"sqlite:///{state_directory / 'storeboot.sqlite'}"


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """WAL, so that `status` reads while `serve` writes."""
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "busy_timeout=5000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def upgrade(connection: Connection) -> None:
    if _revision(connection) == HEAD:
        return  # somebody else was first
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
