"""Files of the watched folder, schedules of files out and their runs."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0026"
down_revision = "r0025"
branch_labels = None
depends_on = None
TABLES = ("exchange_file", "exchange_schedule", "exchange_run")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
