"""Terms of supplies: feeder, contract demand, class, flags."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0017"
down_revision = "r0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables["supply_terms"]], checkfirst=True)


def downgrade() -> None:
    op.drop_table("supply_terms")
