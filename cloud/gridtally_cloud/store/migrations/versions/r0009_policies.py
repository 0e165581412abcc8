"""Versions of policies, and which account follows which."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0009"
down_revision = "r0008"
branch_labels = None
depends_on = None

NAMES = ("policy_version", "account_policy")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in NAMES], checkfirst=True)


def downgrade() -> None:
    for name in NAMES:
        op.drop_table(name)
