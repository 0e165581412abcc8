"""Schedules and their money, configured priorities; what a command targets and when it was answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0006"
down_revision = "r0005"
branch_labels = None
depends_on = None

TABLES = ("schedule", "schedule_posting", "event_site", "command_priority")
COLUMNS = ("detail", "target", "delivered_at_ms", "completed_at_ms", "ended_at_ms")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    bind = op.get_bind()
    metadata.create_all(bind, tables=[metadata.tables[name] for name in TABLES], checkfirst=True)
    there = {column["name"] for column in sa.inspect(bind).get_columns("command")}
    for name in COLUMNS:
        if name not in there:
            op.add_column("command", sa.Column(name, metadata.tables["command"].c[name].type))


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
    for name in COLUMNS:
        op.drop_column("command", name)
