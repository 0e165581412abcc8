"""The mark of the last entry taken of each stream, and of those above a hole."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0047"
down_revision = "r0046"
branch_labels = None
depends_on = None
TABLES = ("stream_head", "inbox_seen")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    for table in TABLES:
        if "mark" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}:
            op.add_column(table, sa.Column("mark", sa.LargeBinary))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "mark")
