"""The edges' forecasts of time left, the newest of each account."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0008"
down_revision = "r0007"
branch_labels = None
depends_on = None

NAME = "time_left"


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[NAME]], checkfirst=True)


def downgrade() -> None:
    op.drop_table(NAME)
