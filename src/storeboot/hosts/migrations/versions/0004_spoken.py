"""Whether a boot's machine has gone on is kept with the boot; events are found by their boot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "boots", sa.Column("spoken", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_index("ix_events_boot", "events", ["boot"])
    op.create_index("ix_events_host_boot", "events", ["host", "boot", "id"])
    boots, events = (
        sa.table("boots", sa.column("id"), sa.column("spoken")),
        sa.table("events", sa.column("boot"), sa.column("source")),
    )
    said = sa.select(events.c.boot).where(events.c.source != "server")
    op.execute(sa.update(boots).where(boots.c.id.in_(said)).values(spoken=True))


def downgrade() -> None:
    op.drop_index("ix_events_host_boot", "events")
    op.drop_index("ix_events_boot", "events")
    with op.batch_alter_table("boots") as batch:
        batch.drop_column("spoken")
