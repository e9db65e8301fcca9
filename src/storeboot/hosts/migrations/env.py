"""Runs the migrations on the connection that `migration.migrate` hands over."""

from __future__ import annotations

from alembic import context

from storeboot.hosts.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
