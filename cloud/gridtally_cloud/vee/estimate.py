"""Values for the intervals that are missing or not believed: the first method that applies (mdm.md B.3).

* `check`: a second channel of the same period that has the interval, and says something else than what failed.
* `outage`: an interval the meter marked as without power is 0, and so is a gap of at most two hours between two such.
* `linear`: a straight line between the last good interval before and the first good one after, over at most two hours. With one
  side only, that value stands for all.
* `like day`: per local time the mean of the most recent like days. Like is the same weekday (a holiday is a Sunday), then the
  neighbours of `NEIGHBOURS`; within a month, then three, then a year ago, then days that came later. A day counts only when it
  has every interval that is needed, measured and with power.
* `average`: the mean of all that was measured at that local time, else of all.
* What has no value at all stays missing. Estimates are never a reference for others: all of it works on what was measured.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from enum import Enum
from itertools import compress, groupby

from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import RuleSet, Stretch
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass


class Method(Enum):
    """How a value was found. The text is what people see."""

    CHECK = "check meter"
    OUTAGE = "outage"
    LINEAR = "linear"
    LIKE_DAY = "like day"
    AVERAGE = "average"


NEIGHBOURS = {0: (), 1: (2, 3), 2: (1, 3), 3: (2, 1), 4: (), 5: (), 6: ()}
"""By weekday, Monday 0: which days may stand for it when its own are too few (mdm.md B.3-5)."""

UNUSABLE = int(Quality.POWER_FAIL | Quality.PARTIAL | Quality.ESTIMATED | Quality.METER_INVALID)
POWER_FAIL, PARTIAL = int(Quality.POWER_FAIL), int(Quality.PARTIAL)
YEAR_DAYS = 364


@dataclass(frozen=True, slots=True)
class Estimate:
    index: int
    value: int
    method: Method


@dataclass(frozen=True, slots=True)
class _Day:
    """Intervals [first, after) of the stretch, the clock of each, and which of them has a clock."""

    first: int
    after: int
    clocks: tuple[int, ...]
    places: dict[int, int]


@dataclass(slots=True)
class Estimator:
    """Fills `failed` intervals of a stretch that holds its own history. `check` is a second channel on the same grid."""

    stretch: Stretch
    failed: bytes
    local: LocalTime
    rules: RuleSet
    check: Mapping[int, int] = field(default_factory=dict)
    _days: dict[int, _Day] = field(init=False, default_factory=dict)

    def _by_day(self) -> dict[int, _Day]:
        """The days of the stretch; most estimates do without."""
        if not self._days:
            period_s = self.stretch.period_s
            for day, first, after in self.local.days(self.stretch):
                self._days[day] = _Day(first, after, *self.local.clocks(self.stretch.start_of(first), period_s, after - first))
        return self._days

    def is_good(self, index: int) -> bool:
        """Measured, believed, and with power all the time."""
        return not self.failed[index] and not self.stretch.quality[index] & UNUSABLE

    def all(self, only: range | None = None) -> Iterator[Estimate]:
        """With `only`, no gaps that do not touch these intervals."""
        left = []
        for i in compress(range(len(self.failed)), self.failed):
            known = self._checked(i) or self._outage(i)
            if known:
                yield known
            else:
                left.append(i)
        for run in _runs(left):
            if only is None or (run.start < only.stop and run.stop > only.start):
                yield from self._line(run) or self._like_days(run)

    def _checked(self, i: int) -> Estimate | None:
        value = self.check.get(self.stretch.start_of(i))
        same = self.stretch.present[i] and value == self.stretch.values[i]
        return None if value is None or same else Estimate(i, value, Method.CHECK)

    def _outage(self, i: int) -> Estimate | None:
        return Estimate(i, 0, Method.OUTAGE) if self._is_dark(i) or self._is_between_dark(i) else None

    def _is_dark(self, i: int) -> bool:
        flags = self.stretch.quality[i]
        return bool(flags & POWER_FAIL) and not flags & PARTIAL

    def _is_between_dark(self, i: int) -> bool:
        """In a hole of at most two hours with a dark interval on either side."""
        before, after = i, i
        while before >= 0 and not self.stretch.present[before] and not self._is_dark(before):
            before -= 1
        while after < len(self.stretch) and not self.stretch.present[after] and not self._is_dark(after):
            after += 1
        inside = before >= 0 and after < len(self.stretch) and self._is_dark(before) and self._is_dark(after)
        return inside and (after - before - 1) * self.stretch.period_s <= self.rules.linear_s

    def _line(self, run: range) -> list[Estimate]:
        n = len(run)
        if n * self.stretch.period_s > self.rules.linear_s:
            return []
        ends = [self.stretch.values[i] for i in (run.start - 1, run.stop) if 0 <= i < len(self.stretch) and self.is_good(i)]
        if not ends:
            return []
        first, last = ends[0], ends[-1]
        return [Estimate(i, rounded(first * (n + 1) + (last - first) * place, n + 1), Method.LINEAR) for place, i in enumerate(run, 1)]

    def _like_days(self, run: range) -> Iterator[Estimate]:
        """Each local day of a gap finds like days of its own."""
        for day, held in self._by_day().items():
            indices = range(max(run.start, held.first), min(run.stop, held.after))
            if indices:
                yield from self._of_day(day, indices, [held.clocks[i - held.first] for i in indices])

    def _of_day(self, day: int, indices: range, clocks: list[int]) -> Iterator[Estimate]:
        like = [self._by_day()[d] for d in self._like(day, clocks)]
        for i, clock in zip(indices, clocks, strict=True):
            seen = [self.stretch.values[d.first + d.places[clock]] for d in like]
            yield from [Estimate(i, rounded(sum(seen), len(seen)), Method.LIKE_DAY)] if seen else self._average(i, clock)

    def _like(self, day: int, clocks: list[int]) -> list[int]:
        """Days that can stand for `day`: enough of the nearest kind, else all there are of the widest."""
        found: list[int] = []
        for candidates in self._circles(day):
            found += [d for d in candidates if d not in found and self._has_all(d, clocks)]
            if len(found) >= self.rules.like_days:
                break
        return found[: self.rules.like_days]

    def _circles(self, day: int) -> Iterator[list[int]]:
        own, held = self.local.weekday(day), self._by_day()
        for reach in (self.rules.like_window_days, self.rules.like_reach_days):
            before = [d for d in range(day - 1, day - 1 - reach, -1) if d in held]
            for kind in (own, *NEIGHBOURS[own]):
                yield [d for d in before if self.local.weekday(d) == kind]
        yield [d for d in (day - YEAR_DAYS, day - YEAR_DAYS - 7, day - YEAR_DAYS + 7) if d in held]
        later = range(day + 1, day + 1 + self.rules.like_window_days)
        yield [d for d in later if d in held and self.local.weekday(d) == own]

    def _has_all(self, day: int, clocks: list[int]) -> bool:
        """Every interval that is needed was measured, and the day holds no outage."""
        held = self._by_day()[day]
        dark = any(flags & POWER_FAIL for flags in self.stretch.quality[held.first : held.after])
        return not dark and all(clock in held.places and self.is_good(held.first + held.places[clock]) for clock in clocks)

    def _average(self, i: int, clock: int) -> list[Estimate]:
        same = [d.first + d.places[clock] for d in self._by_day().values() if clock in d.places]
        good = [j for j in same if self.is_good(j)] or [j for j in range(len(self.stretch)) if self.is_good(j)]
        total = sum(self.stretch.values[j] for j in good)
        return [Estimate(i, rounded(total, len(good)), Method.AVERAGE)] if good else []


def rounded(total: int, count: int) -> int:
    """The mean, halves up."""
    return (2 * total + count) // (2 * count)


def _runs(indices: Iterable[int]) -> Iterator[range]:
    for _, group in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        members = [index for _, index in group]
        yield range(members[0], members[-1] + 1)


def filled(stretch: Stretch, estimates: Iterable[Estimate]) -> array[int]:
    """The values of a stretch with the estimates in their places."""
    values = array("q", stretch.values)
    for estimate in estimates:
        values[estimate.index] = estimate.value
    return values
