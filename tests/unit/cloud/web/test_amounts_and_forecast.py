"""Amounts as people type them, and how long a balance lasts."""

from __future__ import annotations

import pytest

from gridtally_cloud.web.amounts import typed_amount
from gridtally_cloud.web.devices import device
from gridtally_cloud.web.forecast import Forecast, forecast
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.forecast.timeleft import Basis, TimeLeft
from gridtally_shared.money import NANO
from gridtally_shared.tariff.quote import quote
from gridtally_shared.usage_days import DayTotal, daily_mean

DOCUMENT = '{"kind": "flat", "currency": "EUR", "energy_per_kwh": "0.25", "fixed_per_day": "0.50", "tax_percent": "20"}'
TARIFF = quote((TariffDocument("t", 1, 0, DOCUMENT),), 0, "UTC")


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("20", 20 * NANO), ("20.5", 20_500_000_000), ("20,50", 20_500_000_000), (" 7 ", 7 * NANO), ("1 000", 1000 * NANO),
        ("1\u00a0000,25", 1_000_250_000_000), ("1,000.00", 1000 * NANO), ("1.000,00", 1000 * NANO), ("12,345,678", 12_345_678 * NANO),
        ("२०.५०", 20_500_000_000),
    ],
)  # fmt: skip
def test_amounts_that_mean_one_thing(text: str, nano: int) -> None:
    typed = typed_amount("other", text, "EUR")
    assert (typed.amount_nano, typed.problem) == (nano, "")


@pytest.mark.parametrize("text", ["1,234", "1.234", "abc", "-5", "1e3", "1,00,000", "0x10", "٢٠", "1.000.00", "9" * 30, "1..2"])
def test_amounts_that_could_mean_two_things_or_none(text: str) -> None:
    assert typed_amount("other", text, "EUR").problem == "unreadable"


def test_a_typed_amount_replaces_the_choice_and_nothing_is_asked_for() -> None:
    assert typed_amount("20", "", "EUR").amount_nano == 20 * NANO
    assert typed_amount("20", "35", "EUR").amount_nano == 35 * NANO
    assert typed_amount("999", "", "EUR").problem == "missing"
    assert typed_amount("other", "5.5", "JPY").problem == "decimals"


def days(*wh: int, first: int = 100, present: int = 96) -> list[DayTotal]:
    return [DayTotal(first + i, w, present, 96) for i, w in enumerate(wh)]


def test_what_the_concentrator_forecast_and_what_the_balance_buys_now() -> None:
    left = TimeLeft(1_000, 1_000 + 5 * MS_PER_DAY, 1_000 + 4 * MS_PER_DAY, Basis.HISTORY)
    outlook = forecast(18 * NANO, 0, TARIFF, left, [], today=102)
    assert outlook.left_ms == 5 * MS_PER_DAY
    assert outlook.left_wh == 60_000, "18.00 at 0.30 a kWh with tax"


def test_unfinished_and_thin_days_do_not_count() -> None:
    assert daily_mean(days(10_000, 1, first=100), today=101) == 10_000
    assert daily_mean(days(10_000, present=80), today=101) is None
    assert daily_mean(days(*([1] * 5 + [9_000] * 14)), today=200) == 9_000


def test_what_is_not_known_is_not_said() -> None:
    beyond = TimeLeft(1_000, None, None, Basis.HISTORY)
    assert forecast(NANO, 0, None, None, [], 1) == Forecast(None, None, None)
    assert forecast(NANO, 0, TARIFF, beyond, [], 1).left_ms is None
    assert forecast(-5 * NANO, 0, TARIFF, None, [], 1).left_wh == 0


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36", "Chrome, Android"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0", "Edge, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 Version/17.5 Safari/604.1", "Safari, iPhone"),
        ("curl/8.1", ""),
    ],
)
def test_devices_have_names_people_know(agent: str, shown: str) -> None:
    assert device(agent) == shown
