"""Orders to agents, hosts that are held, and rollouts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("boot", sa.String(16), nullable=False),
        sa.Column("word", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("boot", name="pk_orders"),
        sa.ForeignKeyConstraint(["boot"], ["boots.id"], name="fk_orders_boot", ondelete="CASCADE"),
    )
    op.create_table(
        "holds",
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_holds"),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("target", sa.String(63), nullable=False),
        sa.Column("system", sa.String(255), nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("max_failures", sa.Integer, nullable=False),
        sa.Column("word", sa.String(16)),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("standing", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_rollouts"),
    )
    op.create_table(
        "rollout_hosts",
        sa.Column("rollout", sa.Integer, nullable=False),
        sa.Column("host", sa.String(63), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("standing", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer),
        sa.Column("since", sa.Float),
        sa.Column("asked", sa.String(16)),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("rollout", "host", name="pk_rollout_hosts"),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.id"], name="fk_rollout_hosts_rollout", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_rollout_hosts_host", "rollout_hosts", ["host"])


def downgrade() -> None:
    op.drop_table("rollout_hosts")
    op.drop_table("rollouts")
    op.drop_table("holds")
    op.drop_table("orders")
