"""A load limit for arrears keeps how much had been paid when it was told, so that paying what was told frees.

Limits that are open stay as they are: without that amount they end when nothing is overdue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0041"
down_revision = "r0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    if "paid_nano" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("arrears_limit")}:
        op.add_column("arrears_limit", sa.Column("paid_nano", sa.BigInteger))


def downgrade() -> None:
    with op.batch_alter_table("arrears_limit") as batch:
        batch.drop_column("paid_nano")
