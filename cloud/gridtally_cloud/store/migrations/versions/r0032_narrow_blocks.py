"""Rows of blocks get narrower: their start as the number of an interval, words as numbers, nothing twice (store/blocks.py)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store import postgres
from gridtally_cloud.store.blocks import length_of, period_sql, start_sql
from gridtally_cloud.store.tables import PERIOD, SOURCE
from gridtally_shared.errors import ConfigError

revision = "r0032"
down_revision = "r0031"
branch_labels = None
depends_on = None

KEY = ("shard", "day", "channel_no", "version")

CARRY = f"""INSERT INTO interval_block (shard, day, channel_no, version, first_no, period_s, created_s, source, blob, quality)
SELECT shard, day, channel_no, version, start_utc_ms / (period_s * 1000) - CAST(day AS BIGINT) * 86400 / period_s,
       {PERIOD.codes("period_s")}, created_ms / 1000 - CAST(day AS BIGINT) * 86400, {SOURCE.codes("source")}, blob, quality
FROM interval_block_wide ORDER BY shard, day, channel_no, version"""

UNFIT = f"""SELECT day, channel_no, version FROM interval_block
WHERE start_utc_ms % (period_s * 1000) <> 0 OR {SOURCE.codes("source")} IS NULL OR approved <> (source <> 'conflict') LIMIT 1"""

BACK = f"""INSERT INTO interval_block (shard, day, channel_no, version, n, start_utc_ms, period_s, blob, quality, source, approved,
       created_ms)
SELECT w.shard, w.day, w.channel_no, w.version, 0, {start_sql("w")}, {period_sql("w")}, w.blob, w.quality, {SOURCE.words("w.source")},
       w.source <> {SOURCE.code("conflict")}, (CAST(w.day AS BIGINT) * 86400 + w.created_s) * 1000
FROM interval_block_wide w"""


def _key() -> list[Any]:
    narrow, number = sa.SmallInteger, sa.BigInteger().with_variant(sa.Integer, "sqlite")
    kinds: tuple[Any, ...] = (narrow, sa.Integer, number, sa.Integer)
    return [sa.Column(name, kind, nullable=False) for name, kind in zip(KEY, kinds, strict=True)]


def _bytes() -> list[Any]:
    return [sa.Column("blob", sa.LargeBinary, nullable=False), sa.Column("quality", sa.LargeBinary, nullable=False)]


def upgrade() -> None:
    """A store that r0001 has just made has everything already, but for the view. Raises ConfigError where a row can not be carried over;
    nothing is changed then."""
    conn = op.get_bind()
    if "first_no" not in {column["name"] for column in sa.inspect(conn).get_columns("interval_block")}:
        unfit = conn.exec_driver_sql(UNFIT.replace("%", "%%") if conn.dialect.name == "postgresql" else UNFIT).first()
        if unfit is not None:
            raise ConfigError("the store", f"day {unfit[0]}, channel {unfit[1]}, version {unfit[2]}",
                              "its block was not written by gridtally: the start is not on its grid, or its source is unknown")  # fmt: skip
        short = [sa.Column(name, sa.Integer, nullable=False) for name in ("first_no", "period_s", "created_s", "source")]
        _make_anew(conn, [*_key(), *short, *_bytes()])
        conn.exec_driver_sql(CARRY)
        conn.exec_driver_sql("DROP TABLE interval_block_wide")
    if conn.dialect.name == "postgresql":
        postgres.make_sql(conn)


def downgrade() -> None:
    conn = op.get_bind()
    _make_anew(conn, [
        *_key(), sa.Column("n", sa.Integer, nullable=False), sa.Column("start_utc_ms", sa.BigInteger, nullable=False),
        sa.Column("period_s", sa.Integer, nullable=False), *_bytes(), sa.Column("source", sa.Text, nullable=False),
        sa.Column("approved", sa.Boolean, nullable=False), sa.Column("created_ms", sa.BigInteger, nullable=False),
    ])  # fmt: skip
    conn.exec_driver_sql(BACK)
    conn.exec_driver_sql("DROP TABLE interval_block_wide")
    block = sa.table("interval_block", *(sa.column(name) for name in (*KEY, "n", "blob")))
    mine = sa.and_(*(block.c[name] == sa.bindparam(f"of_{name}") for name in KEY))
    for row in conn.execute(sa.select(*(block.c[name] for name in KEY), block.c.blob)).all():
        conn.execute(sa.update(block).where(mine), {f"of_{name}": row[i] for i, name in enumerate(KEY)} | {"n": length_of(row.blob)})


def _make_anew(conn: sa.Connection, columns: list[Any]) -> None:
    """An empty `interval_block` of these columns; the one there was is `interval_block_wide`, its months on PostgreSQL with it."""
    on_postgres = conn.dialect.name == "postgresql"
    days = conn.exec_driver_sql("SELECT DISTINCT day FROM interval_block").scalars().all() if on_postgres else ()
    if on_postgres:
        conn.exec_driver_sql("DROP VIEW IF EXISTS interval_value")
        for name in conn.exec_driver_sql("SELECT inhrelid::regclass::text FROM pg_inherits "
                                         "WHERE inhparent = 'interval_block'::regclass").scalars().all():  # fmt: skip
            conn.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {name}_wide")
        conn.exec_driver_sql("ALTER TABLE interval_block RENAME CONSTRAINT pk_interval_block TO pk_interval_block_wide")
    op.rename_table("interval_block", "interval_block_wide")
    op.create_table("interval_block", *columns, sa.PrimaryKeyConstraint(*KEY, name="pk_interval_block"), sqlite_with_rowid=False,
                    postgresql_partition_by="RANGE (day)")  # fmt: skip
    for day in days:
        postgres.make_month(conn, day)
