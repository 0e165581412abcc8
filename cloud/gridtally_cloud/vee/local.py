"""Local days and local times of the intervals of a stretch."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from gridtally_cloud.store.days import date_of, day_of, midnight_ms, zone_of
from gridtally_cloud.vee.model import Stretch
from gridtally_shared.records import dataclass

SUNDAY = 6
MINUTES = 24 * 60
Span = tuple[int, int, int]
Clocks = tuple[tuple[int, ...], dict[int, int]]


@dataclass(frozen=True, slots=True)
class LocalTime:
    """The zone a channel lives in and the days that are lived like a Sunday there."""

    zone: str
    holidays: frozenset[int] = frozenset()

    def days(self, stretch: Stretch) -> tuple[Span, ...]:
        """(day, first, after) of each local day that the stretch touches."""
        return _days(self.zone, stretch.start_ms, stretch.period_s, len(stretch))

    def weekday(self, day: int) -> int:
        """0 for Monday to 6 for Sunday, and 6 for a holiday."""
        return SUNDAY if day in self.holidays else date_of(day).weekday()

    def clock(self, at_ms: int) -> int:
        """Minute of the local day; the second of two equal hours (autumn) is a day further on, to be told apart."""
        local = datetime.fromtimestamp(at_ms / 1000, tz=zone_of(self.zone))
        return local.hour * 60 + local.minute + local.fold * MINUTES


    def clocks(self, start_ms: int, period_s: int, n: int) -> Clocks:
        """Of `n` intervals of a day: the clock of each, and the place of each clock. Shared: not to be changed."""
        return _clocks(self, start_ms, period_s, n)


@lru_cache(maxsize=1024)
def _clocks(local: LocalTime, start_ms: int, period_s: int, n: int) -> Clocks:
    each = tuple(local.clock(at_ms) for at_ms in range(start_ms, start_ms + n * period_s * 1000, period_s * 1000))
    return each, {clock: place for place, clock in enumerate(each)}


@lru_cache(maxsize=1024)
def _days(zone: str, start_ms: int, period_s: int, n: int) -> tuple[Span, ...]:
    """The same for all channels of a zone that are judged for the same day, so it is kept."""
    spans, first = [], 0
    while first < n:
        day = day_of(start_ms + first * period_s * 1000, zone)
        after = min(n, -(-(midnight_ms(day + 1, zone) - start_ms) // (period_s * 1000)))
        spans.append((day, first, after))
        first = after
    return tuple(spans)
