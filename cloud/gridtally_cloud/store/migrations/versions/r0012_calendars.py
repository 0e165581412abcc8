"""Versions of calendars, and which account goes by which."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0012"
down_revision = "r0011"
branch_labels = None
depends_on = None

NAMES = ("calendar_version", "account_calendar")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in NAMES], checkfirst=True)


def downgrade() -> None:
    for name in NAMES:
        op.drop_table(name)
