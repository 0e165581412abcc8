"""Dated rules of billing, and charges for late payment."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0033"
down_revision = "r0032"
branch_labels = None
depends_on = None
TABLES = ("billing_rule", "late_run", "late_charge")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
