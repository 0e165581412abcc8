"""A time zone whose changes are written down: what a calendar document carries, because an offline box's own zone data ages.

* Until `until_s` the zone is exactly what was written, whatever this box knows. After it the box's own data goes on, or the last
  offset where it has none.
* A local time that the clock shows twice or skips is read as Python reads it (`fold`).

Source: safety.md 12.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gridtally_shared.records import dataclass

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_S = 86_400
BEFORE_S, AHEAD_S = 400 * DAY_S, 15 * 366 * DAY_S


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo | None:
    """The zone as this box knows it, or None when it does not."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@dataclass(frozen=True, slots=True)
class ZoneRules:
    """`first_s` is the offset before the first change; a change is (UTC second, offset from then on)."""

    first_s: int
    changes: tuple[tuple[int, int], ...]
    until_s: int


class PinnedZone(tzinfo):
    """The zone of these rules under this name."""

    def __init__(self, name: str, rules: ZoneRules) -> None:
        offsets = [rules.first_s, *(offset_s for _, offset_s in rules.changes)]
        pairs = list(zip(rules.changes, offsets, strict=False))
        self.name, self._until_s, self._offsets, self._after = name, rules.until_s, offsets, zone_of(name)
        self._utc = [at_s for at_s, _ in rules.changes]
        self._wall = tuple([at_s + choose(before_s, after_s) for (at_s, after_s), before_s in pairs] for choose in (max, min))

    def utcoffset(self, moment: datetime | None) -> timedelta:
        if moment is None:
            return timedelta(seconds=self._offsets[-1])
        wall_s = int((moment.replace(tzinfo=UTC) - EPOCH).total_seconds())
        if wall_s >= self._until_s and self._after is not None:
            return moment.replace(tzinfo=self._after).utcoffset() or timedelta(0)
        return timedelta(seconds=self._offsets[bisect_right(self._wall[moment.fold], wall_s)])

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return self.name

    def fromutc(self, moment: datetime) -> datetime:
        at_s = int((moment.replace(tzinfo=UTC) - EPOCH).total_seconds())
        if at_s >= self._until_s and self._after is not None:
            return moment.replace(tzinfo=UTC).astimezone(self._after).replace(tzinfo=self)
        place = bisect_right(self._utc, at_s)
        offset_s = self._offsets[place]
        fell_s = self._offsets[place - 1] - offset_s if place else 0
        is_second = fell_s > 0 and at_s - self._utc[place - 1] < fell_s
        return (moment + timedelta(seconds=offset_s)).replace(fold=int(is_second))

    def __repr__(self) -> str:
        return f"PinnedZone({self.name!r})"


def rules_of(name: str, from_ms: int) -> ZoneRules:
    """What this box knows of a zone, from a year before `from_ms` to fifteen years after. Raises ValueError for an unknown one."""
    zone = zone_of(name)
    if zone is None:
        raise ValueError(f"time zone {name!r} is not known here")
    first_s = (from_ms // 1000 - BEFORE_S) // DAY_S * DAY_S
    until_s = first_s + BEFORE_S + AHEAD_S
    changes = []
    for at_s in range(first_s, until_s, DAY_S):
        if _offset_s(zone, at_s) != _offset_s(zone, at_s + DAY_S):
            changes.append(_change(zone, at_s, at_s + DAY_S))
    return ZoneRules(_offset_s(zone, first_s), tuple(changes), until_s)


def _change(zone: tzinfo, low_s: int, high_s: int) -> tuple[int, int]:
    """The one change within a day."""
    before_s, after_s = _offset_s(zone, low_s), _offset_s(zone, high_s)
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        low_s, high_s = (middle_s, high_s) if _offset_s(zone, middle_s) == before_s else (low_s, middle_s)
    return high_s, after_s


def _offset_s(zone: tzinfo, at_s: int) -> int:
    return int((datetime.fromtimestamp(at_s, zone).utcoffset() or timedelta(0)).total_seconds())
