"""A month is the sum of its days, whatever comes, is closed, estimated or restated; stores of before are carried over."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.store import meta
from gridtally_cloud.store.bulk import ClosedDays
from gridtally_cloud.store.close import close_silent_day, close_together, take_days
from gridtally_cloud.store.days import days_of_month, month_no, slots_of
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.inbox import save_usage, store_blocks, unpack
from gridtally_cloud.store.intervals import ChannelRef, Slot
from gridtally_cloud.store.tables import channel, usage_day, usage_month, usage_point
from gridtally_cloud.store.totals import DaySum, MonthSum, add_days, month_sum, save_days
from gridtally_cloud.vee.run import run_pending
from gridtally_native import encode_block
from gridtally_shared.contract.messages import ChannelBlock
from support.stores import ON_POSTGRES, fresh_store

ZONE = "Europe/Berlin"
REFS = [ChannelRef(number, "Wh", ZONE) for number in (1, 2, 9_000)]
MARCH = month_no(20_513)
ALL_DAYS = range(days_of_month(MARCH)[-3], days_of_month(MARCH + 1)[2] + 1)
NOW_MS = (ALL_DAYS[-1] + 40) * 86_400_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    with db.write() as conn:
        for ref in REFS:
            conn.execute(insert(usage_point).values(usage_point_no=ref.channel_no, zone=ZONE, created_ms=0))
            conn.execute(insert(channel).values(channel_no=ref.channel_no, usage_point_no=ref.channel_no, quantity=11, direction="import",
                                                unit="Wh", exponent=0, period_s=3600))  # fmt: skip
    yield db
    db.close()


def months(conn: Connection) -> dict[tuple[int, int], MonthSum]:
    rows = conn.execute(select(usage_month))
    return {(row.month, row.channel_no): MonthSum(row.total, row.days, row.present, row.expected) for row in rows}


def by_days(conn: Connection) -> dict[tuple[int, int], MonthSum]:
    """The same out of the days, one by one."""
    sums: dict[tuple[int, int], list[int]] = {}
    for row in conn.execute(select(usage_day)):
        held = sums.setdefault((month_no(row.day), row.channel_no), [0, 0, 0, 0])
        held[:] = [a + b for a, b in zip(held, (row.total, 1, row.present, row.expected), strict=True)]
    return {name: MonthSum(*held) for name, held in sums.items()}


def something_happens(conn: Connection, rng: random.Random) -> None:
    """A piece of a day arrives, days arrive whole, are closed, silent, estimated."""
    ref, grid = rng.choice(REFS), slots_of(rng.choice(ALL_DAYS), ZONE, 3600)
    names = [(day, some.channel_no) for day in ALL_DAYS for some in REFS]
    way = rng.randrange(5)
    if way == 0:
        first = rng.randrange(grid.n)
        values = array("q", [rng.randrange(50) for _ in range(rng.randint(1, grid.n - first))])
        block = ChannelBlock(ref.channel_no, 11, grid.start_ms + first * 3_600_000, 3600, len(values), encode_block(values), b"")
        store_blocks(conn, [unpack(ref, block)], NOW_MS)
    elif way == 1:
        values = array("q", [rng.randrange(50) for _ in range(len(REFS) * grid.n)])
        take_days(conn, ClosedDays(REFS, [grid] * len(REFS), values, [b""] * len(REFS)), NOW_MS)
    elif way == 2:
        close_together(conn, rng.sample(names, rng.randint(1, len(names))), NOW_MS)
    elif way == 3:
        close_silent_day(conn, grid.day, ref.channel_no, NOW_MS)
    else:
        slots = {grid.start_ms + i * 3_600_000: Slot(rng.randrange(90), 0) for i in range(rng.randint(1, grid.n))}
        save_usage(conn, ref, grid.day, 3600, slots, estimates=rng.randint(0, len(slots)))


@pytest.mark.parametrize("seed", range(4))
def test_a_month_never_disagrees_with_its_days(db: Database, seed: int) -> None:
    rng, begun = random.Random(seed), 0
    for _ in range(60):
        with db.write() as conn:
            something_happens(conn, rng)
        with db.read() as conn:
            held, summed = months(conn), by_days(conn)
            assert held.items() <= summed.items()
            assert all(month_sum(conn, no, month) == found for (month, no), found in summed.items())
            begun = len(held)
    run_pending(db, NOW_MS)
    with db.read() as conn:
        assert months(conn).items() <= by_days(conn).items()
    assert begun == len(REFS), "March of each; April is open"


def test_a_month_begins_with_its_last_day_and_not_before(db: Database) -> None:
    days = days_of_month(MARCH)
    with db.write() as conn:
        save_days(conn, [DaySum(day, 1, 100, 23, 24) for day in days[:-1]])
        assert months(conn) == {}
        add_days(conn, [DaySum(days[-1], 1, 7, 2, 24)])
        assert months(conn) == {}
        assert month_sum(conn, 1, MARCH) == MonthSum(3007, 31, 692, 744)
        save_days(conn, [DaySum(days[-1], 1, 50, 24, 24)])
        assert months(conn) == {(MARCH, 1): MonthSum(3050, 31, 714, 744)}
        save_days(conn, [DaySum(days[3], 1, 0, 0, 24), DaySum(days[4], 1, 1, 1, 24), DaySum(days[-1] + 1, 1, 9, 9, 24)])
        assert months(conn) == {(MARCH, 1): MonthSum(2851, 31, 669, 744)}
        assert month_sum(conn, 1, MARCH - 1) == MonthSum(0, 0, 0, 0)


def test_a_change_that_is_not_kept_changes_no_month(db: Database) -> None:
    last = days_of_month(MARCH)[-1]
    with db.write() as conn:
        save_days(conn, [DaySum(last, 1, 50, 24, 24)])
    with db.engine.connect() as conn:
        save_days(conn, [DaySum(last, 1, 60, 24, 24)])
        assert month_sum(conn, 1, MARCH) == MonthSum(60, 1, 24, 24)
        conn.rollback()
    with db.read() as conn:
        assert month_sum(conn, 1, MARCH) == MonthSum(50, 1, 24, 24)


def test_totals_of_before_are_carried_over_and_months_summed(db: Database) -> None:
    number = "bigint" if ON_POSTGRES else "INTEGER"
    days = [*days_of_month(MARCH)[-3:], *days_of_month(MARCH + 1)[:2]]
    with db.write() as conn:
        conn.exec_driver_sql("DROP TABLE usage_month")
        conn.exec_driver_sql("DROP TABLE usage_day")
        conn.exec_driver_sql(f"CREATE TABLE usage_day (shard SMALLINT NOT NULL, day INTEGER NOT NULL, channel_no {number} NOT NULL, "
                             "total BIGINT NOT NULL, present INTEGER NOT NULL, expected INTEGER NOT NULL, complete BOOLEAN NOT NULL, "
                             "updated_ms BIGINT NOT NULL, CONSTRAINT pk_usage_day PRIMARY KEY (shard, day, channel_no))"
                             + ("" if ON_POSTGRES else " WITHOUT ROWID"))  # fmt: skip
        for no, some in ((1, days), (2, days[:2]), (9_000, days[3:])):
            for day in some:
                conn.exec_driver_sql(f"INSERT INTO usage_day VALUES (0, {day}, {no}, {day}, 24, 24, true, 5)")
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = 'r0033'")
    meta.prepare(db)
    with db.read() as conn:
        assert months(conn) == {(MARCH, 1): MonthSum(sum(days[:3]), 3, 72, 72)}
        assert conn.execute(select(func.count(), func.sum(usage_day.c.total))).one() == (9, sum(days) + sum(days[:2]) + sum(days[3:]))
        assert month_sum(conn, 2, MARCH) == MonthSum(sum(days[:2]), 2, 48, 48)
