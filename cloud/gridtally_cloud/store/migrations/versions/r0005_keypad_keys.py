"""Keys of keypad codes. A table of stores made before it."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0005"
down_revision = "r0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables["keypad_key"]], checkfirst=True)


def downgrade() -> None:
    op.drop_table("keypad_key")
