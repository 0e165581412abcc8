"""Usage views as pure functions: windows, parts, sums."""

from __future__ import annotations

import pytest

from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.web import usage as use
from gridtally_cloud.web.charts import Mark
from gridtally_cloud.web.i18n import language
from gridtally_cloud.web.reads.usage import DayTotal, Interval
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.tariff.quote import quote

BERLIN = "Europe/Berlin"
EN = language("en", BERLIN)
DOCUMENT = '{"kind": "flat", "currency": "EUR", "energy_per_kwh": "0.30", "tax_percent": "10"}'
TARIFF = quote((TariffDocument("t", 1, 0, DOCUMENT),), 0, "UTC")


def day_no(text: str) -> int:
    from datetime import date

    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def quarters(day: str, n: int = 96, wh: int = 100) -> list[Interval]:
    start = midnight_ms(day_no(day), BERLIN)
    return [Interval(start + i * 900_000, 900, wh) for i in range(n)]


NOW = midnight_ms(day_no("2026-11-21"), BERLIN) + 36_000_000


@pytest.mark.parametrize(
    ("span", "at", "first", "last"),
    [
        ("day", "2026-11-03", "2026-11-03", "2026-11-03"),
        ("day", "", "2026-11-21", "2026-11-21"),
        ("day", "2031-01-01", "2026-11-21", "2026-11-21"),
        ("day", "nonsense", "2026-11-21", "2026-11-21"),
        ("day", "2026-10", "2026-10-31", "2026-10-31"),
        ("month", "2026-02-15", "2026-02-01", "2026-02-28"),
        ("month", "2025", "2025-12-01", "2025-12-31"),
        ("year", "2026-02", "2026-01-01", "2026-12-31"),
        ("century", "2026-11-03", "2026-11-03", "2026-11-03"),
    ],
)
def test_windows(span: str, at: str, first: str, last: str) -> None:
    found = use.window(span, at, NOW, BERLIN)
    assert (found.first.isoformat(), found.last.isoformat()) == (first, last)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-03", 24)])
def test_a_day_is_as_long_as_it_is_there(day: str, hours: int) -> None:
    found = use.window("day", day, NOW, BERLIN)
    assert found.to_ms - found.from_ms == hours * 3_600_000


def test_parts_of_today_know_what_is_still_to_come() -> None:
    rows = [*quarters("2026-11-21", 38), *(Interval(r.start_ms, 900, None) for r in quarters("2026-11-21")[38:])]
    parts = use.day_parts(rows, EN, NOW)
    assert [p.mark for p in parts[36:42]] == [Mark.MEASURED] * 2 + [Mark.MISSING] * 2 + [Mark.AHEAD] * 2
    assert parts[37].name == "09:15–09:30"


def test_a_day_with_one_estimate_says_so_and_shows_how_much() -> None:
    rows = quarters("2026-11-03")
    rows[10] = Interval(rows[10].start_ms, 900, 70, estimated=True)
    (part,) = use.month_parts(rows, use.window("day", "2026-11-03", NOW, BERLIN), EN, NOW)
    assert (part.wh, part.mark, part.estimated_wh) == (95 * 100 + 70, Mark.ESTIMATED, 70)


def test_view_sums_costs_and_counts() -> None:
    span, rows = use.window("day", "2026-11-03", NOW, BERLIN), quarters("2026-11-03", wh=250)
    rows[5] = Interval(rows[5].start_ms, 900, None)
    view = use.view(span, "money", use.day_parts(rows, EN, NOW), use.counts_of(rows, NOW), TARIFF, EN, NOW)
    assert view.total_wh == 95 * 250
    assert view.total_nano == 95 * 250 * 330_000  # 0.33 a kWh with tax
    assert (view.measured, view.missing, view.expected) == (95, 1, 96)
    assert view.rows[5].mark == "missing"
    assert view.rows[0].money_text == "€\u00a00.08"
    assert (view.previous, view.following) == ("2026-11-02", "2026-11-04")


def test_the_view_of_today_has_no_tomorrow() -> None:
    rows = quarters("2026-11-21", 40)
    view = use.view(use.window("day", "", NOW, BERLIN), "kwh", use.day_parts(rows, EN, NOW), use.counts_of(rows, NOW), None, EN, NOW)
    assert (view.previous, view.following, view.total_nano) == ("2026-11-20", "", None)


def test_years_are_made_of_days() -> None:
    span = use.window("year", "2026", NOW, BERLIN)
    totals = [DayTotal(day_no("2026-01-05"), 4_000, 96, 96), DayTotal(day_no("2026-01-06"), 5_000, 90, 96)]
    parts = use.year_parts(totals, span, EN, NOW)
    assert [p.wh for p in parts[:2]] == [9_000, None]
    assert [p.mark for p in (parts[0], parts[1], parts[11])] == [Mark.MEASURED, Mark.MISSING, Mark.AHEAD]
    counts = use.counts_of_days(totals)
    assert (counts.expected, counts.measured, counts.missing) == (192, 186, 6)


def test_nothing_known_is_an_empty_view() -> None:
    view = use.view(use.window("day", "", NOW, BERLIN), "kwh", [], use.counts_of([], NOW), TARIFF, EN, NOW)
    assert not view.has_data
    assert view.summary == ""


def test_a_long_day_takes_the_focus_by_the_hour() -> None:
    rows = quarters("2026-11-03")
    svg = use.chart("c", "t", use.day_parts(rows, EN, NOW), "kwh", None, EN)
    assert svg.count('tabindex="0"') == 24
    assert 'aria-label="07:00–08:00: 0.400\u00a0kWh"' in svg


def test_before_the_supply_began_nothing_is_missing() -> None:
    began = midnight_ms(day_no("2026-11-03"), BERLIN) + 36_000_000
    rows = [Interval(r.start_ms, 900, None) for r in quarters("2026-11-03")[:40]] + quarters("2026-11-03")[40:]
    parts = use.day_parts(rows, EN, NOW, began)
    assert [p.mark for p in parts[39:41]] == [Mark.OUTSIDE, Mark.MEASURED]
    assert use.counts_of(rows, NOW, began).missing == 0
    span = use.window("month", "2026-11", NOW, BERLIN, began)
    marks = [p.mark for p in use.month_parts(rows, span, EN, NOW)]
    assert marks[:4] == [Mark.OUTSIDE, Mark.OUTSIDE, Mark.MEASURED, Mark.MISSING]
    year = use.year_parts([], use.window("year", "2026", NOW, BERLIN, began), EN, NOW)
    assert [year[i].mark for i in (9, 10, 11)] == [Mark.OUTSIDE, Mark.MISSING, Mark.AHEAD]
