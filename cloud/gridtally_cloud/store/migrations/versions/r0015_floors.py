"""Instrument numbers that edges have used and a store put back from an older copy did not issue."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0015"
down_revision = "r0014"
branch_labels = None
depends_on = None

NAME = "instrument_floor"


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[NAME]], checkfirst=True)


def downgrade() -> None:
    op.drop_table(NAME)
