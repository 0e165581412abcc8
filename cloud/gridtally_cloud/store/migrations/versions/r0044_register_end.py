"""Where a meter's register ends and begins at 0 again, and what was used while one was set back, as a person said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0044"
down_revision = "r0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables["register_set_back"]], checkfirst=True)
    if "register_end_wh" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("meter")}:
        op.add_column("meter", sa.Column("register_end_wh", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_table("register_set_back")
    op.drop_column("meter", "register_end_wh")
