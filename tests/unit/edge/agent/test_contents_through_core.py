"""Everything a meter has to tell, by its plan: daily and billing rows, gaps after days, watches, checks, ranks, quality."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import MeterEvent, Reading
from gridtally_edge.journal.readings import MeterState, MeterUpdate
from gridtally_edge.polling.forming import RegisterLimits
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import decode
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.events import event_type
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from support.commands import command, done, ready
from support.little_street import MINUTE_MS, QUARTER_MS, START_MS, LittleStreet, little_street

DAY_MS = 86_400_000
KEY = "dlms/1"
IMPORT = BY_NAME["energy_import_wh"].code


def days_stored(street: LittleStreet) -> tuple[int, ...]:
    return street.core.journal.stored_rows(1, "daily")


def by_days(street: LittleStreet, days: int) -> None:
    for _ in range(days):
        street.wind(DAY_MS - QUARTER_MS)
        street.next_quarter()


def test_each_day_brings_its_row_once_with_the_register_at_midnight(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        before = len(days_stored(street))
        by_days(street, 3)
        stored = days_stored(street)
        assert len(stored) == before + 3
        assert {b - a for a, b in pairwise(stored)} == {DAY_MS}
        newest = stored[-1]
        values = [
            v.value for r in street.entries(m.EntryKind.READINGS, m.Readings) for v in r.values
            if (v.quantity, v.at_ms) == (IMPORT, newest)
        ]  # fmt: skip
        assert values == [street.houses[KEY].registers_at(newest)[0]]


@pytest.mark.covers_part("BYPL-6.1")
def test_a_missing_day_is_asked_for_with_exactly_its_range_also_after_days(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        by_days(street, 2)
        stored = days_stored(street)
        lost = stored[-10]
        street.core.journal._db.execute("DELETE FROM profile_row WHERE at_ms = ?", (lost,))
        street.asked.clear()
        by_days(street, 1)
        asked = [span for _, request in street.asked for span in request.daily if span.from_ms <= lost < span.to_ms]
        assert [(s.from_ms, s.to_ms) for s in asked] == [(stored[-11] + 1, stored[-9])]
        assert lost in days_stored(street)


def test_the_billing_row_comes_with_the_month(tmp_path: Path) -> None:
    with little_street(tmp_path, start_ms=START_MS + 9 * DAY_MS) as street:
        ready(street)
        before = street.core.journal.stored_rows(1, "billing")
        by_days(street, 2)
        after = street.core.journal.stored_rows(1, "billing")
        assert len(after) == len(before) + 1


def test_daily_billing_and_name_plate_are_answered_on_demand(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        now_ms = street.clock.now_ms()
        daily = done(street, command(street, m.CommandType.READ_DAILY, from_ms=now_ms - 3 * DAY_MS, to_ms=now_ms))
        rows = {v.at_ms for v in decode(m.Readings, daily.result).values if v.quantity == IMPORT}
        assert len(rows) == 3
        billing = done(street, command(street, m.CommandType.READ_BILLING, from_ms=now_ms - 70 * DAY_MS, to_ms=now_ms))
        assert decode(m.Readings, billing.result).values
        plate = done(street, command(street, m.CommandType.READ_NAME_PLATE))
        assert street.houses[KEY].serial.encode() in plate.result


def test_an_alarm_without_a_push_is_up_within_the_watch_and_not_the_interval(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].report_event(EVENTS["cover_opened"].code)
        happened_ms = street.clock.now_ms()
        while not street.events("cover_opened"):
            street.wind(20_000)
            street.beat()
            assert street.clock.now_ms() - happened_ms < 6 * MINUTE_MS


@pytest.mark.covers_part("I2FR1c", "I2FR17")
@pytest.mark.parametrize("fault", [HouseFault.CHECKSUM, HouseFault.METROLOGY, HouseFault.MEMORY, HouseFault.PROGRAM])
def test_a_failed_check_is_reported_without_waiting_for_the_next_turn(tmp_path: Path, fault: HouseFault) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].inject(fault)
        street.houses[KEY].run_diagnostics()
        started_ms = street.clock.now_ms()
        while not street.events(f"{fault.value}_failed"):
            street.wind(20_000)
            street.beat()
            assert street.clock.now_ms() - started_ms < QUARTER_MS


# ---- ranks, lanes, retention --------------------------------------------------------------------------------


def burst(street: LittleStreet) -> None:
    names = ("clock_set", "over_voltage", "billing_closed", "overloaded", "load_side_live", "power_failed", "demand_reset")
    now_ms = street.clock.now_ms()
    events = tuple(MeterEvent(EVENTS[name].code, now_ms) for name in names)
    update = MeterUpdate(MeterState(1), QUARTER_MS, events=events)
    street.core.journal.commit_sweep((update,), street.core.lane(), now_ms)


@pytest.mark.covers_part("I2FR16")
def test_of_a_mixed_burst_the_high_class_leaves_first(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.published.clear()
        burst(street)
        street.beat()
        sent = [decode(m.Event, e.body) for b in street.batches() for e in b.entries if e.kind == m.EntryKind.EVENT]
        ranks = [event_type(event.code).rank for event in sent]
        assert len(ranks) == 7
        assert ranks == sorted(ranks)


@pytest.mark.covers_part("I2NFR4")
def test_after_a_link_drop_the_high_class_leaves_at_once_and_within_a_quarter(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        received = street.receipted
        street.drop()
        street.published.clear()
        street.houses[KEY].report_event(EVENTS["cover_opened"].code)
        happened_ms = street.clock.now_ms()
        street.wind(5 * MINUTE_MS)
        street.beat()
        street.beat()
        street.connect(receipts=received)
        first = street.batches()[0]
        assert first.lane == m.Lane.URGENT
        assert EVENTS["cover_opened"].code in [decode(m.Event, e.body).code for e in first.entries]
        assert street.clock.now_ms() - happened_ms < QUARTER_MS


def test_events_outlive_forty_five_days(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        burst(street)
        street.wind(44 * DAY_MS)
        street.core.journal.prune(street.clock.now_ms())
        rows = street.core.journal._db.execute("SELECT count(*) FROM event WHERE code = ?", (EVENTS["overloaded"].code,))
        assert rows.fetchone() == (1,)


def test_a_clock_years_ahead_that_nobody_believes_forgets_nothing(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.next_quarter(2)
        held = "SELECT count(*) FROM interval"
        (before,) = street.core.journal._db.execute(held).fetchone()
        street.wind(1_000 * DAY_MS)
        street.beat()
        assert street.core.journal._db.execute(held).fetchone()[0] >= before > 0
        street.say_time()
        street.beat()
        query = "SELECT count(*) FROM interval WHERE start_ms < ?"
        assert street.core.journal._db.execute(query, (street.clock.now_ms() - 999 * DAY_MS,)).fetchone() == (0,)


# ---- quality at the source ----------------------------------------------------------------------------------


def formed(street: LittleStreet, values: list[int], register: str, limits: RegisterLimits) -> list[tuple[int, int]]:
    """Intervals (value, quality) the journal forms from quarter-hourly registers."""
    start_ms = street.clock.now_ms() // QUARTER_MS * QUARTER_MS
    quantity = BY_NAME[register].code
    for number, value in enumerate(values):
        at_ms = start_ms + number * QUARTER_MS
        state = street.core.journal.states.get(7, MeterState(7))
        readings = (Reading(quantity, at_ms, value),)
        update = MeterUpdate(state, QUARTER_MS, readings, forms_intervals=True, limits=limits)
        street.core.journal.commit_sweep((update,), m.Lane.LIVE, at_ms)
    query = "SELECT value, quality FROM interval WHERE meter_no = 7 ORDER BY start_ms"
    return [tuple(row) for row in street.core.journal._db.execute(query).fetchall()]


def test_a_register_that_rolls_over_counts_on_and_says_so(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        limits = RegisterLimits(rollover_wh=1_000_000, max_power_w=50_000)
        assert formed(street, [999_800, 999_950, 120], "energy_import_wh", limits) == [(150, 0), (170, int(Quality.ROLLOVER))]


def test_a_register_that_falls_back_is_a_reset_and_never_use(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        rows = formed(street, [999_800, 999_950, 120], "energy_import_wh", RegisterLimits())
        assert rows[0] == (150, 0)
        assert rows[1][1] & Quality.RESET


@pytest.mark.covers_part("ETSI-3.1")
@pytest.mark.parametrize(
    ("register", "interval"),
    [("gas_volume_l", "interval_gas_l"), ("water_volume_l", "interval_water_l"), ("heat_energy_wh", "interval_heat_wh")],
)
def test_intervals_of_other_utilities_keep_their_own_quantity(tmp_path: Path, register: str, interval: str) -> None:
    with little_street(tmp_path) as street:
        assert formed(street, [1_000, 1_030, 1_070], register, RegisterLimits()) == [(30, 0), (40, 0)]
        quantities = {row[0] for row in street.core.journal._db.execute("SELECT quantity FROM interval WHERE meter_no = 7")}
        assert quantities == {BY_NAME[interval].code}


def test_what_could_not_be_read_is_absent_and_an_event_and_never_a_zero(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0, modbus=1) as street:
        ready(street)
        street.next_quarter()
        street.mute.add("modbus/1")
        street.next_quarter(5)
        assert street.events("meter_silent")
        zeros = street.core.journal._db.execute("SELECT count(*) FROM sample WHERE quantity = 1 AND value = 0").fetchone()
        assert zeros == (0,)
