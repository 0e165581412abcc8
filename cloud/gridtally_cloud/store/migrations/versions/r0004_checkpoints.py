"""Checkpoints of journals and asks for leases. Tables of stores made before the first release."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None

TABLES = ("checkpoint", "lease_ask")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
