"""Retailers of record, daily limits of inquiries, and requests for data with their states."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0022"
down_revision = "r0021"
branch_labels = None
depends_on = None
TABLES = ("retailer", "retailer_of_record", "retailer_token", "inquiry_limit", "data_request")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
