"""Who was given which data, and the lots meters were bought in."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0038"
down_revision = "r0037"
branch_labels = None
depends_on = None
TABLES = ("data_given", "meter_lot")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
