"""Clean days are passed many at a time, and the store is left as if each had been judged by itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from gridtally_cloud.billing.tables import bill
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.store.close import close_days
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import event, reading, usage_point
from gridtally_cloud.vee.edit import Asked, Reason, make
from gridtally_cloud.vee.passing import Passed, judge_lot
from gridtally_cloud.vee.run import run_day, run_pending
from gridtally_cloud.vee.tables import vee_point
from gridtally_cloud.vee.tools import Tool
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.quantities import BY_NAME
from support.cloud_store import DCU, Street, new_street
from support.edge_peer import block
from support.vee_days import clean
from support.vee_left import stored, waiting_days
from support.vee_store import FIRST_DAY, ZONE, add_channel, closed_street

FRIDAY = FIRST_DAY + 24
"""27 February: the day after it ends a month, and the next one begins one."""
COLUMNS = clean(random.Random(0), ZONE, FRIDAY, 4)
DAY_MS, HOUR_MS, QUARTER_MS = 86_400_000, 3_600_000, 900_000
START_MS = COLUMNS.start_ms


def _arrives(conn: Connection, no: int, first: int, values: list[int]) -> None:
    store_block(conn, ChannelRef(no, "Wh", ZONE), block(no, START_MS + first * QUARTER_MS, values), START_MS)


def _happens(conn: Connection, no: int, name: str, at_ms: int) -> None:
    values = {"shard": 0, "dcu": DCU, "meter_no": no, "code": EVENTS[name].code, "at_ms": at_ms, "detail": "", "received_ms": at_ms}
    conn.execute(insert(event).values(values))


def _read(conn: Connection, no: int, name: str, *values: int) -> None:
    for place, value in enumerate(values):
        row = {"shard": 0, "meter_no": no, "quantity": BY_NAME[name].code, "at_ms": START_MS + place * DAY_MS, "value": value}
        conn.execute(insert(reading).values(row))


def _read_often(conn: Connection, no: int) -> None:
    """Reads beside the grid and the midnights; one of them, long before midnight, is as near to it as the read after it."""
    of_meter = (reading.c.meter_no == no, reading.c.at_ms == START_MS + DAY_MS)
    value = conn.execute(select(reading.c.value).where(*of_meter)).scalar_one()
    conn.execute(delete(reading).where(*of_meter))
    for minutes, more in ((-700, -4_000), (-31, -130), (-30, -100), (30, 100), (31, 130), (600, 3_000)):
        at_ms = START_MS + DAY_MS + minutes * 60_000
        conn.execute(insert(reading).values(shard=0, meter_no=no, quantity=1, at_ms=at_ms, value=value + more))


def _billed(conn: Connection, no: int) -> None:
    facts = {"bill_no": f"B-{no}", "account_no": no, "kind": "bill", "from_ms": START_MS - DAY_MS, "to_ms": START_MS + 2 * DAY_MS}
    days = '{"days": [{"day": "2026-02-27", "used_wh": 1}]}'
    conn.execute(insert(bill).values(**facts, currency="EUR", charged_nano=0, closing_nano=0, document=days, issued_ms=START_MS))


def _edited(conn: Connection, no: int) -> None:
    """The day before those that wait was judged, and then set by a person."""
    conn.execute(insert(app_user).values(login="asha", name="asha", role="operations", password_hash="", created_ms=0))
    run_day(conn, FRIDAY, no, START_MS + 5 * DAY_MS)
    make(conn, Asked(no, START_MS, START_MS + QUARTER_MS, Tool.SET, "5", Reason.SITE_VISIT, "asha"), START_MS + 5 * DAY_MS)


def _outage(conn: Connection, no: int) -> None:
    _happens(conn, no, "power_failed", START_MS + 20 * HOUR_MS)
    _happens(conn, no, "power_restored", START_MS + 23 * HOUR_MS)


CHECKED_BY = 1


TROUBLES: tuple[Callable[[Connection, int], Any], ...] = (
    lambda conn, no: None,
    lambda conn, no: _arrives(conn, no, 3 * 96, COLUMNS.values[3 * 96 : 3 * 96 + 7]),  # the next day has begun
    lambda conn, no: _arrives(conn, no, 100, [900_000, 4]),  # something else came for two intervals
    lambda conn, no: _outage(conn, no),
    lambda conn, no: _happens(conn, no, "battery_low", START_MS + 30 * HOUR_MS),
    lambda conn, no: _happens(conn, no, "metrology_failed", START_MS - 1),
    lambda conn, no: _read(conn, no, "demand_max_w", 0, 40, 90_000, 4_000),
    lambda conn, no: [_read(conn, no, f"energy_import_rate{n}_wh", 5, 6, 7, 9_000_000) for n in (1, 2)],
    lambda conn, no: _read_often(conn, no),
    lambda conn, no: _billed(conn, no),
    lambda conn, no: _edited(conn, no),
    lambda conn, no: conn.execute(insert(vee_point).values(usage_point_no=no, check_point_no=CHECKED_BY, changed_by="x", changed_ms=0)),
    lambda conn, no: conn.execute(update(usage_point).where(usage_point.c.usage_point_no == no).values(limit_w=400)),
    lambda conn, no: add_channel(conn, 100 + no, "varh", BY_NAME["interval_reactive_q1_varh"].code, point=no),
)


def _street(folder: Path) -> tuple[Street, int]:
    """A meter for each trouble, some of them with damaged days."""
    street, now_ms = closed_street(folder, len(TROUBLES), random.Random(12), 0.3, FRIDAY)
    with street.db.write() as conn:
        for no, trouble in enumerate(TROUBLES, 1):
            trouble(conn, no)
    return street, now_ms


def test_the_store_is_left_as_if_each_day_had_been_judged_by_itself(tmp_path: Path) -> None:
    street, now_ms = _street(tmp_path)
    with street.db.engine.connect() as conn:
        by_itself = {(day, no): run_day(conn, day, no, now_ms) for day, no in waiting_days(conn)}
        alone = stored(conn)
        conn.rollback()
    outcomes = run_pending(street.db, now_ms)
    assert {(o.day, o.channel_no): o for o in outcomes} == by_itself
    with street.db.read() as conn:
        left = stored(conn)
    assert left == alone
    said = {str(cell) for rows in (left["vee_finding"], left["vee_run"]) for row in rows for cell in row}
    assert {"conflict", "demand", "tou_sum", "device_warning", "limit", "main_check", "validated", "estimated", "failed"} <= said
    assert left["vee_restated"], "the bill said something else"
    street.db.close()


def test_most_clean_days_are_passed_and_none_twice(tmp_path: Path) -> None:
    """Also those that end a month, whose use is compared with others."""
    street, now_ms = closed_street(tmp_path, 4, random.Random(3), first_day=FRIDAY)
    with street.db.write() as conn:
        waiting = waiting_days(conn)
        passed = judge_lot(conn, waiting, now_ms)
        assert {(o.day, o.channel_no) for o in passed.outcomes} == set(waiting)
        assert not passed.left
        assert judge_lot(conn, waiting, now_ms) == Passed()
        assert waiting_days(conn) == []
    street.db.close()


def test_an_outage_too_long_ago_explains_no_zeros(tmp_path: Path) -> None:
    """The lot knows events of all its days; a day is only told those it would look up by itself."""
    street, now_ms = new_street(tmp_path, 1, ZONE), START_MS + 10 * DAY_MS
    with street.db.write() as conn:
        add_channel(conn, 1)
        _arrives(conn, 1, 0, COLUMNS.values[:96])
        _arrives(conn, 1, 4 * 96, [*[0] * 88, *COLUMNS.values[88:96]])
        _happens(conn, 1, "power_failed", START_MS + HOUR_MS)
        _happens(conn, 1, "power_restored", START_MS + 4 * DAY_MS + 22 * HOUR_MS)
    close_days(street.db, now_ms)
    with street.db.write() as conn:
        assert (FRIDAY + 4, 1) in waiting_days(conn)
        last = judge_lot(conn, waiting_days(conn), now_ms).outcomes[-1]
        assert (last.day, last.channel_no) == (FRIDAY + 4, 1)
        assert "zero" in {f.rule for f in last.findings}
    street.db.close()


def test_days_that_can_not_be_read_together_are_judged_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A zone nobody knows stops the one usage point that has it."""
    street, now_ms = closed_street(tmp_path, 2, random.Random(4))
    with street.db.write() as conn:
        conn.execute(update(usage_point).where(usage_point.c.usage_point_no == 2).values(zone="Nowhere"))
    outcomes = run_pending(street.db, now_ms)
    assert {o.channel_no for o in outcomes} == {1}
    assert "judged by itself" in caplog.text
    street.db.close()
