"""When a schedule holds: its windows as half-open spans of UTC, and which of two schedules stand in each other's way. Pure.

* Windows recur by the local clock of an IANA zone. A local time the clock skips (spring) is the moment it skips at; one it
  shows twice (autumn) is the first for a start and the second for an end, so that nothing promised is lost.
* `zone` is the local time of a calendar document where there is one; without it the machine's own zone of that name.
* Touching is no overlap: [a, b) and [b, c) may both stand.

Source: seed 002 lines 338 to 343; prepayment.md 7 (F14, F15).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gridtally_shared.records import dataclass
from gridtally_shared.schedules.document import MINUTES_A_DAY, Schedule, Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open."""

    start_ms: int
    end_ms: int

    def touches(self, other: Span) -> bool:
        return self.start_ms < other.end_ms and other.start_ms < self.end_ms

    def holds(self, at_ms: int) -> bool:
        return self.start_ms <= at_ms < self.end_ms


def spans(schedule: Schedule, from_ms: int, to_ms: int, zone: tzinfo | None = None) -> tuple[Span, ...]:
    """The windows that have a part in [from_ms, to_ms), in order, joined where they touch. Raises ValueError for a zone this
    machine does not know."""
    whole = Span(schedule.start_ms, schedule.end_ms)
    asked = Span(max(from_ms, whole.start_ms), min(to_ms, whole.end_ms))
    if asked.start_ms >= asked.end_ms:
        return ()
    if not schedule.windows:
        return (whole,)
    found = sorted(_recurring(schedule, asked, zone or zone_named(schedule.zone)), key=lambda s: s.start_ms)
    return tuple(s for s in _joined(found) if s.touches(asked))


def span_at(schedule: Schedule, at_ms: int, zone: tzinfo | None = None) -> Span | None:
    """The window that holds at this moment."""
    return next((s for s in spans(schedule, at_ms, at_ms + 1, zone) if s.holds(at_ms)), None)


def next_edge_ms(schedule: Schedule, at_ms: int, zone: tzinfo | None = None) -> int | None:
    """When a window of it starts or ends next."""
    ahead = spans(schedule, at_ms, min(schedule.end_ms, at_ms + 9 * 86_400_000), zone)
    edges = (ms for s in ahead for ms in (s.start_ms, s.end_ms) if ms > at_ms)
    return next(edges, schedule.end_ms if schedule.end_ms > at_ms else None)


def clash(one: Schedule, other: Schedule, zone: tzinfo | None = None) -> Span | None:
    """The first time both claim, or None."""
    both = Span(max(one.start_ms, other.start_ms), min(one.end_ms, other.end_ms))
    if both.start_ms >= both.end_ms:
        return None
    mine, theirs = (spans(each, both.start_ms, both.end_ms, zone) for each in (one, other))
    place = 0
    for span in mine:
        while place < len(theirs) and theirs[place].end_ms <= span.start_ms:
            place += 1
        if place < len(theirs) and theirs[place].touches(span):
            return Span(max(span.start_ms, theirs[place].start_ms), min(span.end_ms, theirs[place].end_ms))
    return None


def _recurring(schedule: Schedule, asked: Span, zone: tzinfo) -> Iterator[Span]:
    first, last = (datetime.fromtimestamp(ms // 1000, zone).date() for ms in (asked.start_ms, asked.end_ms))
    for days in range(-2, (last - first).days + 2):
        day = first + timedelta(days=days)
        for window in schedule.windows:
            if window.weekdays >> day.weekday() & 1:
                start_ms, end_ms = _of_day(window, day, zone)
                start_ms, end_ms = max(start_ms, schedule.start_ms), min(end_ms, schedule.end_ms)
                if start_ms < end_ms:
                    yield Span(start_ms, end_ms)


def _of_day(window: Window, day: date, zone: tzinfo) -> tuple[int, int]:
    over = window.to_minute <= window.from_minute
    return moment_ms(day, window.from_minute, zone, fold=0), moment_ms(day + timedelta(days=over), window.to_minute, zone, fold=1)


def moment_ms(day: date, minute: int, zone: tzinfo, fold: int) -> int:
    """UTC of a local minute (1440 is the next midnight)."""
    day += timedelta(days=minute // MINUTES_A_DAY)
    local = datetime.combine(day, time(minute % MINUTES_A_DAY // 60, minute % 60))
    first, second = (_utc_ms(local.replace(tzinfo=zone, fold=f)) for f in (0, 1))
    if first <= second:
        return second if fold else first
    return _skipped_ms(second, first, zone)


def _skipped_ms(low_ms: int, high_ms: int, zone: tzinfo) -> int:
    """The moment between two at which the zone's clock jumps."""
    offset = datetime.fromtimestamp(low_ms // 1000, zone).utcoffset()
    while high_ms - low_ms > 1000:
        middle_ms = (low_ms + high_ms) // 2000 * 1000
        same = datetime.fromtimestamp(middle_ms // 1000, zone).utcoffset() == offset
        low_ms, high_ms = (middle_ms, high_ms) if same else (low_ms, middle_ms)
    return high_ms


def _utc_ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def zone_named(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"time zone {name!r} is not known here") from None


def _joined(found: list[Span]) -> Iterator[Span]:
    current: Span | None = None
    for span in found:
        if current is not None and span.start_ms <= current.end_ms:
            current = Span(current.start_ms, max(current.end_ms, span.end_ms))
        else:
            if current is not None:
                yield current
            current = span
    if current is not None:
        yield current
