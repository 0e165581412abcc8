"""Load limits for what is owed on bills."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0019"
down_revision = "r0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables["arrears_limit"]], checkfirst=True)


def downgrade() -> None:
    op.drop_table("arrears_limit")
