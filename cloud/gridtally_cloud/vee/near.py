"""A channel-day of a lot with the days before and after it, in columns: what vee/held.py `around` gives for a day by itself.

* A neighbour of which nothing came is left out, so a stretch is one to three days.
* Only where days begin at midnight on the grid of the channel; whatever else there is (hours in India) is judged day by day.
"""

from __future__ import annotations

from functools import lru_cache

from gridtally_cloud.store.days import DaySlots, midnight_ms, slots_of
from gridtally_cloud.vee.columns import Columns, joined, nothing
from gridtally_cloud.vee.model import Stretch
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Ref:
    """A channel with what its usage point says of it."""

    channel_no: int
    usage_point_no: int
    quantity: int
    direction: str
    unit: str
    period_s: int
    zone: str
    limit_w: int


@dataclass(frozen=True, slots=True)
class Near:
    """A day and those neighbours of which anything came; `own` is the place of the day among `parts`."""

    days: tuple[int, ...]
    parts: tuple[Columns, ...]
    own: int
    grid: DaySlots
    start_ms: int

    @property
    def day(self) -> Columns:
        return self.parts[self.own]

    @property
    def first(self) -> int:
        """The day's first interval in its stretch."""
        return len(self.parts[0].values) if self.own else 0

    def stretch(self, unit: str) -> Stretch:
        return joined(self.parts, self.start_ms, self.grid.period_s, unit)


@dataclass(frozen=True, slots=True)
class Frame:
    """Three days around a midnight and the next: their numbers and starts, and the slots of the one between."""

    days: tuple[int, int, int]
    starts: tuple[int, int, int]
    own: DaySlots

    def near(self, before: Columns | None, own: Columns | None, after: Columns | None) -> Near:
        """The day out of what came of the three; None where nothing did."""
        first = 0 if before is not None and before.has_any else 1
        end = 3 if after is not None and after.has_any else 2
        parts = (before, own or nothing(self.own.n), after)[first:end]
        return Near(self.days[first:end], tuple(part for part in parts if part), 1 - first, self.own, self.starts[first])


@lru_cache(maxsize=1024)
def frame_of(day: int, zone: str, period_s: int) -> Frame | None:
    """None where a day does not begin at midnight on the grid."""
    before, own, after = (slots_of(d, zone, period_s) for d in (day - 1, day, day + 1))
    starts = (before.start_ms, own.start_ms, after.start_ms)
    at_midnight = starts == tuple(midnight_ms(grid.day, zone) for grid in (before, own, after))
    return Frame((day - 1, day, day + 1), starts, own) if at_midnight else None
