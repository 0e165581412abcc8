"""Settings, name plates and places of meters; what a command writes. Tables of stores made before the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None

TABLES = ("meter_setting", "name_plate", "node", "place")
COLUMNS = ("settings", "reset")


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    bind = op.get_bind()
    metadata.create_all(bind, tables=[metadata.tables[name] for name in TABLES], checkfirst=True)
    there = {column["name"] for column in sa.inspect(bind).get_columns("command")}
    for name in COLUMNS:
        if name not in there:
            op.add_column("command", sa.Column(name, metadata.tables["command"].c[name].type))


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
    for name in COLUMNS:
        op.drop_column("command", name)
