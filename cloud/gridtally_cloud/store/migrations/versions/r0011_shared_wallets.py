"""Wallets that several accounts share. Tables of stores made before them."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0011"
down_revision = "r0010"
branch_labels = None
depends_on = None

TABLES = ("shared_wallet", "wallet_member", "wallet_entry")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
