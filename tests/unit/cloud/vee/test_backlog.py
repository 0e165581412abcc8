"""Weeks of days that wait together, with everything wrong that may be, are left as if each had been judged by itself in order of time."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, update

from gridtally_cloud.store.close import GRACE_MS, close_days, close_silent_day
from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.store.tables import reading
from gridtally_cloud.store.totals import DaySum, save_days
from gridtally_cloud.vee import passing
from gridtally_cloud.vee.run import run_day, run_pending
from gridtally_shared.quantities import BY_NAME
from support.cloud_store import Street, new_street
from support.vee_days import Columns, clean, damaged, midnights
from support.vee_left import stored, waiting_days
from support.vee_store import ZONE, add_blocks, add_channel, add_quarters, add_reads

FIRST = 20_510
"""26 February 2026, a Thursday."""
DAYS = 8
END = FIRST + DAYS
VARH, VAH = BY_NAME["interval_reactive_q1_varh"].code, BY_NAME["interval_apparent_vah"].code


def _use(conn: Connection, no: int, rng: random.Random, faults: int) -> Columns:
    columns = clean(rng, ZONE, FIRST, DAYS)
    add_reads(conn, no, midnights(columns).samples)
    return damaged(columns, rng, faults)


def _plain(conn: Connection, no: int, rng: random.Random) -> None:
    add_blocks(conn, no, _use(conn, no, rng, rng.choice((0, 1, 12))))


def _holes(conn: Connection, no: int, rng: random.Random) -> None:
    """Too long for a line; some of them over midnight, some at the edge of a day without the one before it."""
    columns = _use(conn, no, rng, 2)
    for _ in range(5):
        first = rng.randrange(96 * DAYS)
        for i in range(first, min(96 * DAYS, first + rng.choice((4, 8, 9, 60, 150)))):
            columns.present[i] = 0
    add_blocks(conn, no, columns)


def _beside_midnight(conn: Connection, no: int, rng: random.Random) -> None:
    """The register is read at seven minutes past, or half an hour before, or not for days."""
    _plain(conn, no, rng)
    away = rng.choice((7, -30, 600)) * 60_000
    conn.execute(update(reading).where(reading.c.meter_no == no).values(at_ms=reading.c.at_ms + away))
    conn.execute(delete(reading).where(reading.c.meter_no == no, reading.c.at_ms > midnight_ms(FIRST + 5, ZONE),
                                       reading.c.at_ms < midnight_ms(FIRST + rng.choice((5, 7)), ZONE)))  # fmt: skip


def _every_quarter(conn: Connection, no: int, rng: random.Random) -> None:
    _plain(conn, no, rng)
    add_quarters(conn, no)


def _no_register(conn: Connection, no: int, rng: random.Random) -> None:
    _plain(conn, no, rng)
    conn.execute(delete(reading).where(reading.c.meter_no == no))


def _with_others(conn: Connection, no: int, rng: random.Random) -> None:
    """Reactive and apparent energy, days of none, days with holes; and a month that had some."""
    columns = _use(conn, no, rng, rng.choice((0, 3)))
    scale = [rng.choice((0, 30, 30, 200)) for _ in range(DAYS)]
    varh = [abs(value) * scale[i // 96] // 100 for i, value in enumerate(columns.values)]
    vah = [isqrt(v * v + w * w) + rng.choice((0, 0, 40)) for v, w in zip(columns.values, varh, strict=True)]
    add_blocks(conn, no, columns)
    for step, unit, quantity, values in ((100, "varh", VARH, varh), (200, "VAh", VAH, vah)):
        add_channel(conn, no + step, unit, quantity, point=no)
        present = bytearray(len(values))
        present[:] = bytes(1 if rng.random() < 0.999 else 0 for _ in values)
        add_blocks(conn, no + step, Columns(columns.start_ms, 900, columns.ends, values, [0] * len(values), present), unit)
    save_days(conn, [DaySum(FIRST - 3, no + 100, 50, 96, 96)])


def _months(conn: Connection, no: int, rng: random.Random) -> None:
    """A month before, and the most of one that ends within the backlog, so that it is compared."""
    _plain(conn, no, rng)
    daily = rng.choice((5_000, 20_000, 60_000))
    first = FIRST - 56
    save_days(conn, [DaySum(first + i, no, daily if i < 31 else 20_000, rng.choice((96, 90)), 96) for i in range(56)])


def _rates(conn: Connection, no: int, rng: random.Random) -> None:
    _plain(conn, no, rng)
    total = conn.execute(reading.select().where(reading.c.meter_no == no, reading.c.quantity == 1)).all()
    for part in (1, 2):
        code = BY_NAME[f"energy_import_rate{part}_wh"].code
        values = [row.value // 2 + (rng.choice((0, 0, 900)) if part == 2 else row.value % 2) for row in total]
        conn.execute(insert(reading), [{"shard": 0, "meter_no": no, "quantity": code, "at_ms": row.at_ms, "value": value}
                                       for row, value in zip(total, values, strict=True)])  # fmt: skip


KINDS: tuple[Callable[[Connection, int, random.Random], Any], ...] = (
    _plain, _holes, _holes, _beside_midnight, _every_quarter, _no_register, _with_others, _months, _rates)  # fmt: skip


def _street(folder: Path, rng: random.Random) -> tuple[Street, int]:
    """A meter of each kind; of some a day is missing wholly, of one tomorrow has begun."""
    street = new_street(folder, len(KINDS), ZONE)
    with street.db.write() as conn:
        for no, kind in enumerate(KINDS, 1):
            add_channel(conn, no)
            kind(conn, no, rng)
    now_ms = midnight_ms(END, ZONE) + GRACE_MS
    while close_days(street.db, now_ms):
        pass
    with street.db.write() as conn:
        for no in street.meters:
            for day in range(FIRST, END):
                close_silent_day(conn, day, no, now_ms)
        tomorrow = clean(rng, ZONE, END, 1)
        tomorrow.present[40:] = bytes(len(tomorrow.present) - 40)
        add_blocks(conn, 2, tomorrow)
    return street, now_ms


def test_a_backlog_is_left_as_if_each_day_had_been_judged_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few at once, so that turns end between days that look back at each other."""
    monkeypatch.setattr(passing, "MENDED_AT_ONCE", 7)
    street, now_ms = _street(tmp_path, random.Random(6))
    with street.db.engine.connect() as conn:
        by_itself = {(day, no): run_day(conn, day, no, now_ms) for day, no in waiting_days(conn)}
        alone = stored(conn)
        conn.rollback()
    outcomes = {}
    while found := run_pending(street.db, now_ms, limit=50):
        outcomes |= {(o.day, o.channel_no): o for o in found}
    with street.db.read() as conn:
        left = stored(conn)
    street.db.close()
    assert "judged by itself" not in caplog.text
    assert outcomes == by_itself
    assert left == alone
    rules = {f.rule for outcome in outcomes.values() for f in outcome.findings}
    assert {"gap", "sum", "tou_sum", "kvah", "kvarh", "high_low", "prolonged", "stuck", "zero", "spike", "limit", "estimate"} <= rules


def test_nothing_of_it_has_to_be_judged_by_itself(tmp_path: Path) -> None:
    street, now_ms = _street(tmp_path, random.Random(3))
    with street.db.write() as conn:
        passed = passing.judge_lot(conn, waiting_days(conn), now_ms)
        assert passed.left == ()
        assert waiting_days(conn) == []
    street.db.close()
