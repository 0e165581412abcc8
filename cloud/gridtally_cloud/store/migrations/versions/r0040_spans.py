"""Orders to VEE of days closed together take a row for many (store/orders.py); what waits by a row of its own is found by a narrow index.

Orders that are open stay as they are, rows of `vee_run` with status 0: that is how a day closed by itself waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0040"
down_revision = "r0039"
branch_labels = None
depends_on = None

BEFORE, NOW = "ix_vee_run_status", "ix_vee_run_pending"
WAITS = sa.text("status = 0")

ONE_BY_ONE = """INSERT INTO vee_run (shard, day, channel_no, version, rule_set, status, findings, at_ms)
SELECT b.shard, b.day, b.channel_no, 0, '', 0, 0, 0 FROM interval_block b
WHERE b.version = 0
AND EXISTS (SELECT 1 FROM vee_order o WHERE o.shard = b.shard AND o.day = b.day AND b.channel_no BETWEEN o.first_no AND o.last_no)
AND NOT EXISTS (SELECT 1 FROM vee_run r WHERE r.shard = b.shard AND r.day = b.day AND r.channel_no = b.channel_no)"""


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    conn = op.get_bind()
    metadata.create_all(conn, tables=[metadata.tables["vee_order"]], checkfirst=True)
    if BEFORE in {index["name"] for index in sa.inspect(conn).get_indexes("vee_run")}:
        op.create_index(NOW, "vee_run", ["shard", "status"], sqlite_where=WAITS, postgresql_where=WAITS)
        op.drop_index(BEFORE, "vee_run")


def downgrade() -> None:
    """The release before knows orders of one day only."""
    op.execute(ONE_BY_ONE)
    op.drop_table("vee_order")
    op.create_index(BEFORE, "vee_run", ["shard", "status"])
    op.drop_index(NOW, "vee_run")
