"""What is remembered of a household's load: some 200 integers, folded forward hour by hour. Pure.

* A profile of 2 day types x 24 hours, forgotten with a half-life of two weeks, each cell shrunk to the hour of day and that to
  the class's shape.
* Four ideas of the present level against the profile: the last day, three days, week, and the profile itself. Each is judged
  daily by how far it was off; the level used is their mean weighted by 1 / error^3. Noisy homes so lean on the profile,
  homes that changed (moved, away, heating) on the last days.
* Deviations: hourly ones by hour of day (squares), daily ones (absolute), half-life three weeks.
* Energy over an unknown stretch (a gap) moves the level, never the profile or the deviations. Unknown energy moves nothing.
* Integers only: energy in mWh, levels and weights in ppm.

Source: prepayment.md 6.2; what was tried: docs/forecast.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.errors import ContractError
from gridtally_shared.forecast.parameters import HOURS, Parameters
from gridtally_shared.records import changed, dataclass
from gridtally_shared.tariff.daybook import day_of, starts_at

PPM = 1_000_000
DAY_TYPES = 2
CELLS = DAY_TYPES * HOURS
PROFILE_FADE_PPM = 951_677
DEVIATION_FADE_PPM = 967_533
LOSS_FADE_PPM = 930_000
LEVEL_FADES_PPM = (959_189, 986_207, 994_065)
SHRINK_PPM = 24 * PPM
CLASS_PPM = PPM
LEVEL_PRIOR_HOURS = 6
FIRST_LOSS_PPM = 300_000
LEAST_LOSS_PPM = 10_000
LONGEST_SPREAD_HOURS = 7 * HOURS
VERSION = 1


@dataclass(frozen=True, slots=True)
class Calendar:
    """Local days of a household: its zone, which weekdays are days of rest (0 Monday) and which dates are holidays."""

    zone: ZoneInfo
    rest_weekdays: tuple[int, ...] = (5, 6)
    holidays: frozenset[int] = frozenset()

    def day_type(self, day: int) -> int:
        return int(day in self.holidays or date.fromordinal(day).weekday() in self.rest_weekdays)


@dataclass(frozen=True, slots=True)
class DayTally:
    """The local day under way: what was used, what the profile expected, and the levels (ppm) as its first hour began."""

    day: int = 0
    hours: int = 0
    used_mwh: int = 0
    expected_mwh: int = 0
    levels: tuple[int, ...] = ()
    level: int = PPM


@dataclass(frozen=True, slots=True)
class LoadHistory:
    """`until_ms`: the end of the last hour taken in, known or not; `hours` how many were known."""

    until_ms: int = 0
    hours: int = 0
    weight: tuple[int, ...] = (0,) * CELLS
    energy: tuple[int, ...] = (0,) * CELLS
    used: tuple[int, ...] = (0,) * len(LEVEL_FADES_PPM)
    expected: tuple[int, ...] = (0,) * len(LEVEL_FADES_PPM)
    loss: tuple[int, ...] = (FIRST_LOSS_PPM,) * (len(LEVEL_FADES_PPM) + 1)
    hour_weight: tuple[int, ...] = (0,) * HOURS
    hour_square: tuple[int, ...] = (0,) * HOURS
    day_weight: int = 0
    day_deviation: int = 0
    today: DayTally = DayTally()


@dataclass(frozen=True, slots=True)
class View:
    """What a history says now: mWh of each profile cell, their mean, the level in ppm."""

    profile: tuple[int, ...]
    mean: int
    levels: tuple[int, ...]
    level: int


@lru_cache(maxsize=128)
def view(history: LoadHistory, parameters: Parameters) -> View:
    """Asked by the forecast of a reading, and again when the next hour is taken in."""
    profile = profile_of(history, parameters.class_shape_permille)
    mean = sum(profile) // CELLS
    prior = LEVEL_PRIOR_HOURS * mean + 1
    levels = (*((u + prior) * PPM // (e + prior) for u, e in zip(history.used, history.expected, strict=True)), PPM)
    weights = [PPM**4 // (loss + LEAST_LOSS_PPM) ** 3 for loss in history.loss]
    level = sum(w * v for w, v in zip(weights, levels, strict=True)) // max(1, sum(weights))
    return View(profile, mean, levels, level)


def profile_of(history: LoadHistory, shape: Sequence[int]) -> tuple[int, ...]:
    """mWh of each day type and hour."""
    weight, energy = history.weight, history.energy
    total, basis = sum(energy), sum((weight[h] + weight[h + HOURS]) * shape[h] for h in range(HOURS))
    if not basis:
        return (0,) * CELLS
    by_hour = []
    unit = PPM * total // basis
    for h in range(HOURS):
        expected = unit * shape[h] // 1000
        by_hour.append((1000 * (energy[h] + energy[h + HOURS]) + CLASS_PPM * expected) // (weight[h] + weight[h + HOURS] + CLASS_PPM))
    return tuple(
        (1000 * energy[c] + SHRINK_PPM * by_hour[c % HOURS]) // (weight[c] + SHRINK_PPM) for c in range(CELLS)
    )  # fmt: skip


def observed(history: LoadHistory, parameters: Parameters, calendar: Calendar, start_ms: int, wh: int | None) -> LoadHistory:
    """One more whole hour; None where its energy is not known."""
    day = day_of(start_ms, calendar.zone)
    now = view(history, parameters)
    history = _turned(history, now, day)
    if wh is None:
        return changed(history, until_ms=start_ms + MS_PER_HOUR, used=_faded(history.used), expected=_faded(history.expected))
    hour = min(HOURS - 1, (start_ms - starts_at(day, calendar.zone)) // MS_PER_HOUR)
    cell = calendar.day_type(day) * HOURS + hour
    expected = now.profile[cell] if history.hours >= HOURS else wh * 1000
    square, seen = history.hour_square, history.hour_weight
    if history.hours >= HOURS:
        off = wh - expected * now.level // (1000 * PPM)
        square = _put(square, hour, square[hour] * DEVIATION_FADE_PPM // PPM + off * off * PPM)
        seen = _put(seen, hour, seen[hour] * DEVIATION_FADE_PPM // PPM + PPM)
    today = history.today
    return changed(
        history, until_ms=start_ms + MS_PER_HOUR, hours=history.hours + 1,
        weight=_put(history.weight, cell, history.weight[cell] + PPM),
        energy=_put(history.energy, cell, history.energy[cell] + wh * PPM),
        used=tuple(v + wh * 1000 for v in _faded(history.used)), expected=tuple(v + expected for v in _faded(history.expected)),
        hour_square=square, hour_weight=seen,
        today=changed(today, hours=today.hours + 1, used_mwh=today.used_mwh + wh * 1000, expected_mwh=today.expected_mwh + expected),
    )  # fmt: skip


def spread(history: LoadHistory, parameters: Parameters, calendar: Calendar, start_ms: int, hours: int, wh: int | None) -> LoadHistory:
    """Energy known only as the sum of several hours (a gap), or not at all: it moves the level."""
    if wh is not None and history.hours < HOURS and hours <= HOURS:
        return _evened(history, parameters, calendar, start_ms, hours, wh)
    if wh is None or hours > LONGEST_SPREAD_HOURS or history.hours < HOURS:
        return _skipped(history, parameters, calendar, start_ms, hours)
    profile, total = view(history, parameters).profile, 0
    cells = []
    for n in range(hours):
        day = day_of(start_ms + n * MS_PER_HOUR, calendar.zone)
        hour = min(HOURS - 1, (start_ms + n * MS_PER_HOUR - starts_at(day, calendar.zone)) // MS_PER_HOUR)
        cells.append(profile[calendar.day_type(day) * HOURS + hour])
        total += cells[-1]
    for n, cell in enumerate(cells):
        history = observed(history, parameters, calendar, start_ms + n * MS_PER_HOUR, None)
        share = wh * 1000 * cell // total if total else wh * 1000 // hours
        history = changed(history, used=tuple(v + share for v in history.used), expected=tuple(v + cell for v in history.expected))
    return history


def _evened(history: LoadHistory, parameters: Parameters, calendar: Calendar, start_ms: int, hours: int, wh: int) -> LoadHistory:
    """In the first day little is better than nothing: the same in every hour."""
    for n in range(hours):
        history = observed(history, parameters, calendar, start_ms + n * MS_PER_HOUR, wh * (n + 1) // hours - wh * n // hours)
    return history


def _skipped(history: LoadHistory, parameters: Parameters, calendar: Calendar, start_ms: int, hours: int) -> LoadHistory:
    """Nothing is known of these hours; beyond a week only the last week's fading is worth the work."""
    first = max(0, hours - LONGEST_SPREAD_HOURS)
    for n in range(first, hours):
        history = observed(history, parameters, calendar, start_ms + n * MS_PER_HOUR, None)
    return history


