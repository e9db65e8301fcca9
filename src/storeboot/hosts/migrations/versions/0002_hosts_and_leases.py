"""Added hosts, unknown machines, declared systems, probations, and why a boot has ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hosts"),
    )
    op.create_table(
        "matchers",
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("host", sa.String(63), nullable=False),
        sa.PrimaryKeyConstraint("value", name="pk_matchers"),
        sa.ForeignKeyConstraint(
            ["host"], ["hosts.name"], name="fk_matchers_host", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_matchers_host", "matchers", ["host"])
    op.create_table(
        "unknown",
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("uuid", sa.String(64), nullable=False),
        sa.Column("serial", sa.String(64), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("first_at", sa.Float, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("mac", name="pk_unknown"),
    )
    op.create_table(
        "declarations",
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("system", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_declarations"),
    )
    op.create_table(
        "probations",
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("previous", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("confirms", sa.Boolean, nullable=False),
        sa.Column("standing", sa.String(16), nullable=False),
        sa.Column("boot", sa.String(16)),
        sa.Column("began_at", sa.Float),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("host", "generation", name="pk_probations"),
    )
    op.add_column("boots", sa.Column("ended_by", sa.String(16)))


def downgrade() -> None:
    with op.batch_alter_table("boots") as batch:
        batch.drop_column("ended_by")
    op.drop_table("probations")
    op.drop_table("declarations")
    op.drop_table("unknown")
    op.drop_table("matchers")
    op.drop_table("hosts")
