"""Finds the journal entry that used an instrument, whatever its kind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0007"
down_revision = "r0006"
branch_labels = None
depends_on = None

NAME = "ix_journal_entry_used"


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    bind = op.get_bind()
    if NAME not in {index["name"] for index in sa.inspect(bind).get_indexes("journal_entry")}:
        next(index for index in metadata.tables["journal_entry"].indexes if index.name == NAME).create(bind)


def downgrade() -> None:
    op.drop_index(NAME, "journal_entry")
