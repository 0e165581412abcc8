"""What the forecast is taught: shape of a class, shape of a deviation, margin. From the training households' energy alone.

* For each candidate shape the margin is the one that would have covered `TARGET` of the training cases, every household with the
  same weight; the shape whose cautious paths then lie lowest is taken.
* The width for young histories is the smallest that covers the same share of histories of half a day to a week.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product

from forecast.households import Household
from gridtally_shared.forecast.history import Calendar, LoadHistory, observed, view
from gridtally_shared.forecast.outlook import Ahead, ahead, day_deviation_wh, deviation
from gridtally_shared.forecast.parameters import HOURS, Parameters

HORIZONS = (6, 12, 24, 48, 72, 120, 168)
YOUNG_HORIZONS = (12, 24, 48, 72)
YOUNG_AGES = (12, 24, 48, 96, 168)
WARM_HOURS = 14 * HOURS
TARGET_PERMILLE = 962
SHAPES = tuple(product((1000, 2000, 4000), (300, 800, 1600), (20, 40, 80)))
WIDTHS = (0, 125, 250, 500, 1000, 2000, 4000)
BLANK = Parameters(0, 1000, 1000, 0, 0, (1000,) * HOURS)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was expected at some hour ahead, and what was used by then, in mWh."""

    expected: Ahead
    day_wh: int
    days_seen: int
    used: int


def learn(training: Sequence[Household], step: int) -> Parameters:
    """Parameters from these households. `step`: hours between the cases looked at."""
    base = replace(BLANK, class_shape_permille=class_shape(training))
    old, young = [], []
    for home in training:
        old.append(lessons(home, base, step))
        young.append(young_lessons(home, base))
    shaped = min((_with_margin(base, shape, old) for shape in SHAPES), key=lambda p: _height(p, old))
    wider = [replace(shaped, young_permille=width) for width in WIDTHS]
    return next((p for p in wider if _covers(p, young)), wider[-1])


def class_shape(training: Sequence[Household]) -> tuple[int, ...]:
    """The mean of the households' hour-of-day shapes, 1000 the mean of the day."""
    shapes = []
    for home in training:
        by_hour: list[list[int]] = [[] for _ in range(HOURS)]
        offset = _local_hour(home)
        for n, wh in enumerate(home.hours_wh):
            if wh is not None:
                by_hour[(n + offset) % HOURS].append(wh)
        means = [1000 * sum(values) // max(1, len(values)) for values in by_hour]
        shapes.append([1000 * HOURS * m // max(1, sum(means)) for m in means])
    return tuple(sum(column) // len(shapes) for column in zip(*shapes, strict=True))


def _local_hour(home: Household) -> int:
    """The hour of day of the first value; a shape may be an hour off in summer."""
    return datetime.fromtimestamp(home.start_ms // 1000, home.zone).hour


def lessons(home: Household, parameters: Parameters, step: int) -> list[Lesson]:
    found: list[Lesson] = []
    calendar, history = Calendar(home.zone), LoadHistory()
    for n, wh in enumerate(home.hours_wh):
        if n >= WARM_HOURS and n % step == 0:
            found += _lessons_at(home, parameters, history, n, HORIZONS)
        history = observed(history, parameters, calendar, home.at_ms(n), wh)
    return found


def young_lessons(home: Household, parameters: Parameters) -> list[Lesson]:
    """Histories that begin anew every ten days."""
    found: list[Lesson] = []
    for first in range(0, len(home.hours_wh) - 2 * WARM_HOURS, 10 * HOURS + 7):
        history = LoadHistory()
        for n in range(first, first + YOUNG_AGES[-1] + 1):
            if n - first in YOUNG_AGES:
                found += _lessons_at(home, parameters, history, n, YOUNG_HORIZONS)
            history = observed(history, parameters, Calendar(home.zone), home.at_ms(n), home.hours_wh[n])
    return found


def _lessons_at(home: Household, parameters: Parameters, history: LoadHistory, n: int, horizons: Sequence[int]) -> list[Lesson]:
    day_wh, days_seen = day_deviation_wh(history, view(history, parameters).mean), history.hours // HOURS
    used, found = 0, []
    steps = ahead(history, parameters, Calendar(home.zone), home.at_ms(n), horizons[-1])
    for one, wh in zip(steps, home.hours_wh[n:], strict=False):
        if wh is None:
            break
        used += wh * 1000
        if one.hours in horizons and used:
            found.append(Lesson(one, day_wh, days_seen, used))
    return found


def needed_permille(lesson: Lesson, parameters: Parameters) -> int:
    """The margin that would have covered what was used."""
    return (lesson.used - lesson.expected.central) * 1000 // max(1, deviation(lesson.expected, lesson.day_wh, lesson.days_seen, parameters))


def _with_margin(base: Parameters, shape: tuple[int, int, int], taught: Sequence[Sequence[Lesson]]) -> Parameters:
    shaped = replace(base, hours_permille=shape[0], days_permille=shape[1], level_permille=shape[2])
    weighted = sorted((needed_permille(one, shaped), 1 / len(home)) for home in taught if home for one in home)
    total, reached = sum(w for _, w in weighted), 0.0
    for margin, weight in weighted:
        reached += weight
        if reached * 1000 >= TARGET_PERMILLE * total:
            return replace(shaped, margin_permille=max(0, margin))
    return shaped


def _height(parameters: Parameters, taught: Sequence[Sequence[Lesson]]) -> int:
    """The median of the cautious path to what was used, per mille, summed over the households."""
    total = 0
    for home in taught:
        heights = sorted(_cautious(one, parameters) * 1000 // one.used for one in home)
        total += heights[len(heights) // 2] if heights else 0
    return total


def _cautious(lesson: Lesson, parameters: Parameters) -> int:
    off = deviation(lesson.expected, lesson.day_wh, lesson.days_seen, parameters)
    return lesson.expected.central + parameters.margin_permille * off // 1000


def _covers(parameters: Parameters, taught: Sequence[Sequence[Lesson]]) -> bool:
    every = [_cautious(one, parameters) >= one.used for home in taught for one in home]
    return sum(every) * 1000 >= TARGET_PERMILLE * len(every)
