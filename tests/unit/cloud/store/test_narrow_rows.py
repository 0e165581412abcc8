"""What rows leave out is what follows from the rest: rows packed and unpacked, zones that change, stores of before carried over."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, insert, inspect, select, update

from gridtally_cloud.store import meta
from gridtally_cloud.store.blocks import COLUMNS, Block, blocks, packed_row
from gridtally_cloud.store.close import save_version
from gridtally_cloud.store.coded import Coded
from gridtally_cloud.store.days import slots_of
from gridtally_cloud.store.db import Database, put_rows
from gridtally_cloud.store.intervals import ChannelRef, Slot, read_intervals
from gridtally_cloud.store.postgres import make_month
from gridtally_cloud.store.sql import ask
from gridtally_cloud.store.tables import channel, interval_block, usage_point, vee_run
from gridtally_native import decode_block, encode_block
from gridtally_shared.errors import ConfigError
from support.stores import ON_POSTGRES, fresh_store

ZONES = ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham", "Pacific/Kiritimati", "Europe/Berlin")
PERIODS = (60, 300, 600, 900, 1800, 3600, 7200)
SOURCES = ("raw", "late", "conflict", "estimate", "edit", "silent")

BYTES, NUMBER, TAIL = ("bytea", "bigint", "PARTITION BY RANGE (day)") if ON_POSTGRES else ("BLOB", "INTEGER", "WITHOUT ROWID")
WIDE = f"""CREATE TABLE interval_block (shard SMALLINT NOT NULL, day INTEGER NOT NULL, channel_no {NUMBER} NOT NULL,
    version INTEGER NOT NULL, n INTEGER NOT NULL, start_utc_ms BIGINT NOT NULL, period_s INTEGER NOT NULL, blob {BYTES} NOT NULL,
    quality {BYTES} NOT NULL, source TEXT NOT NULL, approved BOOLEAN NOT NULL, created_ms BIGINT NOT NULL,
    CONSTRAINT pk_interval_block PRIMARY KEY (shard, day, channel_no, version)) {TAIL}"""
"""The table as it was before r0032."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    yield db
    db.close()


def some_blocks(seed: int) -> list[Block]:
    """Versions of days in February and March 2026, in many zones and lengths."""
    rng, made = random.Random(seed), []
    for number in range(1, 25):
        grid = slots_of(rng.randrange(20_490, 20_540), rng.choice(ZONES), rng.choice(PERIODS))
        for version in range(rng.randint(1, 3)):
            blob = encode_block(array("q", [rng.randrange(900) for _ in range(grid.n)]), bytes(rng.random() < 0.9 for _ in range(grid.n)))
            quality, made_ms = rng.choice((b"", bytes(2 * grid.n))), grid.end_ms + 1000 * rng.randrange(-90_000, 400 * 86_400)
            made.append(Block(grid.day, number, version, grid.start_ms, grid.period_s, blob, quality, rng.choice(SOURCES), made_ms))
    return made


def held(conn: Connection, made: list[Block]) -> list[Block]:
    return sorted(blocks(conn, {b.channel_no for b in made}, {b.day for b in made}), key=lambda b: (b.channel_no, b.day, b.version))


def wide_store(conn: Connection, made: list[Block]) -> None:
    """The store as the release before left it."""
    if ON_POSTGRES:
        conn.exec_driver_sql("DROP VIEW interval_value")
    conn.exec_driver_sql("DROP TABLE interval_block")
    conn.exec_driver_sql(WIDE)
    for month, first, after in (("2026_02", 20_485, 20_513), ("2026_03", 20_513, 20_544)) if ON_POSTGRES else ():
        conn.exec_driver_sql(f"CREATE TABLE interval_block_{month} PARTITION OF interval_block FOR VALUES FROM ({first}) TO ({after})")
    mark = "%s" if ON_POSTGRES else "?"
    for b in made:
        row = (0, b.day, b.channel_no, b.version, b.n, b.start_ms, b.period_s, b.blob, b.quality, b.source, b.approved, b.created_ms)
        conn.exec_driver_sql(f"INSERT INTO interval_block VALUES ({', '.join([mark] * 12)})", row)
    conn.exec_driver_sql("UPDATE alembic_version SET version_num = 'r0031'")


