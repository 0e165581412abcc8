"""What no meter can hold, refused before anything is written: one row per rule, by the kind of setting."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from gridtally_shared import meter_settings as ms
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import Reason


def check_values(setting: ms.AnySetting) -> None:
    """Refuse what no meter can hold before anything is written. Raises RefusedCommand(MALFORMED)."""
    for refused, why in _REFUSALS.get(type(setting), ()):
        if refused(setting):
            raise RefusedCommand(Reason.MALFORMED, why)


def _bad_rates(calendar: ms.ActivityCalendar) -> bool:
    actions = [action for day in calendar.days for action in day.actions]
    return not actions or any(not 1 <= a.rate <= 8 or not 0 <= a.minute < 1_440 for a in actions)


def _bad_weeks(calendar: ms.ActivityCalendar) -> bool:
    known = {day.day_id for day in calendar.days}
    weeks = {week.name for week in calendar.weeks}
    return any(len(w.days) != 7 or set(w.days) - known for w in calendar.weeks) or any(s.week not in weeks for s in calendar.seasons)


def _bad_dates(calendar: ms.ActivityCalendar) -> bool:
    dates = [(2024, s.month, s.day) for s in calendar.seasons] + [(d.year or 2024, d.month, d.day) for d in calendar.special_days]
    return not all(_is_date(*date) for date in dates)


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        return datetime(year, month, day, tzinfo=UTC).year == year
    except ValueError:
        return False


_REFUSALS: Final[dict[type, tuple[tuple[Callable[[Any], bool], str], ...]]] = {
    ms.ActivityCalendar: (
        (_bad_rates, "a day action is at a minute of the day and in rate 1 to 8"),
        (_bad_weeks, "a week has seven known day ids, a season a known week"),
        (_bad_dates, "a season or special day is on no date of the calendar"),
    ),
    ms.DemandPeriod: (
        (lambda s: not 60 <= s.period_s <= 3_600, "a demand period is 60 to 3600 s"),
        (lambda s: s.windows < 1 or s.period_s % s.windows, "the parts of a demand period are whole seconds"),
    ),
    ms.CapturePeriod: ((lambda s: not 60 <= s.period_s <= 86_400 or 86_400 % s.period_s, "a capture period is a part of a day"),),
    ms.BillingDate: (
        (lambda s: not 1 <= s.day <= 28, "a billing date is day 1 to 28"),
        (lambda s: not 0 <= s.minute < 1_440, "a billing time is a minute of the day"),
    ),
    ms.LoadLimit: ((lambda s: not 0 <= s.threshold_w < 1 << 32 or not 0 <= s.over_s < 1 << 32, "a load limit is positive"),),
    ms.DiagnosticsPeriod: (
        (lambda s: not 3_600 <= s.self_test_s <= 31 * 86_400, "a self-test runs every hour to every month"),
        (lambda s: not 86_400 <= s.metrology_s <= 31 * 86_400, "a metrology check runs daily to monthly"),
    ),
    ms.MeteringMode: ((lambda s: s.mode not in tuple(ms.Metering), "a metering mode is 0 or 1"),),
    ms.PaymentMode: ((lambda s: s.mode not in tuple(ms.Payment), "a payment mode is 0 or 1"),),
    ms.LocalPort: (
        (lambda s: s.preemption not in tuple(ms.Preemption), "a port rule is 0, 1 or 2"),
        (lambda s: not 1 <= s.sessions <= 8, "a meter has one to eight sessions"),
    ),
}
