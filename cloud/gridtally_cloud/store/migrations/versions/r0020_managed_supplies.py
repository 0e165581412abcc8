"""Where the engines of accounts managed from the cloud stand."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0020"
down_revision = "r0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables["managed_supply"]], checkfirst=True)


def downgrade() -> None:
    op.drop_table("managed_supply")
