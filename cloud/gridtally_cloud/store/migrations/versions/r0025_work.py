"""Work shared by any number of workers: leases by usage point, runs of bills and exports."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0025"
down_revision = "r0024"
branch_labels = None
depends_on = None
TABLES = ("work_item", "work_run")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
