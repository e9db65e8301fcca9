"""The schema is brought up to date once, and only that takes alembic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from storeboot.errors import StorebootError
from storeboot.hosts import migrations
from storeboot.hosts.database import open_database
from storeboot.hosts.revision import HEAD, revision
from storeboot.hosts.schema import metadata
from storeboot.process import run


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'storeboot.sqlite'}"


def imported_by_opening(url: str) -> set[str]:
    program = (
        "import sys; from storeboot.hosts.database import open_database; "
        "open_database(sys.argv[1]).dispose(); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    return set(run([sys.executable, "-c", program, url]).split())


def test_alembic_is_imported_only_to_change_a_schema(url: str) -> None:
    assert "alembic" in imported_by_opening(url)
    assert "alembic" not in imported_by_opening(url)


def test_the_schema_is_the_one_of_the_tables(url: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        assert revision(connection) == HEAD
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.dispose()
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() == HEAD


def test_a_schema_of_a_newer_version_is_refused(url: str) -> None:
    database = open_database(url)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.dispose()
    with pytest.raises(StorebootError, match="9999") as caught:
        open_database(url)
    assert caught.value.hint == "it may be from a newer storeboot, or not a database of storeboot"
