"""Who was told of new prices, where they are in force, who has viewed them."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0021"
down_revision = "r0020"
branch_labels = None
depends_on = None
TABLES = ("price_notice", "notice_word", "price_refused")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
