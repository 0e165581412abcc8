"""Orders to VEE get narrower: the status is a number, and what waits has no time of judgement."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.tables import STATUS
from gridtally_shared.errors import ConfigError

revision = "r0036"
down_revision = "r0035"
branch_labels = None
depends_on = None

COLUMNS = ("shard", "day", "channel_no", "version", "rule_set", "status", "findings", "at_ms", "stands")
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """A store that r0001 has just made has everything already. Raises ConfigError where a status is unknown; nothing is changed then."""
    conn = op.get_bind()
    kind = next(column["type"] for column in sa.inspect(conn).get_columns("vee_run") if column["name"] == "status")
    if isinstance(kind, sa.Integer):
        return
    unknown = conn.exec_driver_sql(f"SELECT status FROM vee_run WHERE {STATUS.codes('status')} IS NULL LIMIT 1").scalar_one_or_none()
    if unknown is not None:
        raise ConfigError("vee_run.status", unknown, f"gridtally writes none but {', '.join(map(str, STATUS.values))}: mend the row")
    _become(sa.Integer(), STATUS.codes("status"))
    op.execute("UPDATE vee_run SET at_ms = 0 WHERE status = 0")


def downgrade() -> None:
    """When a day that waits was closed says its block."""
    _become(sa.Text(), STATUS.words("status"))


def _become(kind: sa.Integer | sa.Text, meaning: str) -> None:
    """`status` of this type, with this value."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("vee_run", "status", type_=kind, postgresql_using=meaning)
        return
    op.drop_index("ix_vee_run_status", "vee_run")
    op.rename_table("vee_run", "vee_run_before")
    op.create_table(
        "vee_run", sa.Column("shard", sa.SmallInteger, nullable=False), sa.Column("day", sa.Integer, nullable=False),
        sa.Column("channel_no", NUMBER, nullable=False), sa.Column("version", sa.Integer, nullable=False),
        sa.Column("rule_set", sa.Text, nullable=False), sa.Column("status", kind, nullable=False),
        sa.Column("findings", sa.Integer, nullable=False), sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("stands", sa.Integer), sa.PrimaryKeyConstraint("shard", "day", "channel_no", name="pk_vee_run"),
        sqlite_with_rowid=False)  # fmt: skip
    values = ", ".join(meaning if name == "status" else name for name in COLUMNS)
    op.execute(f"INSERT INTO vee_run ({', '.join(COLUMNS)}) SELECT {values} FROM vee_run_before ORDER BY shard, day, channel_no")
    op.drop_table("vee_run_before")
    op.create_index("ix_vee_run_status", "vee_run", ["shard", "status"])