def put(conn: Connection, made: list[Block]) -> None:
    for day in {block.day for block in made}:
        make_month(conn, day)
    put_rows(conn, interval_block, COLUMNS, [packed_row(block) for block in made])


@pytest.mark.parametrize("seed", range(3))
def test_a_row_says_what_the_block_said(db: Database, seed: int) -> None:
    made = some_blocks(seed)
    assert all(block.n == len(decode_block(block.blob)[0]) for block in made)
    with db.write() as conn:
        put(conn, [block._replace(created_ms=block.created_ms + 999) for block in made])  # of its time whole seconds are kept
        assert held(conn, made) == made
    assert view(db) == expected_view(made)


def view(db: Database) -> list[tuple[object, ...]]:
    question = "SELECT channel_no, version, source, approved, start_ms, period_s FROM interval_value ORDER BY channel_no, version, start_ms"
    return [(no, version, source, bool(approved), at, length) for no, version, source, approved, at, length in [*ask(db, question)][1:]]


def expected_view(made: list[Block]) -> list[tuple[object, ...]]:
    return [(b.channel_no, b.version, b.source, b.source != "conflict", b.start_ms + i * b.period_s * 1000, b.period_s)
            for b in made for i in range(b.n)]  # fmt: skip


def test_the_usual_takes_no_byte_and_a_start_elsewhere_one() -> None:
    here, there = slots_of(20_500, "UTC", 900), slots_of(20_500, "Asia/Kolkata", 900)
    rows = [packed_row(Block(20_500, 1, 0, grid.start_ms, 900, b"", b"", "raw", grid.end_ms)) for grid in (here, there)]
    assert [row[4:8] for row in rows] == [(0, 0, 86_400, 0), (-22, 0, 66_600, 0)]


def test_a_start_stays_true_when_the_zone_of_the_usage_point_changes(db: Database) -> None:
    grid, ref = slots_of(20_500, "Asia/Kolkata", 900), ChannelRef(1, "Wh", "Asia/Kolkata")
    with db.write() as conn:
        conn.execute(insert(usage_point).values(usage_point_no=1, zone="Asia/Kolkata", created_ms=0))
        conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=11, direction="import", unit="Wh", exponent=0,
                                            period_s=900))  # fmt: skip
        save_version(conn, ref, grid, 0, {grid.start_ms + i * 900_000: Slot(i, 0) for i in range(96)}, "raw", True, grid.end_ms)
        conn.execute(update(usage_point).values(zone="Europe/Berlin"))
        assert list(read_intervals(conn, 1, grid.start_ms, grid.start_ms + 60_000).values) == [0]
        assert blocks(conn, [1], [20_500])[0].start_ms == grid.start_ms


def test_a_version_is_approved_as_its_source_is(db: Database) -> None:
    grid = slots_of(20_500, "UTC", 900)
    with db.write() as conn, pytest.raises(ValueError, match="source conflict is not approved"):
        save_version(conn, ChannelRef(1, "Wh", "UTC"), grid, 0, {}, "conflict", True, 0)


@pytest.mark.parametrize("seed", range(2))
def test_a_store_of_before_is_carried_over_and_back(db: Database, seed: int) -> None:
    made = some_blocks(seed)
    with db.write() as conn:
        wide_store(conn, made)
    meta.prepare(db)
    with db.write() as conn:
        assert held(conn, made) == made
    assert view(db) == expected_view(made)
    with db.write() as conn:
        settings = Config()
        settings.set_main_option("script_location", str(meta.MIGRATIONS))
        settings.attributes["connection"] = conn
        command.downgrade(settings, "r0031")
    with db.read() as conn:
        rows = conn.exec_driver_sql("SELECT channel_no, version, n, start_utc_ms, period_s, source, approved, created_ms "
                                    "FROM interval_block ORDER BY channel_no, version").all()  # fmt: skip
    assert [(*row[:6], bool(row[6]), row[7]) for row in rows] == [
        (b.channel_no, b.version, b.n, b.start_ms, b.period_s, b.source, b.approved, b.created_ms) for b in made]  # fmt: skip


