"""The validation rules as pure functions, and the run that keeps their findings."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Row, func, insert, select, update

from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef, days_slots, read_intervals
from gridtally_cloud.store.tables import channel, interval_block, reading, usage_day, vee_finding
from gridtally_cloud.vee.judge import Known, judge
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import DayBlock, DayContext, RuleSet, Stretch
from gridtally_cloud.vee.rules import conflict, gap, limit
from gridtally_cloud.vee.run import findings_of, run_day, run_pending, status_of
from gridtally_shared.quality import Quality
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

QUARTER_MS = 900_000
DAY_MS = 86_400_000
DAY = START_MS // DAY_MS
DAYLIGHT = [50 + place * (95 - place) // 10 + place % 3 for place in range(96)]
"""A day of Wh in which no two neighbours are equal and nothing sticks out."""


def _block(values: list[int | None], unit: str = "Wh") -> DayBlock:
    present = bytes(v is not None for v in values)
    return DayBlock(1, DAY, START_MS, 900, unit, array("q", [v or 0 for v in values]), array("H", [0] * len(values)), present)


def _context(**more: object) -> DayContext:
    return DayContext(**({"rules": RuleSet(), "limit_w": 11_000} | more))  # type: ignore[arg-type]


def test_each_hole_is_one_finding_with_its_span() -> None:
    found = gap(_block([None, 1, None, None, 1, None]), _context())
    spans = [((f.start_ms - START_MS) // QUARTER_MS, (f.end_ms - START_MS) // QUARTER_MS) for f in found]
    assert spans == [(0, 1), (2, 4), (5, 6)]
    assert gap(_block([1, 2]), _context()) == ()


@given(st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=1, max_size=100))
def test_the_holes_found_are_exactly_the_missing_intervals(values: list[int | None]) -> None:
    missing = [START_MS + i * QUARTER_MS for i, v in enumerate(values) if v is None]
    found = [at for f in gap(_block(values), _context()) for at in range(f.start_ms, f.end_ms, QUARTER_MS)]
    assert found == missing


@pytest.mark.parametrize(("value", "fails"), [(0, 0), (3300, 0), (3301, 1), (-1, 1)])
def test_the_limit_is_power_times_interval_times_k(value: int, fails: int) -> None:
    assert len(limit(_block([5, value, 5]), _context(limit_w=11_000))) == fails


def test_the_limit_is_for_energy_only_and_not_for_missing_values() -> None:
    volts = Stretch(START_MS, 900, "V", array("q", [230_000]), array("H", [0]), b"\1")
    assert judge(volts, Known(RuleSet(), 11_000, LocalTime("UTC"))).findings == ()
    assert limit(_block([None]), _context()) == ()


def test_a_contradiction_names_both_values() -> None:
    found = conflict(_block([5, 6]), _context(contradictions=((START_MS + QUARTER_MS, 9),)))
    assert [(f.start_ms, f.value, f.limit) for f in found] == [(START_MS + QUARTER_MS, 9, 6)]


# ---- the run --------------------------------------------------------------------------------------------------


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    with street.db.write() as conn:
        conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=11, direction="import", unit="Wh",
                                            exponent=0, period_s=900))  # fmt: skip
    yield street
    street.db.close()


def _store(street: Street, *values: int, first: int = 0) -> None:
    with street.db.write() as conn:
        store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, START_MS + first * QUARTER_MS, list(values)), START_MS)


def _registers_in(street: Street, *pairs: tuple[int, int]) -> None:
    with street.db.write() as conn:
        for at_ms, value in pairs:
            conn.execute(insert(reading).values(shard=0, meter_no=1, quantity=1, at_ms=START_MS + at_ms, value=value))


def _close_and_run(street: Street) -> str:
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    run_pending(street.db, START_MS + 2 * DAY_MS)
    with street.db.read() as conn:
        return status_of(conn, DAY, 1)


def test_a_complete_day_that_agrees_with_its_register_is_validated(street: Street) -> None:
    _registers_in(street, (0, 500), (DAY_MS, 500 + sum(DAYLIGHT)))
    _store(street, *DAYLIGHT)
    with street.db.read() as conn:
        assert status_of(conn, DAY, 1) == "raw"
    assert _close_and_run(street) == "validated"


def test_every_rule_is_asked_by_the_run_and_raw_stays(street: Street) -> None:
    _registers_in(street, (0, 500), (DAY_MS, 600))
    _store(street, *DAYLIGHT[:2], 99_999, 4_000, *[7] * 12, *DAYLIGHT[16:40], *[0] * 12, *DAYLIGHT[52:95])
    _store(street, 11)
    with street.db.read() as conn:
        before = conn.execute(select(interval_block)).all()
    assert _close_and_run(street) == "failed"
    with street.db.read() as conn:
        assert {f.rule for f in findings_of(conn, 1, DAY, DAY)} == {"gap", "conflict", "limit", "spike", "stuck", "zero", "sum"}
        raw = conn.execute(select(interval_block).where(interval_block.c.version == 0)).one()
    assert before == []
    assert raw.source == "raw"


def test_running_twice_changes_nothing(street: Street) -> None:
    _store(street, *DAYLIGHT[:95])
    _close_and_run(street)
    with street.db.write() as conn:
        first = run_day(conn, DAY, 1, START_MS)
        assert run_day(conn, DAY, 1, START_MS) == first
        assert conn.execute(select(func.count()).select_from(vee_finding)).scalar() == len(first.findings) == 1
        assert [v.source for v in _versions(conn)] == ["raw", "estimate"]


@pytest.mark.covers_part("BYPL-6.3")
def test_late_data_make_the_day_run_again(street: Street) -> None:
    _store(street, *DAYLIGHT[:95])
    assert _close_and_run(street) == "estimated"
    _store(street, DAYLIGHT[95], first=95)
    assert _close_and_run(street) == "validated"


# ---- estimates stand, and are never mistaken for what was measured ------------------------------------------------


def _versions(conn: Connection) -> list[Row[Any]]:
    b = interval_block.c
    return list(conn.execute(select(interval_block).order_by(b.version)))


def _stands(street: Street) -> tuple[list[int | None], list[int]]:
    """(values of the day, places that are estimated)"""
    with street.db.read() as conn:
        held = read_intervals(conn, 1, START_MS, START_MS + DAY_MS)
    values = [v if p else None for v, p in zip(held.values, held.present, strict=True)]
    return values, [i for i, word in enumerate(held.quality) if word & Quality.ESTIMATED]


def test_a_gap_has_estimates_that_make_the_day_agree_with_its_register(street: Street) -> None:
    _registers_in(street, (0, 500), (DAY_MS, 500 + sum(DAYLIGHT)))
    _store(street, *DAYLIGHT[:40])
    _store(street, *DAYLIGHT[60:], first=60)
    assert _close_and_run(street) == "estimated"
    values, estimated = _stands(street)
    assert sum(v or 0 for v in values) == sum(DAYLIGHT)
    assert estimated == list(range(40, 60))
    with street.db.read() as conn:
        measured = days_slots(conn, 1, [DAY])
        use = conn.execute(select(usage_day)).one()
    assert [at for at, slot in measured.items() if slot.value is None] == [START_MS + i * QUARTER_MS for i in range(40, 60)]
    assert (use.total, use.present, use.expected) == (sum(DAYLIGHT), 76, 96), "an estimate counts, and does not make a day complete"


def test_reads_beside_the_grid_bound_the_estimates_as_far_as_they_can(street: Street) -> None:
    """Sweeps come seconds after the quarter. What a cut interval used within itself is not known, and nothing is scaled into that."""
    _registers_in(street, (7_000, 500), (DAY_MS - QUARTER_MS + 7_000, 500 + sum(DAYLIGHT[:95])))
    _store(street, *DAYLIGHT[:40])
    _store(street, *DAYLIGHT[60:], first=60)
    assert _close_and_run(street) == "estimated"
    total = sum(v or 0 for v in _stands(street)[0])
    assert abs(total - sum(DAYLIGHT)) <= 2 * max(DAYLIGHT)


def test_what_was_measured_wins_over_its_estimate_whenever_it_comes(street: Street) -> None:
    _store(street, *DAYLIGHT[:40])
    _store(street, *DAYLIGHT[44:], first=44)
    assert _close_and_run(street) == "estimated"
    _store(street, *DAYLIGHT[40:44], first=40)
    values, estimated = _stands(street)
    assert (values, estimated) == (DAYLIGHT, [])
    assert _close_and_run(street) == "validated"
    assert _stands(street) == (DAYLIGHT, [])


def test_a_value_that_failed_and_comes_again_is_the_same_value_and_no_news(street: Street) -> None:
    _store(street, *DAYLIGHT[:40], 99_999, *DAYLIGHT[41:])
    assert _close_and_run(street) == "estimated"
    _store(street, 99_999, first=40)
    assert _stands(street)[1] == [40]
    assert close_days(street.db, START_MS + 3 * DAY_MS) == 0
    with street.db.read() as conn:
        assert [v.source for v in _versions(conn)] == ["raw", "estimate"]


def test_a_gap_over_midnight_is_one_gap(street: Street) -> None:
    """Six quarters before and six after are three hours: no line, though each half would be one."""
    _store(street, *DAYLIGHT[:90])
    _store(street, *DAYLIGHT[6:], first=96 + 6)
    close_days(street.db, START_MS + 2 * DAY_MS + GRACE_MS)
    (first, second) = run_pending(street.db, START_MS + 3 * DAY_MS)
    assert (first.estimates, second.estimates) == (6, 6)
    with street.db.read() as conn:
        held = read_intervals(conn, 1, START_MS, START_MS + DAY_MS)
    straight = DAYLIGHT[89] + (DAYLIGHT[6] - DAYLIGHT[89]) // 7
    assert held.values[90] != straight, "like days or the average, not a line"


def test_a_voltage_nobody_measured_stays_unknown(street: Street) -> None:
    with street.db.write() as conn:
        conn.execute(update(channel).values(unit="V"))
        store_block(conn, ChannelRef(1, "V", "UTC"), block(1, START_MS, [230] * 90), START_MS)
    assert _close_and_run(street) == "failed"
    assert _stands(street)[0][90:] == [None] * 6
