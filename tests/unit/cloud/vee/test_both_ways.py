"""Whatever comes, days that are judged together are left as if each had been judged by itself."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef, days_slots
from gridtally_cloud.store.tables import event, meter, reading, usage_day
from gridtally_cloud.store.totals import DaySum, save_days
from gridtally_cloud.vee import passing
from gridtally_cloud.vee.model import RegisterSample
from gridtally_cloud.vee.run import Outcome, _neighbours, run_day, run_pending
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from support.cloud_store import DCU, Street, new_street
from support.edge_peer import block
from support.vee_days import Columns, clean, midnights
from support.vee_left import stored, waiting_days
from support.vee_store import FIRST_DAY, ZONE, add_blocks, add_channel, add_reads
from unit.cloud.vee.histories import DAYS, begin, happen, take

Outcomes = dict[tuple[int, int], Outcome]


def _alone(conn: Connection, now_ms: int) -> Outcomes:
    """Each day by itself, in order of time."""
    outcomes = [run_day(conn, day, no, now_ms) for day, no in waiting_days(conn)]
    outcomes += _neighbours(conn, outcomes, now_ms)
    return {(o.day, o.channel_no): o for o in outcomes}


def judged_both_ways(db: Database, now_ms: int, limit: int = 500) -> Outcomes:
    """What became of the days that wait, judged together; by themselves it would have been the same."""
    with db.engine.connect() as conn:
        by_itself = _alone(conn, now_ms)
        alone = stored(conn)
        conn.rollback()
    outcomes: Outcomes = {}
    while found := run_pending(db, now_ms, limit):
        outcomes |= {(o.day, o.channel_no): o for o in found}
    with db.read() as conn:
        left = stored(conn)
        assert waiting_days(conn) == []
    differing = {name: (set(left[name]) - set(rows), set(rows) - set(left[name])) for name, rows in alone.items() if left[name] != rows}
    assert not differing, "in the store (judged together, each by itself)"
    assert {name: outcomes[name] for name in by_itself} == by_itself
    return outcomes


def lived(seed: int) -> Counter[str]:
    """A history in three turns, the last only with what came late: the rules that found something, and how the days were left."""
    rng, seen = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing, "MENDED_AT_ONCE", rng.choice((2, 100)))
        history = begin(Path(folder), rng)
        middle = rng.randrange(1, DAYS)
        for days in (range(middle), range(middle, DAYS), range(DAYS, DAYS)):
            take(history, days)
            outcomes = judged_both_ways(history.street.db, history.close(days.stop), rng.choice((3, 500)))
            seen.update(o.status for o in outcomes.values())
            seen.update(f.rule for o in outcomes.values() for f in o.findings)
            happen(history, range(days.stop))
        history.street.db.close()
    return seen


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_a_history_is_judged_the_same_both_ways(seed: int) -> None:
    lived(seed)


def test_the_histories_hold_findings_of_most_rules() -> None:
    """The property above would be empty if nothing were ever found."""
    seen = lived(78) + lived(87) + lived(95)
    assert {"validated", "estimated", "failed", "conflict", "gap", "limit", "spike", "sum", "register", "outage", "estimate"} <= seen.keys()
    assert len(seen) >= 18, sorted(seen)


# ---- what was found by reading ------------------------------------------------------------------------------------

FRIDAY = FIRST_DAY + 24
DAY_MS, QUARTER_MS = 86_400_000, 900_000


def _days(folder: Path, days: int = 3) -> tuple[Street, Columns, int]:
    """A street of one meter with clean days from `FRIDAY` on, none of them closed; and when they will be."""
    street = new_street(folder, 1, ZONE)
    columns = clean(random.Random(4), ZONE, FRIDAY, days)
    with street.db.write() as conn:
        add_channel(conn, 1)
        add_reads(conn, 1, midnights(columns).samples)
    return street, columns, midnight_ms(FRIDAY + days, ZONE) + GRACE_MS


def _happens(conn: Connection, name: str, at_ms: int, meter_no: int = 1) -> None:
    values = {"shard": 0, "dcu": DCU, "meter_no": meter_no, "code": EVENTS[name].code, "at_ms": at_ms, "received_ms": at_ms}
    conn.execute(insert(event).values(values))


def _same_both_ways(street: Street, now_ms: int) -> Outcomes:
    while close_days(street.db, now_ms):
        pass
    found = judged_both_ways(street.db, now_ms)
    street.db.close()
    return found


def test_a_hole_between_two_outages_that_only_events_tell_of_looks_for_like_days(tmp_path: Path) -> None:
    """The intervals beside the hole were without power for a minute: no line is drawn between them."""
    street, columns, now_ms = _days(tmp_path, 10)
    hole = range(9 * 96 + 40, 9 * 96 + 43)
    for i in hole:
        columns.present[i] = 0
    with street.db.write() as conn:
        add_blocks(conn, 1, columns)
        for i in (hole.start - 1, hole.stop):
            _happens(conn, "power_failed", columns.at(i) + 60_000)
            _happens(conn, "power_restored", columns.at(i) + 120_000)
        conn.execute(delete(reading))
    while close_days(street.db, now_ms):
        pass
    judged_both_ways(street.db, now_ms)
    with street.db.read() as conn:
        stands = days_slots(conn, 1, [FRIDAY + 9], estimates=True)
    like = FRIDAY + 2
    assert [stands[columns.at(i)].value for i in hole] == [columns.values[i - (FRIDAY + 9 - like) * 96] for i in hole]
    street.db.close()


def test_a_register_that_was_reset_just_after_midnight_says_nothing_against_the_day_before(tmp_path: Path) -> None:
    """Two reads fall into the first interval of a day: the one at midnight is the one to go by."""
    street, columns, now_ms = _days(tmp_path)
    with street.db.write() as conn:
        add_blocks(conn, 1, columns)
        conn.execute(delete(reading).where(reading.c.at_ms > columns.at(96)))
        add_reads(conn, 1, [RegisterSample(columns.at(96) + 420_000, 3)])
    assert _same_both_ways(street, now_ms)[FRIDAY, 1].status == "validated"


def test_a_day_with_something_beside_it_is_not_held_against_the_registers_of_other_days(tmp_path: Path) -> None:
    """Registers are read around the days whose sums they contradict; of the days between these a read may be missing."""
    street, columns, now_ms = _days(tmp_path, 8)
    jumps = (0, 2, 6)
    with street.db.write() as conn:
        add_blocks(conn, 1, columns)
        for day in jumps:
            conn.execute(update(reading).where(reading.c.at_ms > columns.at(96 * day)).values(value=reading.c.value + 5_000))
        too_much = {"shard": 0, "meter_no": 1, "quantity": BY_NAME["demand_max_w"].code, "at_ms": columns.at(96 * 4) - 1, "value": 90_000}
        conn.execute(insert(reading).values(too_much))
    while close_days(street.db, now_ms):
        pass
    with street.db.write() as conn:
        run_day(conn, FRIDAY + 2, 1, now_ms)
    found = judged_both_ways(street.db, now_ms)
    assert [f.rule for f in found[FRIDAY + 3, 1].findings] == ["demand"]
    street.db.close()


def test_what_two_meters_tell_is_told_in_order_of_time(tmp_path: Path) -> None:
    street, columns, now_ms = _days(tmp_path)
    with street.db.write() as conn:
        add_blocks(conn, 1, columns)
        conn.execute(insert(meter).values(meter_no=2, serial="M-2", dcu=DCU, usage_point_no=1, installed_ms=0))
        _happens(conn, "metrology_failed", columns.at(100) + 2_000, meter_no=1)
        _happens(conn, "memory_failed", columns.at(100) + 1_000, meter_no=2)
    texts = [f.text for f in _same_both_ways(street, now_ms)[FRIDAY + 1, 1].findings if f.rule == "device"]
    assert texts == [EVENTS["memory_failed"].text, EVENTS["metrology_failed"].text]


def test_a_month_is_compared_when_the_days_before_have_their_estimates(tmp_path: Path) -> None:
    """A month of little use, one interval far too high, and a day after the month that is judged by itself."""
    street, columns, now_ms = _days(tmp_path, 3)
    columns.values[:192] = [1 + value % 9 for value in columns.values[:192]]
    columns.values[30] = 60_000
    with street.db.write() as conn:
        conn.execute(delete(reading))
        add_blocks(conn, 1, columns)
        store_block(conn, ChannelRef(1, "Wh", ZONE), block(1, columns.at(200), [77_777]), now_ms)
        save_days(conn, [DaySum(FRIDAY - i, 1, 500 if i < 27 else 4_000, 96, 96) for i in range(1, 58)])
    found = _same_both_ways(street, now_ms)
    assert [found[FRIDAY + i, 1].status for i in range(3)] == ["estimated", "failed", "failed"]
    assert [f.rule for f in found[FRIDAY + 1, 1].findings] == ["high_low"]


def test_an_interval_that_came_with_the_mark_of_an_edit_was_measured_all_the_same(tmp_path: Path) -> None:
    """The mark is ours to give: only an edit makes a value a person's."""
    street, columns, now_ms = _days(tmp_path)
    columns.quality[100] = int(Quality.EDITED)
    with street.db.write() as conn:
        add_blocks(conn, 1, columns)
    while close_days(street.db, now_ms):
        pass
    judged_both_ways(street.db, now_ms)
    with street.db.read() as conn:
        assert conn.execute(select(usage_day.c.present).where(usage_day.c.day == FRIDAY + 1)).scalar_one() == 96
    street.db.close()
