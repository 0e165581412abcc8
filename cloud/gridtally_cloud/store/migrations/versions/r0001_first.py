"""The first schema: everything the modules declare. Frozen at the first release; later revisions say what changed."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
