"""Boots and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "boots",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("view", sa.String(32), nullable=False),
        sa.Column("system", sa.String(255), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_boots"),
        sa.UniqueConstraint("nonce", name="uq_boots_nonce"),
    )
    op.create_index("ix_boots_host", "boots", ["host", "began_at"])
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("boot", sa.String(16)),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("uptime", sa.Float),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["boot"], ["boots.id"], name="fk_events_boot", ondelete="CASCADE"),
    )
    op.create_index("ix_events_host", "events", ["host", "at"])


def downgrade() -> None:
    op.drop_table("events")
    op.drop_table("boots")
