"""Time left walks the real tariff with the household's own load; what is not known makes it wider, not wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.forecast.history import Calendar, LoadHistory, history_from, history_text, observed, spread, view
from gridtally_shared.forecast.outlook import ahead, day_deviation_wh, deviation, outlook
from gridtally_shared.forecast.parameters import learnt, parameters_from
from gridtally_shared.forecast.timeleft import Basis, TimeLeft, span_ms, time_left
from gridtally_shared.forecast.walk import Debit, Purse, runs_out_ms
from gridtally_shared.money import NANO
from gridtally_shared.prepay.policy import Period
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import opened
from gridtally_shared.tariff.terms import Account, Plan

ZONE = ZoneInfo("Asia/Kolkata")
CALENDAR = Calendar(ZONE)
MIDNIGHT_MS = 1_772_389_800_000  # Monday 2026-03-02 00:00 in Kolkata
START_MS = MIDNIGHT_MS + MS_PER_HOUR
DAY_MS = 24 * MS_PER_HOUR


def plan(*items: dict[str, Any], **more: Any) -> Plan:
    document = {"kind": "tariff", "code": "t", "currency": "INR", "zone": ZONE.key,
                "versions": [{"from": "2026-01-01", "items": list(items), **more}]}  # fmt: skip
    return tariff_plan([json.dumps(document)], ZONE)


FLAT = plan({"kind": "energy", "code": "energy", "price": "5"})


def purse(tariff: Plan, money: int, at_ms: int = START_MS, debits: tuple[Debit, ...] = ()) -> Purse:
    return Purse(tariff, Account(), opened(tariff, Account(), at_ms), money * NANO, debits)


def lived(hours: Sequence[int | None], history: LoadHistory | None = None, start_ms: int = START_MS) -> LoadHistory:
    history = history or LoadHistory()
    for n, wh in enumerate(hours):
        history = observed(history, learnt(), CALENDAR, start_ms + n * MS_PER_HOUR, wh)
    return history


def left(history: LoadHistory, money: int, tariff: Plan = FLAT) -> TimeLeft:
    at_ms = history.until_ms or START_MS
    return time_left(purse(tariff, money, at_ms), history, learnt(), CALENDAR)


def hours_left(history: LoadHistory, money: int) -> tuple[float, float]:
    told = left(history, money)
    assert told.central_ms is not None
    assert told.cautious_ms is not None
    return (told.central_ms - told.as_of_ms) / MS_PER_HOUR, (told.cautious_ms - told.as_of_ms) / MS_PER_HOUR


def test_the_outlook_is_the_sums_ahead_and_their_deviation_hour_by_hour() -> None:
    history = lived([n % 7 * 100 + 50 for n in range(24 * 20)])
    at_ms, day_wh, days = history.until_ms + 700_000, day_deviation_wh(history, view(history, learnt()).mean), history.hours // 24
    sums = list(ahead(history, learnt(), CALENDAR, at_ms, 24 * 28))
    off = [deviation(one, day_wh, days, learnt()) for one in sums]
    cautious = [(one.central + learnt().margin_permille * mwh // 1000) // 1000 for one, mwh in zip(sums, off, strict=True)]
    found = outlook(history, learnt(), CALENDAR, at_ms, 24 * 28)
    assert [sum(found.central_wh[:n]) for n in (1, 24, 672)] == [sums[n - 1].central // 1000 for n in (1, 24, 672)]
    assert list(found.cautious_wh) == [max(0, later - before) for before, later in pairwise([0, *cautious])]


# ---- the walk -------------------------------------------------------------------------------------------------


def test_one_price_is_a_division() -> None:
    assert runs_out_ms(purse(FLAT, 50), [1_000] * 100) == START_MS + 10 * MS_PER_HOUR
    assert runs_out_ms(purse(FLAT, 52), [1_000] * 100) == START_MS + 10 * MS_PER_HOUR + MS_PER_HOUR * 2 // 5
    assert runs_out_ms(purse(FLAT, 501), [1_000] * 100) is None
    assert runs_out_ms(purse(FLAT, 0), [1_000] * 100) == START_MS


def test_the_first_load_is_what_is_left_of_the_hour_under_way() -> None:
    half_ms = START_MS + MS_PER_HOUR // 2
    assert runs_out_ms(purse(FLAT, 5, half_ms), [500, 1_000]) == half_ms + MS_PER_HOUR


def test_slabs_make_the_last_money_go_faster() -> None:
    slabs = plan({"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "10", "price": "1"}, {"price": "10"}]})
    assert runs_out_ms(purse(slabs, 30, MIDNIGHT_MS - DAY_MS), [1_000] * 100) == MIDNIGHT_MS - 12 * MS_PER_HOUR


def test_time_of_use_decides_the_hour() -> None:
    bands = [{"from": "00:00", "to": "12:00", "period": "low"}, {"from": "12:00", "to": "24:00", "period": "high"}]
    tariff = plan(
        {"kind": "energy", "code": "energy", "rates": [{"periods": ["low"], "price": "1"}, {"periods": ["high"], "price": "4"}]},
        hours=[{"seasons": [], "days": [], "bands": bands}],
    )
    assert runs_out_ms(purse(tariff, 20, MIDNIGHT_MS), [1_000] * 100) == MIDNIGHT_MS + 14 * MS_PER_HOUR


def test_a_fixed_charge_ends_it_at_midnight_with_nobody_at_home() -> None:
    tariff = plan({"kind": "energy", "code": "energy", "price": "5"}, {"kind": "fixed", "code": "fixed", "price": "3", "per": "day"})
    assert runs_out_ms(purse(tariff, 9, MIDNIGHT_MS + 60_000), [0] * 200) == MIDNIGHT_MS + 2 * DAY_MS


def test_a_debt_by_time_is_taken_until_it_is_paid() -> None:
    assert runs_out_ms(purse(FLAT, 240, MIDNIGHT_MS), [1_000] * 200) == MIDNIGHT_MS + 48 * MS_PER_HOUR
    debts = (Debit(Period.DAY, 20 * NANO, 30 * NANO),)
    assert runs_out_ms(purse(FLAT, 240, MIDNIGHT_MS, debts), [1_000] * 200) == MIDNIGHT_MS + 44 * MS_PER_HOUR
    monthly = (Debit(Period.MONTH, 1_000 * NANO, 1_000 * NANO),)
    assert runs_out_ms(purse(FLAT, 240, MIDNIGHT_MS, monthly), [1_000] * 200) == MIDNIGHT_MS + 48 * MS_PER_HOUR


# ---- what is known of a household -----------------------------------------------------------------------------


def test_nothing_is_told_without_two_hours_and_nothing_is_left_below_zero() -> None:
    assert left(LoadHistory(), 100).basis is Basis.NONE
    assert span_ms(left(LoadHistory(), 100)) is None
    spent = left(LoadHistory(), -5)
    assert (spent.basis, spent.central_ms, spent.cautious_ms) == (Basis.SPENT, spent.as_of_ms, spent.as_of_ms)


def test_a_steady_house_is_known_well_and_a_young_history_is_told_wider() -> None:
    young, old = lived([1_000] * 24), lived([1_000] * 24 * 60)
    (central, cautious_young), (steady, cautious_old) = hours_left(young, 250), hours_left(old, 250)
    assert abs(central - 50) < 0.5
    assert abs(steady - 50) < 0.2
    assert cautious_young < cautious_old < 50
    assert (left(young, 250).basis, left(old, 250).basis) == (Basis.YOUNG, Basis.HISTORY)


def test_evenings_and_weekends_are_known() -> None:
    day = [200] * 18 + [2_000] * 4 + [200] * 2
    week = day * 5 + [1_500] * 48
    history = lived(week * 6, start_ms=MIDNIGHT_MS)
    evening = outlook(history, learnt(), CALENDAR, MIDNIGHT_MS + 42 * DAY_MS, 24).central_wh
    assert max(evening[:17]) < 700
    assert min(evening[18:22]) > 1_200
    saturday = outlook(history, learnt(), CALENDAR, MIDNIGHT_MS + 47 * DAY_MS, 24).central_wh
    assert min(saturday) > 700


def test_absence_makes_it_longer_and_the_cautious_value_expects_somebody_back() -> None:
    at_home = lived([1_000] * 24 * 40)
    away = lived([50] * 24 * 4, at_home, at_home.until_ms)
    before, now = hours_left(at_home, 250), hours_left(away, 250)
    assert now[0] > 2 * before[0]
    assert now[1] < now[0] * 0.6


def test_zero_use_does_not_end_and_is_not_a_division_by_zero() -> None:
    told = left(lived([0] * 100), 10)
    assert (told.central_ms, told.basis) == (None, Basis.YOUNG)


def test_a_gap_teaches_the_level_and_an_unknown_one_nothing() -> None:
    before = lived([1_000] * 24 * 30)
    told = spread(before, learnt(), CALENDAR, before.until_ms, 48, 96_000)
    silent = spread(before, learnt(), CALENDAR, before.until_ms, 48, None)
    assert told.until_ms == silent.until_ms == before.until_ms + 48 * MS_PER_HOUR
    assert told.hours == silent.hours == before.hours
    assert view(told, learnt()).level > view(before, learnt()).level
    assert abs(view(silent, learnt()).level - 1_000_000) < 20_000
    assert spread(before, learnt(), CALENDAR, before.until_ms, 24 * 400, 10).until_ms == before.until_ms + 24 * 400 * MS_PER_HOUR


def test_in_the_first_day_a_sum_over_some_hours_is_better_than_nothing() -> None:
    history = spread(LoadHistory(), learnt(), CALENDAR, START_MS, 3, 3_000)
    assert history.hours == 3
    assert left(history, 25).basis is Basis.YOUNG


def test_a_history_survives_as_text_and_stays_small() -> None:
    history = lived([300 + 37 * (n % 29) for n in range(24 * 90)])
    text = history_text(history)
    assert history_from(text) == history
    assert len(text) < 2_500
    for wrong in ("", "[]", "[2]", "{}", "[1,2,3]"):
        with pytest.raises(ContractError):
            history_from(wrong)


def test_parameters_are_data_that_says_how_it_was_made() -> None:
    assert "households" in learnt().made
    with pytest.raises(ConfigError, match="make forecast-report"):
        parameters_from('{"margin_permille": -1}')
