"""What people did on site at supplies whose account no concentrator runs."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0046"
down_revision = "r0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables["site_entry"]], checkfirst=True)


def downgrade() -> None:
    op.drop_table("site_entry")
