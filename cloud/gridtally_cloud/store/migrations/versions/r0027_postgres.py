"""PostgreSQL only: blocks by month, keys that begin with the shard. The function and view that unpack blocks in SQL are made by r0032."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store import postgres

revision = "r0027"
down_revision = "r0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    conn = op.get_bind()
    if conn.dialect.name == "postgresql":
        postgres.make_partitions(conn)
        postgres.widen_keys(conn)


def downgrade() -> None:
    """The months and the keys hold the same rows and may stay."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP VIEW IF EXISTS interval_value")
        op.execute("DROP FUNCTION IF EXISTS gridtally_block")
