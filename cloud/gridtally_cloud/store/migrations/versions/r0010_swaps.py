"""Swaps of meters and edges. Tables of stores made before the first release."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0010"
down_revision = "r0009"
branch_labels = None
depends_on = None

TABLES = ("account_swap",)


def upgrade() -> None:
    """A store that r0001 has just made has it already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
