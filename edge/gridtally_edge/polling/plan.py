"""What is due now for each meter: a pure function of what is known about it and of the time.

* Once an interval: registers, momentary values and switch, a little after the boundary, spread over the first quarter
  of the interval so that a street does not speak all at once.
* The load profile is read from the mark (end of what was asked and answered) to the last closed interval, without what
  is already stored: normally one row; after a silence exactly the missing range, in pieces, behind everything else.
* Once a day holes of the last week, older than the mark, are asked for again, each with its exact range.
* The event log from the last event on; the meter's clock every six hours.
* A meter that is being asked is not asked again; what was missed meanwhile is one poll, not several. After a poll that
  failed the next comes a fifth of an interval later (the line's breaker decides whether a byte leaves).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from gridtally_edge.polling.gaps import Span, floor_to, missing_spans
from gridtally_edge.polling.poll import PollRequest
from gridtally_edge.transports.arbiter import Priority
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR

SETTLE_MS = 5_000
SPREAD_SHARE = 4
RETRY_SHARE = 5
OVERLAP_EVENTS_MS = 1_000
CLOCK_EVERY_MS = 6 * MS_PER_HOUR
FIRST_PROFILE_MS = MS_PER_DAY
PIECE_INTERVALS = 96
AUDIT_EVERY_MS = MS_PER_DAY
AUDIT_BACK_MS = 7 * MS_PER_DAY
LOOK_BACK_EVENTS_MS = 7 * MS_PER_DAY

StoredStarts = Callable[[Span], Collection[int]]
"""Starts of the intervals that are stored for this meter within a span."""


@dataclass(frozen=True, slots=True)
class MeterView:
    """What the planner knows of a meter. `place` is its number in the spread (0 .. places-1). `mark_ms` is None before the
    first answer, `polled_ms` before the first poll of this run."""

    serial: str
    interval_ms: int
    has_profile: bool
    has_events: bool
    place: int = 0
    places: int = 1
    mark_ms: int | None = None
    events_ms: int | None = None
    clock_read_ms: int | None = None
    polled_ms: int | None = None
    audited_ms: int | None = None
    failures: int = 0
    bound: bool = True


@dataclass(frozen=True, slots=True)
class Due:
    request: PollRequest
    priority: Priority


def due_now(meter: MeterView, now_ms: int, stored: StoredStarts) -> Due | None:
    """The poll that is due, or None."""
    if not _slot_is_due(meter, now_ms):
        return _gap_fill(meter, now_ms, stored)
    if not meter.bound:
        return Due(PollRequest(instant=False, switch=False), Priority.DISCOVERY)
    return Due(_regular(meter, now_ms, stored), Priority.PROFILE)


def slot_start(meter: MeterView, now_ms: int) -> int:
    """When the current turn of this meter began."""
    offset_ms = _offset_ms(meter)
    return floor_to(now_ms - offset_ms, meter.interval_ms) + offset_ms


def next_due_ms(meter: MeterView, now_ms: int) -> int:
    """When the next turn begins, at the latest."""
    turn_ms = slot_start(meter, now_ms) + meter.interval_ms
    if meter.failures and meter.polled_ms is not None:
        return min(turn_ms, meter.polled_ms + meter.interval_ms // RETRY_SHARE)
    return turn_ms


def wanted_profile(meter: MeterView, now_ms: int) -> Span:
    """From the mark to the last interval the meter has certainly closed."""
    upto_ms = floor_to(now_ms - SETTLE_MS, meter.interval_ms)
    if meter.mark_ms is None:
        return Span(upto_ms - floor_to(FIRST_PROFILE_MS, meter.interval_ms), upto_ms)
    return Span(min(meter.mark_ms, upto_ms), upto_ms)


def new_mark(mark_ms: int | None, request: PollRequest, answered: tuple[Span, ...]) -> int | None:
    """The mark after a poll: past all that was covered, or only up to the first range that was not answered."""
    if request.covers is None:
        return mark_ms
    if answered == request.spans:
        return max(request.covers.to_ms, mark_ms or 0)
    return max(answered[-1].to_ms, mark_ms or 0) if answered else mark_ms


def _regular(meter: MeterView, now_ms: int, stored: StoredStarts) -> PollRequest:
    clock_due = meter.clock_read_ms is None or now_ms - meter.clock_read_ms >= CLOCK_EVERY_MS
    events_ms = now_ms - LOOK_BACK_EVENTS_MS if meter.events_ms is None else meter.events_ms - OVERLAP_EVENTS_MS
    covers, spans = _next_piece(meter, now_ms, stored)
    return PollRequest(
        meter.serial, spans=(*_holes(meter, now_ms, stored), *spans), covers=covers,
        events_after_ms=events_ms if meter.has_events else None, clock=clock_due,
    )  # fmt: skip


def audit_is_due(meter: MeterView, now_ms: int) -> bool:
    return meter.audited_ms is None or now_ms - meter.audited_ms >= AUDIT_EVERY_MS


def _holes(meter: MeterView, now_ms: int, stored: StoredStarts) -> tuple[Span, ...]:
    """What is missing between the first stored interval of the last week and the mark."""
    if not meter.has_profile or meter.mark_ms is None or not audit_is_due(meter, now_ms):
        return ()
    week = Span(floor_to(now_ms - AUDIT_BACK_MS, meter.interval_ms), meter.mark_ms)
    starts = stored(week)
    return missing_spans(Span(min(starts), week.to_ms), starts, meter.interval_ms) if starts else ()


def _gap_fill(meter: MeterView, now_ms: int, stored: StoredStarts) -> Due | None:
    if not (meter.bound and meter.has_profile) or meter.mark_ms is None or meter.failures:
        return None
    if wanted_profile(meter, now_ms).count(meter.interval_ms) < 2:
        return None
    covers, spans = _next_piece(meter, now_ms, stored)
    request = PollRequest(meter.serial, instant=False, switch=False, spans=spans, covers=covers)
    return Due(request, Priority.GAP_FILL) if spans else None


def _next_piece(meter: MeterView, now_ms: int, stored: StoredStarts) -> tuple[Span | None, tuple[Span, ...]]:
    """The stretch from the mark on that the poll settles, and the ranges in it to be read: one piece at most. Stretches
    that are stored already are passed over."""
    if not meter.has_profile:
        return None, ()
    wanted = wanted_profile(meter, now_ms)
    piece = wanted.first(PIECE_INTERVALS, meter.interval_ms)
    while piece.count(meter.interval_ms):
        spans = missing_spans(piece, stored(piece), meter.interval_ms)
        if spans or piece.to_ms >= wanted.to_ms:
            return Span(wanted.from_ms, piece.to_ms), spans
        piece = Span(piece.to_ms, wanted.to_ms).first(PIECE_INTERVALS, meter.interval_ms)
    return None, ()


def _slot_is_due(meter: MeterView, now_ms: int) -> bool:
    if meter.polled_ms is None or meter.polled_ms < slot_start(meter, now_ms):
        return True
    return meter.failures > 0 and now_ms - meter.polled_ms >= meter.interval_ms // RETRY_SHARE


def _offset_ms(meter: MeterView) -> int:
    return SETTLE_MS + meter.interval_ms // SPREAD_SHARE * meter.place // max(1, meter.places)
