"""Time of use in a simulated meter: which rate counts at a moment of its own calendar, and the energy of each rate.

* A special day goes before the week, the week belongs to the season that started last. A day id without a profile counts
  as an ordinary day; before the first action of a day the last action of the table's day holds (rate 1 without any).
* Times are the meter's own; `crossing_ms` turns them into true time. Past days are kept as totals: they never change.

Source: IEC 62056-6-2 classes 20 and 11.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from gridtally_edge.simulators.household import MS_PER_MINUTE
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.meter_settings import ActivityCalendar, DayAction, DayProfile, Season, SpecialDay, WeekProfile
from gridtally_shared.records import dataclass

RATES = 8
MINUTES = 1_440
BASIC_CALENDAR = ActivityCalendar(
    "BASIC", (Season("ALL", 1, 1, "ALL"),), (WeekProfile("ALL", (1,) * 7),), (DayProfile(1, (DayAction(0, 1),)),)
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_actions(calendar: ActivityCalendar, special_days: tuple[SpecialDay, ...], local_day: int) -> tuple[DayAction, ...]:
    """The actions of one local day (days since 1970), in order of time."""
    date = _EPOCH + timedelta(days=local_day)
    days = {profile.day_id: profile for profile in calendar.days}
    for special in special_days:
        if (special.month, special.day) == (date.month, date.day) and special.year in (0, date.year) and special.day_id in days:
            return _ordered(days[special.day_id])
    week = _week(calendar, date)
    profile = days.get(week.days[date.weekday()]) if week else None
    return _ordered(profile) if profile else ()


def _week(calendar: ActivityCalendar, date: datetime) -> WeekProfile | None:
    started = [s for s in calendar.seasons if (s.month, s.day) <= (date.month, date.day)]
    season = max(started or calendar.seasons, key=lambda s: (s.month, s.day), default=None)
    return next((week for week in calendar.weeks if season and week.name == season.week), None)


def _ordered(profile: DayProfile) -> tuple[DayAction, ...]:
    return tuple(sorted(profile.actions, key=lambda action: action.minute))


def slices(actions: tuple[DayAction, ...]) -> tuple[tuple[int, int, int], ...]:
    """Spans of one day as (from minute, to minute, rate), without gaps."""
    if not actions:
        return ((0, MINUTES, 1),)
    starts = [(0, actions[-1].rate), *((a.minute, a.rate) for a in actions)]
    ends = [minute for minute, _ in starts[1:]] + [MINUTES]
    return tuple((minute, end, rate) for (minute, rate), end in zip(starts, ends, strict=True) if minute < end)


@dataclass(frozen=True, slots=True)
class CalendarChange:
    """From `from_ms` of the meter's time on this calendar and these special days hold."""

    from_ms: int
    calendar: ActivityCalendar
    special_days: tuple[SpecialDay, ...] = ()


class RateRegisters:
    """Energy by rate since birth, in the unit of `energy` (a function of true time that never falls)."""

    def __init__(self, born_ms: int, offset_ms: int, energy: Callable[[int], int], crossing_ms: Callable[[int], int]) -> None:
        self._energy, self._crossing_ms, self._offset_ms = energy, crossing_ms, offset_ms
        self._born_day = (born_ms + offset_ms) // MS_PER_DAY
        self._changes = [CalendarChange(0, BASIC_CALENDAR)]
        self._totals: list[tuple[int, ...]] = [(0,) * RATES]
        self.simple = True

    def change(self, change: CalendarChange) -> None:
        self._changes = sorted([*self._changes, change], key=lambda c: c.from_ms)
        self.simple = False
        day = max((change.from_ms + self._offset_ms) // MS_PER_DAY - self._born_day, 0)
        del self._totals[day + 1 :]

    def in_force(self, meter_ms: int) -> CalendarChange:
        return self._changes[max(bisect_right(self._changes, meter_ms, key=lambda c: c.from_ms) - 1, 0)]

    def at(self, true_ms: int, meter_ms: int) -> tuple[int, ...]:
        """Energy of the eight rates up to now, whose meter time is `meter_ms`."""
        if self.simple:
            return (self._energy(true_ms), *(0,) * (RATES - 1))
        day = (meter_ms + self._offset_ms) // MS_PER_DAY
        return self._plus(self._before(day), day, true_ms)

    def _before(self, day: int) -> tuple[int, ...]:
        while len(self._totals) <= day - self._born_day:
            done = self._born_day + len(self._totals) - 1
            end_ms = self._crossing_ms((done + 1) * MS_PER_DAY - self._offset_ms)
            self._totals.append(self._plus(self._totals[-1], done, end_ms))
        return self._totals[max(day - self._born_day, 0)]

    def _plus(self, before: tuple[int, ...], day: int, until_ms: int) -> tuple[int, ...]:
        sums = list(before)
        for from_ms, to_ms, rate in self._day_slices(day):
            start, end = min(self._crossing_ms(from_ms), until_ms), min(self._crossing_ms(to_ms), until_ms)
            sums[min(max(rate, 1), RATES) - 1] += self._energy(end) - self._energy(start) if start < end else 0
        return tuple(sums)

    def _day_slices(self, day: int) -> list[tuple[int, int, int]]:
        """Spans of a day in meter time with their rate, cut where another calendar begins."""
        midnight_ms = day * MS_PER_DAY - self._offset_ms
        cuts = [midnight_ms, midnight_ms + MS_PER_DAY]
        cuts[1:1] = [c.from_ms for c in self._changes if midnight_ms < c.from_ms < cuts[-1]]
        found = []
        for cut_ms, until_ms in pairwise(cuts):
            held = self.in_force(cut_ms)
            for start, end, rate in slices(day_actions(held.calendar, held.special_days, day)):
                lower = max(cut_ms, midnight_ms + start * MS_PER_MINUTE)
                upper = min(until_ms, midnight_ms + end * MS_PER_MINUTE)
                if lower < upper:
                    found.append((lower, upper, rate))
        return found
