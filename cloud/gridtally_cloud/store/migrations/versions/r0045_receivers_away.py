"""Since when a receiver of webhooks is not reached, and until when it is left alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0045"
down_revision = "r0044"
branch_labels = None
depends_on = None
COLUMNS = (("attempts", sa.Integer), ("next_ms", sa.BigInteger))


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("webhook")}
    for name, kind in COLUMNS:
        if name not in there:
            op.add_column("webhook", sa.Column(name, kind, nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("webhook") as batch:
        for name, _ in COLUMNS:
            batch.drop_column(name)
