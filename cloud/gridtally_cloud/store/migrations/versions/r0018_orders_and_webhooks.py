"""Work orders, webhooks, and changes of the way of paying step by step."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0018"
down_revision = "r0017"
branch_labels = None
depends_on = None

TABLES = ("work_order", "webhook", "webhook_notice", "mode_migration")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
