"""What a time ahead will cost: the profile, the walk through the tariff, its basis; and when there is none."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.prepay.estimate import (
    HOUR_MS,
    SLOT_MS,
    WEEK_HOURS,
    Begin,
    EstimateReason,
    Profile,
    Use,
    cycle_end_ms,
    estimate,
    hour_of_week,
    plan_of,
    profile_of,
    walk,
)
from gridtally_cloud.store.intervals import IntervalSeries
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import NANO, nano
from gridtally_shared.money import display as money_text
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import opened
from gridtally_shared.tariff.terms import Account, Plan
from support.payday import START_MS, Payday
from support.web_person import Person
from support.web_street import PER_DAY, WebStreet, seeded_store, wh_of
from support.web_words import plain

MONDAY_MS = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 24 * HOUR_MS
FLAT = tariff_plan(['{"kind": "flat", "currency": "EUR", "energy_per_kwh": "0.20", "fixed_per_day": "0.50", "tax_percent": "10"}'])
SLABS = tariff_plan(["""{"kind": "tariff", "code": "s", "currency": "EUR", "zone": "UTC", "versions": [{"from": "2026-01-01", "items": [
    {"kind": "energy", "code": "e", "slabs": [{"to_kwh": "10", "price": "0.10"}, {"price": "1.00"}]}]}]}"""])  # fmt: skip


def begun(plan: Plan, at_ms: int) -> Begin:
    return Begin(plan, Account(), opened(plan, Account(), at_ms))


def series(start_ms: int, values: list[int | None], period_s: int = 3600) -> IntervalSeries:
    present = bytes(v is not None for v in values)
    return IntervalSeries(start_ms, period_s, array("q", [v or 0 for v in values]), array("H", [0] * len(values)), present)


def test_the_profile_is_the_mean_of_the_same_hour_of_the_week() -> None:
    weeks = [100 + h for h in range(WEEK_HOURS)] + [300 + h for h in range(WEEK_HOURS)]
    found = profile_of(series(MONDAY_MS, list(weeks)), FLAT)
    assert found.mwh == tuple((200 + h) * 1000 for h in range(WEEK_HOURS))
    assert (found.known_hours, found.filled_hours) == (2 * WEEK_HOURS, 0)
    assert hour_of_week(MONDAY_MS + 25 * HOUR_MS, FLAT) == 25


def test_an_hour_never_seen_takes_that_hour_of_the_day_else_the_mean() -> None:
    values: list[int | None] = [None] * WEEK_HOURS
    values[3], values[27] = 600, 200
    found = profile_of(series(MONDAY_MS, values), FLAT)
    assert found.mwh[3 + 48] == 400_000
    assert found.mwh[4] == 400_000
    assert (found.mwh[3], found.mwh[27], found.filled_hours) == (600_000, 200_000, WEEK_HOURS - 2)


@pytest.mark.covers_part("C3-S1.3", "C3-S2.4")
def test_the_estimate_is_the_tariff_walked_over_the_profile() -> None:
    use = Use(FLAT, Profile((500_000,) * WEEK_HOURS), None, MONDAY_MS)
    found = walk(begun(FLAT, MONDAY_MS), use, MONDAY_MS, MONDAY_MS + 7 * DAY_MS)
    assert found.wh == 84_000
    assert found.amount_nano == (84 * nano("0.20") + 7 * nano("0.50")) * 11 // 10
    assert sum(line.amount_nano for line in found.lines) == found.amount_nano


def test_slabs_stand_where_the_measured_days_left_them() -> None:
    past = series(MONDAY_MS, [1_000] * 8 + [None] * 4)
    use = Use(SLABS, Profile((500_000,) * WEEK_HOURS), past, MONDAY_MS + 12 * HOUR_MS)
    now_ms = MONDAY_MS + 12 * HOUR_MS
    found = walk(begun(SLABS, MONDAY_MS), use, now_ms, now_ms + 2 * HOUR_MS)
    assert (found.wh, found.amount_nano) == (1_000, nano("1.00"))
    assert walk(begun(SLABS, now_ms), use, now_ms, now_ms + 2 * HOUR_MS).amount_nano == nano("0.10")


def test_parts_add_up_and_an_event_may_begin_at_any_minute() -> None:
    use = Use(FLAT, Profile(tuple(1_000 * (h + 1) for h in range(WEEK_HOURS))), None, MONDAY_MS)
    cuts = [MONDAY_MS + minutes * 60_000 for minutes in (0, 10, 55, 190, 24 * 60)]
    parts = [walk(begun(FLAT, MONDAY_MS), use, a, b) for a, b in pairwise(cuts)]
    whole = walk(begun(FLAT, MONDAY_MS), use, cuts[0], cuts[-1])
    assert abs(sum(p.wh for p in parts) - whole.wh) <= len(parts)
    assert abs(sum(p.amount_nano for p in parts) - whole.amount_nano) <= len(parts) * NANO // 1000
    shape = [(s.period_ms // 60_000, len(s.import_wh)) for s in use.series(cuts[1], cuts[2])]
    assert shape == [(5, 1), (15, 2), (10, 1)]
    assert [s.period_ms // 60_000 for s in use.series(MONDAY_MS + 60_000, MONDAY_MS + 120_000)] == [1]
    assert [s.period_ms for s in use.series(MONDAY_MS, MONDAY_MS + HOUR_MS)] == [SLOT_MS]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStreet]:
    street = WebStreet(tmp_path_factory.mktemp("street"), seeded_store(tmp_path_factory.mktemp("seeded")))
    for _ in range(3):
        street.live(PER_DAY)
    yield street
    street.close()


@pytest.mark.covers_part("C3-S1.3", "C3-S2.4", "C3-S3.5")
def test_of_an_account_to_the_end_of_the_cycle_and_for_an_event(street: WebStreet) -> None:
    with street.pay.db.read() as conn:
        end_ms = cycle_end_ms(conn, street.pay.account, street.now_ms)
        month = estimate(conn, street.pay.account, street.now_ms, end_ms, street.now_ms)
        event = estimate(conn, street.pay.account, street.now_ms + DAY_MS, street.now_ms + DAY_MS + 3 * HOUR_MS, street.now_ms)
        given = estimate(conn, street.pay.account, street.now_ms, street.now_ms + HOUR_MS, street.now_ms,
                         Profile((2_000_000,) * WEEK_HOURS))  # fmt: skip
    assert month.amount_nano > event.amount_nano > 0
    assert sum(line.amount_nano for line in month.lines) == month.amount_nano
    assert (month.basis.known_hours >= 71, month.basis.is_given) == (True, False)
    assert (given.wh, given.basis.is_given) == (2_000, True)


@pytest.mark.covers("C3-S1.3")
def test_to_the_next_bill_is_the_tariff_walked_over_the_historic_profile_for_the_days_left(street: WebStreet) -> None:
    """Counted here by hand: the mean of each hour over the three days known, 7 per kWh, 2.50 a day, 5 % of both."""
    use = [sum(wh_of(0, START_MS + (day * 24 + hour) * HOUR_MS + q * SLOT_MS) for q in range(4)) for day in range(3) for hour in range(24)]
    days = [date.fromordinal(date(2026, 11, 1).toordinal() + n) for n in range(30)]
    seen = {day.weekday(): use[n * 24 : n * 24 + 24] for n, day in enumerate(days[:3])}
    mean = [sum(use[hour::24]) / 3 for hour in range(24)]
    wh = sum(sum(seen.get(day.weekday(), mean)) for day in days[3:])
    with street.pay.db.read() as conn:
        month = estimate(conn, street.pay.account, street.now_ms, cycle_end_ms(conn, street.pay.account, street.now_ms), street.now_ms)
    assert month.to_ms - month.from_ms == 27 * DAY_MS
    assert abs(month.wh - wh) < 2
    assert month.amount_nano == (month.wh * nano("7") // 1000 + 27 * nano("2.50")) * 105 // 100


@pytest.mark.parametrize(("from_ms", "to_ms"), [(-DAY_MS, DAY_MS), (DAY_MS, DAY_MS), (0, 401 * DAY_MS)])
def test_a_span_that_makes_no_sense_is_refused(street: WebStreet, from_ms: int, to_ms: int) -> None:
    with street.pay.db.read() as conn, pytest.raises(RefusedCommand, match=EstimateReason.BAD_SPAN):
        estimate(conn, street.pay.account, street.now_ms + from_ms, street.now_ms + to_ms, street.now_ms)


def test_without_history_there_is_no_number(tmp_path: Path) -> None:
    town = Payday(tmp_path)
    with town.db.read() as conn, pytest.raises(RefusedCommand, match=EstimateReason.NO_HISTORY):
        estimate(conn, town.account, town.now_ms, town.now_ms + DAY_MS, town.now_ms)
    town.close()


@pytest.mark.covers("C3-S2.4", "C3-S3.5")
def test_an_event_at_a_facility_is_estimated_from_its_own_hours_and_shown_with_its_basis(street: WebStreet) -> None:
    """The facility's mean of each hour of the week at its tariff, whoever asks and pays; the page says what it is made from."""
    facility, requester = street.pay.account, street.pay.homes[1].account_no
    start_ms = street.now_ms - (street.now_ms - START_MS) % HOUR_MS + DAY_MS
    with street.pay.db.read() as conn:
        event = estimate(conn, facility, start_ms, start_ms + 3 * HOUR_MS, street.now_ms)
        other = estimate(conn, requester, start_ms, start_ms + 3 * HOUR_MS, street.now_ms)
        plan = plan_of(conn, account_of(conn, facility))
    hours = [hour_of_week(start_ms + n * HOUR_MS, plan) for n in range(3)]
    assert event.wh == round(sum(event.basis.mwh[h] for h in hours) / 1000)  # the same hours of the week
    assert event.wh != other.wh  # the facility's, not the requester's
    assert sum(line.amount_nano for line in event.lines) == event.amount_nano  # at the tariff, line by line

    dora, zone = Person(street.app(), "dora"), ZoneInfo("Asia/Kolkata")
    local = [datetime.fromtimestamp(ms / 1000, zone).strftime("%Y-%m-%dT%H:%M") for ms in (start_ms, start_ms + 3 * HOUR_MS)]
    said = dora.post("/desk/schedules/", {"what": "estimate", "programme": "B", "account": str(facility), "requester": str(requester),
                                          "credit": "1", "start": local[0], "end": local[1]}, form="/desk/schedules/")  # fmt: skip
    page = plain(said.get_data(as_text=True))
    assert money_text(event.amount_nano, "INR").replace("\xa0", " ") in page
    assert f"{event.wh / 1000:.1f}" in page
    assert str(event.basis.known_hours) in page  # its basis


def test_the_recharge_page_says_what_the_cycle_will_take(street: WebStreet) -> None:
    with street.pay.db.read() as conn:
        end_ms = cycle_end_ms(conn, street.pay.account, street.now_ms)
        month = estimate(conn, street.pay.account, street.now_ms, end_ms, street.now_ms)
    page = plain(Person(street.app(), "asha").get(f"/account/{street.pay.account}/recharge"))
    assert money_text(month.amount_nano, "INR").replace("\xa0", " ") in page
    assert f"({month.basis.known_hours} hours measured)" in page