@pytest.mark.parametrize("change", ["start_utc_ms = start_utc_ms + 1", "source = 'guess'", "approved = NOT approved"])
def test_a_row_that_says_more_than_fits_stops_the_upgrade_and_stays(db: Database, change: str) -> None:
    with db.write() as conn:
        wide_store(conn, some_blocks(0))
        conn.exec_driver_sql(f"UPDATE interval_block SET {change} WHERE channel_no = 7")
    with pytest.raises(ConfigError, match=r"channel 7.*not written by gridtally"):
        meta.prepare(db)
    with db.read() as conn:
        assert meta.revision(conn) == "r0031"
        assert conn.exec_driver_sql("SELECT count(n) FROM interval_block").scalar_one() == len(some_blocks(0))


def test_codes_stand_for_words_and_other_numbers_for_themselves() -> None:
    word, number = Coded("raw", "late"), Coded(900, 60)
    assert [word.code("late"), number.code(60), number.code(7200), word.code(None)] == [1, 1, 7200, None]
    for bad in ("edit", 0):
        with pytest.raises(ValueError, match="none of raw, late"):
            word.code(bad)
    with pytest.raises(ValueError, match="none of 900, 60"):
        number.code(1)


def orders_of_before(conn: Connection, rows: list[tuple[int, str, int]]) -> None:
    """`vee_run` as the release before left it: (channel, status, time)."""
    tail = "" if ON_POSTGRES else " WITHOUT ROWID"
    conn.exec_driver_sql("DROP TABLE vee_run")
    conn.exec_driver_sql(f"CREATE TABLE vee_run (shard SMALLINT NOT NULL, day INTEGER NOT NULL, channel_no {NUMBER} NOT NULL, "
                         "version INTEGER NOT NULL, rule_set TEXT NOT NULL, status TEXT NOT NULL, findings INTEGER NOT NULL, "
                         "at_ms BIGINT NOT NULL, stands INTEGER, CONSTRAINT pk_vee_run PRIMARY KEY (shard, day, channel_no))" + tail)
    conn.exec_driver_sql("CREATE INDEX ix_vee_run_status ON vee_run (shard, status)")
    for number, status, at_ms in rows:
        conn.exec_driver_sql(f"INSERT INTO vee_run VALUES (0, 20500, {number}, 0, 'r 1', '{status}', 0, {at_ms}, NULL)")
    conn.exec_driver_sql("UPDATE alembic_version SET version_num = 'r0035'")


def test_orders_to_vee_are_carried_over(db: Database) -> None:
    words = ("pending", "validated", "failed", "estimated", "edited")
    with db.write() as conn:
        orders_of_before(conn, [(number, word, 77) for number, word in enumerate(words)])
    meta.prepare(db)
    v = vee_run.c
    with db.read() as conn:
        assert [tuple(row) for row in conn.execute(select(v.status, v.at_ms, v.rule_set).order_by(v.channel_no))] == [
            (word, 0 if word == "pending" else 77, "r 1") for word in words]  # fmt: skip
        assert conn.execute(select(v.channel_no).where(v.status == "failed")).scalars().all() == [2]
        assert {index["name"] for index in inspect(conn).get_indexes("vee_run")} == {"ix_vee_run_pending"}


def test_an_unknown_status_stops_the_upgrade(db: Database) -> None:
    with db.write() as conn:
        orders_of_before(conn, [(1, "guessed", 0)])
    with pytest.raises(ConfigError, match=r"guessed.*mend the row"):
        meta.prepare(db)
    with db.read() as conn:
        assert meta.revision(conn) == "r0035"
        assert conn.exec_driver_sql("SELECT status FROM vee_run").scalar_one() == "guessed"
