"""Rule sets by class, edits, what was restated; which version stood when a day was judged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0023"
down_revision = "r0022"
branch_labels = None
depends_on = None
TABLES = ("vee_rule_set", "vee_point", "vee_edit", "vee_restated")

STOOD = """UPDATE vee_run SET stands = (SELECT MAX(b.version) FROM interval_block b WHERE b.shard = vee_run.shard AND b.day = vee_run.day
AND b.channel_no = vee_run.channel_no AND b.approved) WHERE status <> 'pending'"""


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    bind = op.get_bind()
    metadata.create_all(bind, tables=[metadata.tables[name] for name in TABLES], checkfirst=True)
    if "stands" not in {column["name"] for column in sa.inspect(bind).get_columns("vee_run")}:
        op.add_column("vee_run", sa.Column("stands", sa.Integer))
        op.execute(STOOD)


def downgrade() -> None:
    op.drop_column("vee_run", "stands")
    for name in TABLES:
        op.drop_table(name)
