"""The store itself: transactions, durability settings, schema, identity, keys for Citus."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_mock_engine, func, insert, select
from sqlalchemy.exc import OperationalError

from gridtally_cloud.store import meta, tables
from gridtally_cloud.store.db import Database, insert_new, upsert
from gridtally_cloud.store.schema import metadata
from gridtally_shared.errors import ConfigError
from support.stores import fresh_store
from support.waiting import wait_until

HOLDER = """from gridtally_cloud.store.db import Database
with Database({url!r}).alone("job replenish") as it:
    print(it, flush=True)
    input()
"""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    yield db
    db.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """For what is SQLite's own: its settings, and its one writer."""
    db = Database(tmp_path / "own.db")
    meta.prepare(db)
    yield db
    db.close()


def test_commits_are_durable(sqlite: Database) -> None:
    with sqlite.read() as conn:
        assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert conn.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert conn.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_write_while_another_process_writes_is_refused_as_any_failing_statement_and_the_next_one_goes(sqlite: Database) -> None:
    with sqlite.read() as conn:
        conn.exec_driver_sql("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(sqlite.url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"), sqlite.write():
            pytest.fail("two write at once")
        other.execute("ROLLBACK")
    with sqlite.write() as conn:
        assert conn.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_piece_of_work_is_done_by_one_process_at_a_time_and_one_that_was_killed_holds_up_nobody(db: Database) -> None:
    other = Database(db.url)
    with db.alone("job replenish") as mine:
        with other.alone("job replenish") as theirs, other.alone("job/refunds") as another:
            assert (mine, theirs, another) == (True, False, True)
        with other.write() as conn:
            assert conn.exec_driver_sql("SELECT 1").scalar() == 1, "nobody waits to write"
    words, piped = [sys.executable, "-c", HOLDER.format(url=db.url)], subprocess.PIPE
    with subprocess.Popen(words, stdin=piped, stdout=piped, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        with db.alone("job replenish") as mine:
            assert not mine
        child.kill()
        child.wait()
    assert wait_until(lambda: _is_free(db, "job replenish"), 10, "it is free")
    other.close()


def _is_free(db: Database, name: str) -> bool:
    with db.alone(name) as mine:
        return mine


def test_the_identity_of_a_store_stays(db: Database) -> None:
    with db.read() as conn:
        first = meta.store_id(conn)
    assert meta.prepare(db) == first
    assert len(first) == 16


def test_a_write_that_fails_leaves_nothing(db: Database) -> None:
    def fail() -> None:
        with db.write() as conn:
            conn.execute(insert(tables.dcu).values(dcu="a", created_ms=1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with db.read() as conn:
        assert conn.execute(select(func.count()).select_from(tables.dcu)).scalar() == 0


def test_writes_do_not_nest(db: Database) -> None:
    with db.write(), pytest.raises(ValueError), db.write():
        pass


def test_a_reader_sees_one_state_throughout(db: Database) -> None:
    with db.read() as reader:
        assert reader.execute(select(func.count()).select_from(tables.dcu)).scalar() == 0
        with db.write() as conn:
            conn.execute(insert(tables.dcu).values(dcu="a", created_ms=1))
        assert reader.execute(select(func.count()).select_from(tables.dcu)).scalar() == 0


def test_writers_of_many_threads_and_connections_lose_no_update(sqlite: Database) -> None:
    other = Database(sqlite.url)
    key = {"dcu": "a", "key_id": b"k"}

    def count_up(store: Database) -> None:
        for _ in range(20):
            with store.write() as conn:
                insert_new(conn, tables.command_counter, [key | {"value": 0}])
                value = conn.execute(select(tables.command_counter.c.value)).scalar_one()
                upsert(conn, tables.command_counter, key | {"value": value + 1})

    threads = [threading.Thread(target=count_up, args=(store,)) for store in (sqlite, other, sqlite, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    with sqlite.read() as conn:
        assert conn.execute(select(tables.command_counter.c.value)).scalar_one() == 80


def test_insert_new_leaves_what_is_there_and_counts_what_is_new(tmp_path: Path) -> None:
    """Callers go by the number: a count of -1 on PostgreSQL made every notice an old one."""
    counters, either = tables.switch_counter, fresh_store(tmp_path)
    with either.write() as conn:
        assert insert_new(conn, counters, [{"meter_no": 1, "value": 5}]) == 1
        assert insert_new(conn, counters, [{"meter_no": 1, "value": 6}]) == 0
        assert insert_new(conn, counters, [{"meter_no": 1, "value": 9}, {"meter_no": 2, "value": 1}]) == 1
        assert insert_new(conn, counters, [{"meter_no": number, "value": 0} for number in range(2, 2_503)]) == 2_500
        assert conn.execute(select(counters.c.value).order_by(counters.c.meter_no).limit(2)).scalars().all() == [5, 1]
    either.close()


def test_a_sum_of_whole_numbers_is_one(tmp_path: Path) -> None:
    """PostgreSQL's is a Decimal to its driver, which rounds -7 // 2 to -3, and no format of money takes it."""
    counters, either = tables.switch_counter, fresh_store(tmp_path)
    with either.write() as conn:
        insert_new(conn, counters, [{"meter_no": 1, "value": 5}, {"meter_no": 2, "value": -12}])
        total = conn.execute(select(func.sum(counters.c.value))).scalar_one()
        assert (type(total), total // 2) == (int, -4)
    either.close()


def test_the_migrations_make_what_the_modules_declare(db: Database) -> None:
    with db.read() as conn:
        differences = compare_metadata(MigrationContext.configure(conn, opts={"compare_type": False}), metadata)
    assert differences == []
    settings = Config()
    settings.set_main_option("script_location", str(meta.MIGRATIONS))
    assert ScriptDirectory.from_config(settings).get_current_head() == meta.HEAD


HOT = ("interval_block", "usage_day", "reading", "reading_latest", "meter_status", "stream_head", "inbox_seen", "journal_entry",
       "account_mirror", "vee_run", "vee_order")  # fmt: skip


@pytest.mark.parametrize("name", HOT)
def test_hot_tables_carry_the_distribution_key_first(name: str) -> None:
    table = metadata.tables[name]
    assert next(iter(table.primary_key.columns)).name == "shard"
    assert not table.foreign_keys


def test_the_schema_compiles_for_postgresql() -> None:
    statements: list[str] = []
    engine = create_mock_engine("postgresql+psycopg://", lambda sql, *_: statements.append(str(sql.compile(dialect=engine.dialect))))
    metadata.create_all(engine, checkfirst=False)
    made = [s for s in statements if "CREATE TABLE" in s]
    assert len(made) == len(metadata.tables)
    assert not any("ROWID" in s for s in made)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/x"])
def test_a_store_that_can_not_be_shared_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        Database(url)
