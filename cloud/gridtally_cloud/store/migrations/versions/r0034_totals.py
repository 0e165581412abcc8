"""Rows of day totals get narrower (`complete` follows from the counts); totals of months (store/totals.py)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.days import days_of_month, month_no
from gridtally_cloud.store.schema import metadata

revision = "r0034"
down_revision = "r0033"
branch_labels = None
depends_on = None

KEPT = "shard, day, channel_no, total, present, expected"
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

SUM_UP = """INSERT INTO usage_month (shard, month, channel_no, total, days, present, expected)
SELECT shard, {month}, channel_no, sum(total), count(*), sum(present), sum(expected) FROM usage_day
WHERE day BETWEEN {first} AND {last}
GROUP BY shard, channel_no HAVING max(day) = {last}"""
"""Months with their last day, as they begin ever after."""


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    conn = op.get_bind()
    metadata.create_all(conn, tables=[metadata.tables["usage_month"]], checkfirst=True)
    if "complete" not in {column["name"] for column in sa.inspect(conn).get_columns("usage_day")}:
        return
    if conn.dialect.name == "postgresql":
        for name in ("complete", "updated_ms"):
            op.drop_column("usage_day", name)
    else:
        _make_anew(KEPT)
    span = conn.exec_driver_sql("SELECT min(day), max(day) FROM usage_day").one()
    for month in range(month_no(span[0]), month_no(span[1]) + 1) if span[0] is not None else ():
        days = days_of_month(month)
        conn.exec_driver_sql(SUM_UP.format(month=month, first=days[0], last=days[-1]))


def _make_anew(kept: str, *more: sa.Column[object]) -> None:
    """SQLite drops a column by writing the table again; so do we, in the order of its key."""
    op.rename_table("usage_day", "usage_day_wide")
    op.create_table(
        "usage_day", sa.Column("shard", sa.SmallInteger, nullable=False), sa.Column("day", sa.Integer, nullable=False),
        sa.Column("channel_no", NUMBER, nullable=False), sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("present", sa.Integer, nullable=False), sa.Column("expected", sa.Integer, nullable=False), *more,
        sa.PrimaryKeyConstraint("shard", "day", "channel_no", name="pk_usage_day"), sqlite_with_rowid=False)  # fmt: skip
    op.execute(f"INSERT INTO usage_day ({KEPT}{', complete, updated_ms' if more else ''}) "
               f"SELECT {kept} FROM usage_day_wide ORDER BY shard, day, channel_no")  # fmt: skip
    op.drop_table("usage_day_wide")


def downgrade() -> None:
    """When a total was written last is not known any more."""
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("usage_day", sa.Column("complete", sa.Boolean, nullable=False, server_default=sa.false()))
        op.add_column("usage_day", sa.Column("updated_ms", sa.BigInteger, nullable=False, server_default="0"))
        op.execute("UPDATE usage_day SET complete = present >= expected")
    else:
        _make_anew(f"{KEPT}, present >= expected, 0", sa.Column("complete", sa.Boolean, nullable=False),
                   sa.Column("updated_ms", sa.BigInteger, nullable=False))  # fmt: skip
    op.drop_table("usage_month")
