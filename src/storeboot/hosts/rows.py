"""Database rows as frozen dataclasses: one field for each wanted column, with the same name.

If a field's type is an enumeration of words, with or without None, its value is a member of it.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from sqlalchemy import Connection, Row, Select

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def every(connection: Connection, kind: type[T], query: Select[Any]) -> list[T]:
    """Return everything that a query finds."""
    return [from_row(kind, row) for row in connection.execute(query)]


def first(connection: Connection, kind: type[T], query: Select[Any]) -> T | None:
    """Return the first row that a query finds, or None if it finds nothing."""
    row = connection.execute(query).first()
    return from_row(kind, row) if row is not None else None


def from_row(kind: type[T], row: Row[Any]) -> T:
    """Return a row as a value. Columns without a field are left out."""
    said = row._mapping
    values = {name: said[name] for name in kind.__dataclass_fields__}
    for name, words in _words(kind).items():
        if values[name] is not None:
            values[name] = words(values[name])
    return kind(**values)


def to_row(value: DataclassInstance, *without: str) -> dict[str, Any]:
    """Return a value's columns, without those that the database sets itself."""
    return {
        name: getattr(value, name) for name in value.__dataclass_fields__ if name not in without
    }


@cache
def _words(kind: type[DataclassInstance]) -> dict[str, type[StrEnum]]:
    """Return the enumerations of a dataclass, by field."""
    return {
        name: each
        for name, hint in get_type_hints(kind).items()
        for each in (hint, *get_args(hint))
        if isinstance(each, type) and issubclass(each, StrEnum)
    }
