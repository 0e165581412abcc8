"""How far each mirrored journal was walked with the tariff engine."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0013"
down_revision = "r0012"
branch_labels = None
depends_on = None

NAME = "account_charging"


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[NAME]], checkfirst=True)


def downgrade() -> None:
    op.drop_table(NAME)
