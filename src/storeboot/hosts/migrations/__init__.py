"""Schema changes, applied by alembic when the database is opened."""
