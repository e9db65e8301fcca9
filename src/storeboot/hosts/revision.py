"""The revision of a database's schema. Alembic keeps it in a table of its own."""

from __future__ import annotations

from sqlalchemy import Connection, column, inspect, select, table

HEAD = "0004"  # of the tables in `schema.py`
_TABLE = table("alembic_version", column("version_num"))


def revision(connection: Connection) -> str | None:
    """Return the schema's revision, or None for an empty database, without importing alembic."""
    if not inspect(connection).has_table(_TABLE.name):
        return None
    found: str | None = connection.execute(select(_TABLE.c.version_num)).scalar()
    return found
