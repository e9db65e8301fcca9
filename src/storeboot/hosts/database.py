"""The database: SQLite in the state directory, or any URL that SQLAlchemy accepts.

No call takes longer than its deadline. In the server, a database that fails counts as unreachable
("away"): all callers that wait for it, and all later ones, are told so at once, until a probe
succeeds. In the meantime, what machines need comes from memory (`hosts/memory.py`).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    NoSuchModuleError,
    NotSupportedError,
    PendingRollbackError,
    ProgrammingError,
    ResourceClosedError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storeboot import files
from storeboot.config import Config
from storeboot.errors import ConfigError, StorebootError
from storeboot.hosts.deadlines import Deadlines
from storeboot.hosts.memory import Memory
from storeboot.hosts.revision import HEAD, revision

log = structlog.get_logger()

SERVER_SECONDS = 10.0  # for a transaction of the server: a disk may be slow to sync
ASK_SECONDS = 3.0  # for a query of the server: machines wait for it
COMMAND_SECONDS = 60.0  # for a transaction of a command, which may add a thousand hosts
OPEN_SECONDS = 60.0  # to bring the schema up to date
CONNECT_SECONDS = 2  # the minimum of libpq
POOL_SECONDS = 2.0
NOT_ASKED = "it was not asked yet"
_HINT = "correct database.url in the configuration"
# The start of a transaction that changes the schema, as a whole and one at a time. SQLite's driver
# does not start one by itself before CREATE TABLE.
_ALONE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7370)"}
# The smallest change that shows that the database can write: for SQLite its header, otherwise the
# number of a transaction.
_WRITE = {"sqlite": "PRAGMA user_version = 0", "postgresql": "SELECT txid_current()"}
# These errors are faults of a statement, not of the database.
_STATEMENT = (DataError, IntegrityError, ProgrammingError, NotSupportedError)
_AWAY = (DBAPIError, DisconnectionError, PendingRollbackError, PoolTimeoutError,
         ResourceClosedError, TimeoutError, OSError)  # fmt: skip


class DatabaseAwayError(StorebootError):
    """The database does not answer, or cannot write."""


@dataclass(frozen=True, slots=True)
class Away:
    """Why the database cannot be used, and since when, in seconds since 1970."""

    reason: str
    since: float


class Database:
    """Provides connections, and knows whether it makes sense to ask for one."""

    def __init__(
        self,
        url: str,
        *,
        seconds: float = COMMAND_SECONDS,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is contacted; raise ConfigError if the URL cannot be used.

        A database with a `memory` is the server's: after a failure it counts as unreachable.
        """
        self._kind = url.partition(":")[0].partition("+")[0]
        self._engine = _make_engine(url, self._kind, seconds)
        self._seconds = seconds
        self._clock = clock
        self._deadlines = Deadlines()
        self._guard = threading.Lock()
        self._opened = False
        self.has_failed = False
        self.memory = memory
        self.away: Away | None = None
        if memory is not None:
            self.away = Away(NOT_ASKED, clock())

    @property
    def is_away(self) -> bool:
        return self.away is not None

    def open(self) -> None:
        """Connect and bring the schema up to date."""
        try:
            with self._using(OPEN_SECONDS) as connection, connection.begin():
                current = revision(connection)
            if current != HEAD:
                self._migrate()
        except _AWAY as error:
            raise StorebootError(*self._unusable(_reason(error))) from None
        self._opened = True

    def _unusable(self, reason: str) -> tuple[str, str]:
        """Return why the database cannot be used, and the cure.

        SQLite has few words for what a disk refuses: a full one is a "disk I/O error". So the file
        system is asked.
        """
        place = self._engine.url.database
        if self._kind != "sqlite" or place is None:
            return f"cannot use the database: {reason}", _HINT
        refused = files.refusal(Path(place))
        if refused is not None:
            reason = files.described(refused)
        cure = files.cure(refused) if refused is not None else None
        return f"cannot use the database: {reason}", cure or f"look at {place} and its disk: dmesg"

    def _migrate(self) -> None:
        # Imported here because importing alembic takes as long as a whole command.
        from storeboot.hosts.migration import migrate

        with self._using(OPEN_SECONDS) as connection, connection.begin():
            if self._kind == "postgresql":
                limit = f"SET LOCAL statement_timeout = {OPEN_SECONDS * 1000:.0f}"
                connection.exec_driver_sql(limit)
            connection.exec_driver_sql(_ALONE[self._kind])
            migrate(connection)

    @contextmanager
    def begin(self, *, lossy: bool = False) -> Iterator[Connection]:
        """Return a connection in a transaction, which is on disk when the block has ended.

        A `lossy` transaction costs no sync, and may be lost in a power cut.
        """
        with self._operation() as connection:
            weaker = lossy and self._kind == "sqlite"
            if weaker:
                connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
                connection.commit()
            try:
                with connection.begin():
                    yield connection
            finally:
                if weaker:
                    with suppress(*_AWAY):
                        connection.exec_driver_sql("PRAGMA synchronous=FULL")
                        connection.commit()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Return a connection for reading; changes are lost unless the caller commits them."""
        with self._operation(min(self._seconds, ASK_SECONDS) if self.memory else 0.0) as connection:
            yield connection

    @contextmanager
    def _operation(self, seconds: float = 0.0) -> Iterator[Connection]:
        if self.away is not None:
            raise DatabaseAwayError(f"the database is unreachable: {self.away.reason}")
        try:
            with self._using(seconds or self._seconds) as connection:
                yield connection
        except _STATEMENT:
            raise
        except _AWAY as error:
            reason = _reason(error)
            self.lost(reason)
            raise DatabaseAwayError(
                f"the database failed: {reason}",
                "try again; steps that were not finished had no effect",
            ) from None

    @contextmanager
    def _using(self, seconds: float) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            driver = connection.connection.driver_connection
            with self._deadlines.watching(seconds, lambda: _break_off(driver)):
                yield connection

    def lost(self, reason: str) -> None:
        """Count the database as unreachable from now on, and tell all callers that wait for it."""
        if self.memory is None:
            return
        with self._guard:
            first = self.away is None
            if first:
                self.away = Away(reason, self._clock())
        if first:
            log.error("database.away", reason=reason)
            self._deadlines.break_all()
            self._engine.dispose()  # a restarted database server has forgotten these connections

    def probe(self) -> bool:
        """Return whether the database answers and can write; then it is reachable again.
        Blocking."""
        try:
            if not self._opened:
                self.open()
            else:
                with self._using(self._seconds) as connection, connection.begin():
                    connection.exec_driver_sql(_WRITE[self._kind])
        except StorebootError as error:
            self._still_away(error.message)
        except _AWAY as error:
            self._still_away(_reason(error))
        else:
            self._back()
        return self.away is None

    def _still_away(self, reason: str) -> None:
        with self._guard:
            known = self.away
            self.away = Away(reason, known.since if known else self._clock())
            self.has_failed = True
        if known is None or known.reason == NOT_ASKED:
            log.error("database.away", reason=reason)
        elif known.reason != reason:
            log.info("database.still_away", reason=reason)
        self._engine.dispose()

    def _back(self) -> None:
        with self._guard:
            away, self.away = self.away, None
        if away is not None and away.reason != NOT_ASKED:
            log.info("database.there", after=round(self._clock() - away.since, 1))

    def dispose(self) -> None:
        self._deadlines.break_all()
        self._engine.dispose()


def open_database(url: str, seconds: float = COMMAND_SECONDS) -> Database:
    """Return a database with an up-to-date schema, for a command; `seconds` per transaction."""
    database = Database(url, seconds=seconds)
    try:
        database.open()
    except BaseException:
        database.dispose()
        raise
    return database


def _connect(kind: str, seconds: float) -> dict[str, object]:
    """Return the options with which the database itself gives up after `seconds`."""
    if kind == "postgresql":
        limit = f"-c statement_timeout={seconds * 1000:.0f}"
        return {"connect_timeout": CONNECT_SECONDS, "options": limit}
    # How long SQLite waits while another process writes
    return {"timeout": seconds * 2 / 3} if kind == "sqlite" else {}


def _make_engine(url: str, kind: str, seconds: float) -> Engine:
    try:
        engine = create_engine(url, pool_timeout=POOL_SECONDS, connect_args=_connect(kind, seconds))
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"database.url is no URL of a database: {error}", _HINT) from None
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the driver of database.url is not installed: {error.name}",
            "install it, for PostgreSQL by storeboot[postgresql]",
        ) from None
    if kind == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _reason(error: BaseException) -> str:
    """Return the error as one line of text."""
    said = getattr(error, "orig", None) or error
    return str(said).strip().partition("\n")[0] or type(said).__name__


def _break_off(driver: Any) -> None:
    """Make a hanging call of the driver fail: stop SQLite at its next step, or shut the socket
    down."""
    if hasattr(driver, "interrupt"):
        driver.interrupt()
        return
    with socket.socket(fileno=os.dup(driver.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def database_url(config: Config) -> str:
    return config.database.url or sqlite_url(config.server.state_directory)


def sqlite_url(state_directory: Path) -> str:
    return f"sqlite:///{state_directory / 'storeboot.sqlite'}"


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Use WAL, so that `status` can read while `serve` writes, and sync every commit."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
