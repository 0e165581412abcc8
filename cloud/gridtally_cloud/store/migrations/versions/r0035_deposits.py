"""Deposits: their receipts, and the days they bore interest on."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0035"
down_revision = "r0034"
branch_labels = None
depends_on = None
TABLES = ("deposit_receipt", "deposit_interest")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
