"""The load to come, hour by hour: a central path and a cautious one. Pure.

* Central: profile x level. Cautious: central plus `margin` deviations of the use so far, so it is surer the further it looks.
* The cautious path keeps the household's own profile in mind while nobody is at home: somebody may come back.
* Whole Wh; what is below a Wh is carried to the next hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from math import isqrt
from typing import NamedTuple

from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.forecast.history import PPM, Calendar, LoadHistory, view
from gridtally_shared.forecast.hours import hour_start
from gridtally_shared.forecast.parameters import HOURS, Parameters
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of, starts_at

PRIOR_DAYS_PPM = 2 * PPM
PRIOR_DEVIATION_PERMILLE = 400


@dataclass(frozen=True, slots=True)
class Outlook:
    """Wh of each hour; the first one is what is left of the hour under way."""

    central_wh: tuple[int, ...]
    cautious_wh: tuple[int, ...]


class Ahead(NamedTuple):
    """So much is expected by the end of an hour ahead, in mWh: central, and by the profile alone; variance of the hours in Wh^2."""

    hours: int
    central: int
    profile: int
    variance: int


def ahead(history: LoadHistory, parameters: Parameters, calendar: Calendar, from_ms: int, hours: int) -> Iterator[Ahead]:
    """Sums to the end of each hour ahead, the one under way counted by what is left of it."""
    now, squares = view(history, parameters), variances(history)
    usual, level = now.profile, now.level
    central = profile = variance = 0
    for n, (cell, left_ms) in enumerate(_cells(calendar, from_ms, hours), 1):
        load = usual[cell] * left_ms // MS_PER_HOUR
        profile += load
        central += load * level // PPM
        variance += squares[cell % HOURS]
        yield Ahead(n, central, profile, variance)


def deviation(one: Ahead, day_deviation_wh: int, days_seen: int, parameters: Parameters) -> int:
    """How far the use by then may be off, in mWh."""
    level = parameters.level_permille + parameters.young_permille // (1 + days_seen)
    most = one.central if one.central > one.profile else one.profile
    squared = parameters.hours_permille * one.variance * 1000 + parameters.days_permille * day_deviation_wh**2 * _growth(one.hours)
    return isqrt(squared + level * most * most // 1000)


@cache
def _growth(hours: int) -> int:
    """How the deviation of a day grows with the hours ahead."""
    return isqrt(hours**3 * PPM // HOURS**3)


def variances(history: LoadHistory) -> list[int]:
    """Of each hour of day in Wh^2, shrunk by one observation to their mean."""
    total = sum(history.hour_weight)
    mean = sum(history.hour_square) // total if total else 0
    return [(s + mean * PPM) // (w + PPM) for s, w in zip(history.hour_square, history.hour_weight, strict=True)]


def day_deviation_wh(history: LoadHistory, mean_mwh: int) -> int:
    """By how much a day's use is off, with two days of a wide guess before it is known."""
    guess = HOURS * mean_mwh * PRIOR_DEVIATION_PERMILLE // 1000
    return (history.day_deviation * 1000 + PRIOR_DAYS_PPM * guess) // ((history.day_weight + PRIOR_DAYS_PPM) * 1000)


def outlook(history: LoadHistory, parameters: Parameters, calendar: Calendar, from_ms: int, hours: int) -> Outlook:
    """The loop runs for each of some 670 hours of each account at each reading, so `ahead` and `deviation` stand in it at length."""
    now, squares = view(history, parameters), variances(history)
    day_square, days_seen = day_deviation_wh(history, now.mean) ** 2, history.hours // HOURS
    spread = parameters.level_permille + parameters.young_permille // (1 + days_seen)
    by_hour, by_day, margin = parameters.hours_permille * 1000, parameters.days_permille * day_square, parameters.margin_permille
    usual, level = now.profile, now.level
    middle = profile = variance = 0
    central, cautious = [0], [0]
    for n, (cell, left_ms) in enumerate(_cells(calendar, from_ms, hours), 1):
        load = usual[cell] if left_ms == MS_PER_HOUR else usual[cell] * left_ms // MS_PER_HOUR
        profile += load
        middle += load * level // PPM
        variance += squares[cell % HOURS]
        most = middle if middle > profile else profile
        off = isqrt(by_hour * variance + by_day * _growth(n) + spread * most * most // 1000)
        central.append(middle // 1000)
        cautious.append((middle + margin * off // 1000) // 1000)
    return Outlook(_steps(central), _steps(cautious))


def _steps(sums: list[int]) -> tuple[int, ...]:
    return tuple([later - earlier if later > earlier else 0 for earlier, later in pairwise(sums)])


def _cells(calendar: Calendar, from_ms: int, hours: int) -> Iterator[tuple[int, int]]:
    """The profile cell of each hour, and how much of it lies ahead."""
    start_ms = hour_start(from_ms, calendar.zone)
    left_ms = start_ms + MS_PER_HOUR - from_ms
    day, midnight_ms, next_ms, kind = 0, 0, 0, 0
    for _ in range(hours):
        if start_ms >= next_ms:
            day = day_of(start_ms, calendar.zone)
            midnight_ms, next_ms, kind = starts_at(day, calendar.zone), starts_at(day + 1, calendar.zone), calendar.day_type(day)
        yield kind * HOURS + min(HOURS - 1, (start_ms - midnight_ms) // MS_PER_HOUR), left_ms
        start_ms, left_ms = start_ms + MS_PER_HOUR, MS_PER_HOUR
