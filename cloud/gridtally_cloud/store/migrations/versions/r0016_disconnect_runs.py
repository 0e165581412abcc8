"""Disconnect runs and their items."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0016"
down_revision = "r0015"
branch_labels = None
depends_on = None

NAMES = ("disconnect_run", "disconnect_item")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in NAMES], checkfirst=True)


def downgrade() -> None:
    for name in reversed(NAMES):
        op.drop_table(name)
