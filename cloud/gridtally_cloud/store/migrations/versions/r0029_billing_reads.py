"""Billing reads: jobs of the billing system, and the order to each of their meters."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0029"
down_revision = "r0028"
branch_labels = None
depends_on = None
TABLES = ("billing_read", "billing_read_item")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
