"""Which customers were erased, and when."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0043"
down_revision = "r0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables["erasure"]], checkfirst=True)


def downgrade() -> None:
    op.drop_table("erasure")