def _turned(history: LoadHistory, now: View, day: int) -> LoadHistory:
    """The first hour of another local day: judge the day that is over, let the past fade."""
    today = history.today
    if today.day == day:
        return history
    fresh = DayTally(day, levels=now.levels, level=now.level)
    if not today.day:
        return changed(history, today=fresh)
    days = min(60, max(1, day - today.day))
    fade = PROFILE_FADE_PPM**days // PPM ** (days - 1)
    history = changed(
        history, today=fresh, weight=tuple(v * fade // PPM for v in history.weight), energy=tuple(v * fade // PPM for v in history.energy)
    )
    return _judged(history, today, now.mean) if today.hours >= HOURS - 1 and now.mean and history.hours >= 2 * HOURS else history


def _judged(history: LoadHistory, today: DayTally, mean: int) -> LoadHistory:
    off = [abs(today.used_mwh - today.expected_mwh * v // PPM) * PPM // (HOURS * mean) for v in today.levels]
    loss = tuple((old * LOSS_FADE_PPM + new * (PPM - LOSS_FADE_PPM)) // PPM for old, new in zip(history.loss, off, strict=True))
    missed = abs(today.used_mwh - today.expected_mwh * today.level // PPM)
    return changed(
        history, loss=loss, day_weight=history.day_weight * DEVIATION_FADE_PPM // PPM + PPM,
        day_deviation=history.day_deviation * DEVIATION_FADE_PPM // PPM + missed * 1000,
    )  # fmt: skip


def _faded(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(v * fade // PPM for v, fade in zip(values, LEVEL_FADES_PPM, strict=True))


def _put(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])


def history_text(history: LoadHistory) -> str:
    """Compact JSON, integers only."""
    values = [getattr(history, f.name) for f in fields(history)]
    today = history.today
    values[-1] = [today.day, today.hours, today.used_mwh, today.expected_mwh, today.levels, today.level]
    text = json.dumps([VERSION, *values], separators=(",", ":"))
    if len(_recent) >= RECENT:
        _recent.clear()
    _recent[text] = history
    return text


RECENT = 1024
_recent: dict[str, LoadHistory] = {}
"""What the newest texts say, so that a sweep need not read again what the one before wrote."""


def history_from(text: str) -> LoadHistory:
    """Read it back. Raises ContractError for what this version did not write."""
    return _recent.get(text) or _read(text)


def _read(text: str) -> LoadHistory:
    try:
        version, *values = json.loads(text)
        if version != VERSION:
            raise ValueError("another version")
        read: dict[str, Any] = {f.name: _tuples(value) for f, value in zip(fields(LoadHistory), values, strict=True)}
        return LoadHistory(**{**read, "today": DayTally(*read["today"])})
    except (ValueError, TypeError) as error:
        raise ContractError(f"load history not understood: {error}") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
