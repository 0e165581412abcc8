"""Nothing in the schema stands in the way of sharding by `shard`: no key, unique index or foreign key; months on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Table, UniqueConstraint, text

from gridtally_cloud.cli import main
from gridtally_cloud.store import meta, postgres
from gridtally_cloud.store.close import save_version
from gridtally_cloud.store.days import slots_of
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.intervals import ChannelRef, Slot
from gridtally_cloud.store.schema import metadata
from support.cloud_store import new_street
from support.stores import ON_POSTGRES

SHARDED = sorted((t for t in metadata.tables.values() if "shard" in t.columns), key=lambda table: table.name)
on_postgres = pytest.mark.skipif(not ON_POSTGRES, reason="PostgreSQL's own catalogue: GRIDTALLY_STORE=postgresql")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    street = new_street(tmp_path, 1)
    yield street.db
    street.db.close()


@pytest.mark.parametrize("table", SHARDED, ids=lambda table: table.name)
def test_every_unique_key_of_a_sharded_table_begins_with_the_shard_and_no_foreign_key_crosses(table: Table) -> None:
    key = [column.name for column in table.primary_key.columns]
    assert key[0] == "shard" or key == [postgres.NUMBERED[table.name]]  # which PostgreSQL has as (shard, number), see below
    unique = [list(c.columns) for c in table.constraints if isinstance(c, UniqueConstraint)]
    unique += [list(index.columns) for index in table.indexes if index.unique]
    assert all(columns[0].name == "shard" for columns in unique)
    assert not table.foreign_keys
    assert not [f for other in metadata.tables.values() for f in other.foreign_keys if f.column.table is table]


def test_the_statements_for_citus_spread_every_hot_table_and_leave_no_foreign_key_between_here_and_there() -> None:
    statements = postgres.distribution()
    spread = [s.split("'")[1] for s in statements if "create_distributed_table" in s]
    copied = [s.split("'")[1] for s in statements if "create_reference_table" in s]
    assert sorted(spread) == [table.name for table in SHARDED]
    assert spread[0] == "interval_block"
    assert not set(spread) & set(copied)
    for table in metadata.tables.values():
        for key in table.foreign_keys:
            assert (table.name in copied) == (key.column.table.name in copied)
    order = {name: place for place, name in enumerate(copied)}
    assert all(order[k.column.table.name] <= order[name] for name in copied for k in metadata.tables[name].foreign_keys)


def test_citus_is_refused_where_it_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mdm.toml"
    assert main(["--config", str(config), "init", "--citus"]) == 3
    assert "Citus is an extension of PostgreSQL" in capsys.readouterr().err
    assert main(["--config", str(config), "init", "--citus", "--show"]) == 0
    assert "create_distributed_table('interval_block', 'shard')" in capsys.readouterr().out


@on_postgres
def test_postgresql_has_the_shard_first_in_every_unique_index_of_a_hot_table(db: Database) -> None:
    query = text("""SELECT t.relname, i.relname, a.attname FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid
        JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]
        WHERE x.indisunique AND t.relname = ANY(:names)""")
    with db.read() as conn:
        rows = conn.execute(query, {"names": [table.name for table in SHARDED]}).all()
        keys = conn.exec_driver_sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND (conrelid::regclass::text = ANY(%s) "
                                    "OR confrelid::regclass::text = ANY(%s))", ([t.name for t in SHARDED],) * 2)  # fmt: skip
        assert keys.scalar_one() == 0
    assert {row[0] for row in rows} == {table.name for table in SHARDED}
    assert {row[2] for row in rows} == {"shard"}


@on_postgres
def test_blocks_lie_in_the_month_of_their_day(db: Database) -> None:
    """Also those that were there before there were months."""
    ref = ChannelRef(1, "Wh", "UTC")
    days = (20_484, 20_485, 20_513)  # 31 January, 1 February, 1 March 2026
    with db.write() as conn:
        conn.exec_driver_sql("DROP VIEW interval_value")
        conn.exec_driver_sql("DROP TABLE interval_block")
        conn.exec_driver_sql("CREATE TABLE interval_block (shard smallint NOT NULL, day integer NOT NULL, channel_no bigint NOT NULL, "
                             "version integer NOT NULL, n integer NOT NULL, start_utc_ms bigint NOT NULL, period_s integer NOT NULL, "
                             "blob bytea NOT NULL, quality bytea NOT NULL, source text NOT NULL, approved boolean NOT NULL, "
                             "created_ms bigint NOT NULL, "
                             "CONSTRAINT pk_interval_block PRIMARY KEY (shard, day, channel_no, version))")  # fmt: skip
        conn.exec_driver_sql("INSERT INTO interval_block VALUES (0, 20484, 1, 0, 0, 0, 900, '\\x0000', '', 'raw', true, 0)")
        postgres.make_partitions(conn)
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = 'r0031'")
    meta.prepare(db)
    with db.write() as conn:
        for day in days[1:]:
            grid = slots_of(day, "UTC", 900)
            save_version(conn, ref, grid, 0, {grid.start_ms: Slot(1, 0)}, "raw", True, 0)
    with db.read() as conn:
        found = conn.exec_driver_sql("SELECT day, tableoid::regclass::text FROM interval_block ORDER BY day").all()
        assert [tuple(row) for row in found] == [(days[0], "interval_block_2026_01"), (days[1], "interval_block_2026_02"),
                                                 (days[2], "interval_block_2026_03")]  # fmt: skip
        plan = "\n".join(conn.exec_driver_sql("EXPLAIN SELECT * FROM interval_block WHERE shard = 0 AND day = 20485").scalars())
        assert "2026_02" in plan
        assert "2026_01" not in plan
