"""Schedules that send validated days only, under the market's file name; days that lacked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0030"
down_revision = "r0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    bind = op.get_bind()
    metadata.create_all(bind, tables=[metadata.tables["missing_day"]], checkfirst=True)
    held = {column["name"] for column in sa.inspect(bind).get_columns("exchange_schedule")}
    if "sender" not in held:
        op.add_column("exchange_schedule", sa.Column("sender", sa.Text, nullable=False, server_default=""))
        op.add_column("exchange_schedule", sa.Column("validated", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_table("missing_day")
    with op.batch_alter_table("exchange_schedule") as batch:
        batch.drop_column("sender")
        batch.drop_column("validated")
