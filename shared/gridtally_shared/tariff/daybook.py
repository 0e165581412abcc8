"""Which version and time-of-use period an instant belongs to, in the tariff's own zone. Pure.

* A local day is cut into pieces of one period; a day on which clocks change has its real length, and an hour that comes twice
  belongs twice to its period.
* A date named in a day type comes before a day of the year, and that before the weekday.
* Before the first version the first one holds, after the last one the last (prepayment.md 5.7).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.checks import ALL, DAY_MIN
from gridtally_shared.tariff.terms import Band, Plan, Version

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LEAP_YEAR = 2024
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Piece:
    """[start_ms, end_ms) of a local day, all of one period."""

    start_ms: int
    end_ms: int
    day: int
    version: int
    period: str


@lru_cache(maxsize=65536)
def starts_at(day: int, zone: ZoneInfo) -> int:
    """Local midnight at the start of a day, as UTC milliseconds."""
    start = date.fromordinal(day)
    return int(datetime(start.year, start.month, start.day, tzinfo=zone).astimezone(UTC).timestamp()) * 1000


def day_of(at_ms: int, zone: ZoneInfo) -> int:
    """The proleptic ordinal of the local date."""
    return _day_of(at_ms // _MINUTE_MS, zone)


@lru_cache(maxsize=4096)
def _day_of(minute: int, zone: ZoneInfo) -> int:
    """Local days begin with a whole minute; all meters of a sweep ask for the same few."""
    return datetime.fromtimestamp(minute * 60, zone).date().toordinal()


def begins_ms(version: Version, zone: ZoneInfo) -> int:
    """The instant from which a version prices energy."""
    return starts_at(version.first, zone) if version.at_ms is None else version.at_ms


@lru_cache(maxsize=256)
def _beginnings(plan: Plan) -> tuple[int, ...]:
    return tuple(begins_ms(version, plan.zone) for version in plan.versions)


def version_at(plan: Plan, at_ms: int) -> int:
    """The number of the version that prices energy at an instant."""
    return max(0, bisect_right(_beginnings(plan), at_ms) - 1)


def changes_between(plan: Plan, from_ms: int, to_ms: int) -> tuple[int, ...]:
    """The instants strictly between two at which another version begins."""
    return tuple(at_ms for at_ms in _beginnings(plan)[1:] if from_ms < at_ms < to_ms)


@lru_cache(maxsize=16384)
def pieces_of(plan: Plan, day: int) -> tuple[Piece, ...]:
    """The day, cut where its version or period changes; in order, without gaps."""
    start_ms, end_ms = starts_at(day, plan.zone), starts_at(day + 1, plan.zone)
    marks = (start_ms, *changes_between(plan, start_ms, end_ms), end_ms)
    return tuple(piece for one, two in pairwise(marks) for piece in _pieces(plan, day, one, two))


def _pieces(plan: Plan, day: int, from_ms: int, to_ms: int) -> Iterator[Piece]:
    """A part of a day that one version prices."""
    number = version_at(plan, from_ms)
    bands = _bands(plan.versions[number], date.fromordinal(day))
    local_ms = (day - _EPOCH_DAY) * MS_PER_DAY
    for start_ms, end_ms, offset_ms in _offsets(starts_at(day, plan.zone), starts_at(day + 1, plan.zone), plan.zone):
        for band in bands:
            first_ms = max(start_ms, from_ms, local_ms + band.first * _MINUTE_MS - offset_ms)
            until_ms = min(end_ms, to_ms, local_ms + band.until * _MINUTE_MS - offset_ms)
            if first_ms < until_ms:
                yield Piece(first_ms, until_ms, day, number, band.period)


def _bands(version: Version, day: date) -> tuple[Band, ...]:
    if not version.hours:
        return (Band(0, DAY_MIN, ALL),)
    season, day_type = _season(version, day), _day_type(version, day)
    return next(r.bands for r in version.hours if (not r.seasons or season in r.seasons) and (not r.days or day_type in r.days))


def _place(day: date) -> int:
    return day.replace(year=_LEAP_YEAR).timetuple().tm_yday - 1


def _season(version: Version, day: date) -> str:
    place = _place(day)
    for season in version.seasons:
        turns = season.until < season.first
        if (season.first <= place <= season.until) if not turns else (place >= season.first or place <= season.until):
            return season.code
    return ALL


def _day_type(version: Version, day: date) -> str:
    for kind, value in (("dates", day.toordinal()), ("yearly", _place(day)), ("weekdays", day.weekday())):
        for day_type in version.day_types:
            if value in getattr(day_type, kind):
                return day_type.code
    return ALL


def _offset_ms(at_ms: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(at_ms // 1000, zone).utcoffset()
    return int(offset.total_seconds()) * 1000 if offset is not None else 0


def _offsets(start_ms: int, end_ms: int, zone: ZoneInfo) -> Iterator[tuple[int, int, int]]:
    """The day in runs of one distance from UTC: one run, or two where clocks change within it."""
    first_ms, last_ms = _offset_ms(start_ms, zone), _offset_ms(end_ms - 1000, zone)
    if first_ms == last_ms:
        yield start_ms, end_ms, first_ms
        return
    low_ms, high_ms = start_ms, end_ms - 1000
    while high_ms - low_ms > 1000:
        middle_ms = (low_ms + high_ms) // 2000 * 1000
        low_ms, high_ms = (middle_ms, high_ms) if _offset_ms(middle_ms, zone) == first_ms else (low_ms, middle_ms)
    yield start_ms, high_ms, first_ms
    yield high_ms, end_ms, last_ms
