"""What is due now for each meter: a pure function of what is known about it and of the time.

* Once a turn: registers, momentary values and switch, a little after the boundary, at the moment the meter's plan
  gives it (polling/plans.py), so that a street does not speak all at once. What else its plan has comes with a turn. A turn
  is a recording interval, or several where the plan says so: never several of them for a meter that is `near`, whose account
  has little left; its turns go before those of the others (C3-FR7).
* The load profile is read from the mark (end of what was asked and answered) to the last closed interval, without what
  is already stored: normally one row; after a silence exactly the missing range, in pieces, behind everything else.
* Once a day holes of the last week, older than the mark, are asked for again, each with its exact range.
* The event log from the last event on. Between two turns the meter is watched: log and status word; at once when an alarm stands.
* A meter that is being asked is not asked again; what was missed meanwhile is one poll, not several. After a poll that
  failed the next comes a fifth of an interval later (the line's breaker decides whether a byte leaves).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field

from gridtally_edge.drivers.model import Capability
from gridtally_edge.polling.gaps import Span, floor_to, missing_spans
from gridtally_edge.polling.plans import (
    DEFAULT_PLAN,
    JOBS,
    NEVER,
    PERIODIC,
    Content,
    Job,
    Periodic,
    PollPlan,
    missing_rows,
    new_rows_span,
    offset_ms,
)
from gridtally_edge.polling.poll import PollRequest
from gridtally_edge.transports.arbiter import Priority
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass

SETTLE_MS = 5_000
RETRY_SHARE = 5
OVERLAP_EVENTS_MS = 1_000
FIRST_PROFILE_MS = MS_PER_DAY
PIECE_INTERVALS = 96
AUDIT_EVERY_MS = MS_PER_DAY
AUDIT_BACK_MS = 7 * MS_PER_DAY
LOOK_BACK_EVENTS_MS = 7 * MS_PER_DAY

StoredStarts = Callable[[Span], Collection[int]]
"""Starts of the intervals that are stored for this meter within a span."""

StoredRows = Callable[[Content], Sequence[int]]
"""Stamps of the stored daily or billing rows, ascending."""


def no_rows(_: Content) -> Sequence[int]:
    return ()


@dataclass(frozen=True, slots=True)
class MeterView:
    """What the planner knows of a meter. `place` is its number in the spread (0 .. places-1). `mark_ms` is None before the
    first answer, `polled_ms` before the first poll of this run. `done` and `tried`: when a content was last answered and
    asked; `alarm`: something stands in its status word that its log must explain."""

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
    key: str = ""
    plan: PollPlan = DEFAULT_PLAN
    capabilities: frozenset[Capability] = frozenset()
    done: Mapping[Content, int] = field(default_factory=dict)
    tried: Mapping[Content, int] = field(default_factory=dict)
    watched_ms: int | None = None
    watch: bool = False
    alarm: bool = False
    checks_form: bool = False
    near: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    request: PollRequest
    priority: Priority


def due_now(meter: MeterView, now_ms: int, stored: StoredStarts, rows: StoredRows = no_rows) -> Due | None:
    """The poll that is due, or None."""
    if not _slot_is_due(meter, now_ms):
        return _watch(meter, now_ms) or _gap_fill(meter, now_ms, stored)
    if not meter.bound:
        contents = frozenset({Content.SETTINGS} if meter.checks_form else ())
        return Due(PollRequest(instant=False, switch=False, contents=contents), Priority.DISCOVERY)
    return Due(_regular(meter, now_ms, stored, rows), Priority.PREPAID_LOW if meter.near else Priority.PROFILE)


def turn_ms(meter: MeterView) -> int:
    """How long its turn is: a meter that nobody has bound yet, and one whose last money is near, has one each interval."""
    return meter.plan.turn_ms(meter.interval_ms) if meter.bound and not meter.near else meter.interval_ms


def slot_start(meter: MeterView, now_ms: int) -> int:
    """When the current turn of this meter began."""
    turn = now_ms // turn_ms(meter)
    start_ms = _start_of(meter, turn)
    return start_ms if start_ms <= now_ms else _start_of(meter, turn - 1)


def next_due_ms(meter: MeterView, now_ms: int) -> int:
    """When the next turn begins, at the latest."""
    turn = now_ms // turn_ms(meter)
    next_ms = next(start for start in (_start_of(meter, turn), _start_of(meter, turn + 1)) if start > now_ms)
    if meter.failures and meter.polled_ms is not None:
        return min(next_ms, meter.polled_ms + meter.interval_ms // RETRY_SHARE)
    return min(next_ms, _watch_due_ms(meter) or next_ms)


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


def _regular(meter: MeterView, now_ms: int, stored: StoredStarts, rows: StoredRows) -> PollRequest:
    due = frozenset(job.content for job in JOBS if _job_is_due(meter, job, now_ms))
    covers, spans = _next_piece(meter, now_ms, stored)
    periodic = {kind.content: _row_spans(kind, meter, rows, now_ms) for kind in PERIODIC if kind.content in due}
    return PollRequest(
        meter.serial, spans=(*_holes(meter, now_ms, stored), *spans), covers=covers,
        events_after_ms=_events_after_ms(meter, now_ms) if Content.EVENTS in due else None, clock=Content.CLOCK in due,
        daily=periodic.get(Content.DAILY, ()), billing=periodic.get(Content.BILLING, ()),
        contents=due & {Content.STATUS, Content.SETTINGS, Content.NAME_PLATE, Content.DIAGNOSTICS},
    )  # fmt: skip


def _events_after_ms(meter: MeterView, now_ms: int) -> int:
    return now_ms - LOOK_BACK_EVENTS_MS if meter.events_ms is None else meter.events_ms - OVERLAP_EVENTS_MS


def _job_is_due(meter: MeterView, job: Job, now_ms: int) -> bool:
    every_ms = meter.plan.every_ms(job.content)
    if every_ms == NEVER or not _can(meter, job):
        return False
    done_ms = meter.clock_read_ms if job.content is Content.CLOCK else meter.done.get(job.content)
    if done_ms is not None and now_ms - done_ms < every_ms:
        return False
    tried_ms = meter.tried.get(job.content)
    return tried_ms is None or tried_ms <= (done_ms or 0) or now_ms - tried_ms >= job.again_ms


def _can(meter: MeterView, job: Job) -> bool:
    """A meter without a known clock is asked all the same, and says so itself."""
    if job.content is Content.EVENTS:
        return meter.has_events
    return job.content is Content.CLOCK or job.needs in meter.capabilities


def _row_spans(kind: Periodic, meter: MeterView, rows: StoredRows, now_ms: int) -> tuple[Span, ...]:
    stored_ms = rows(kind.content)
    gaps = missing_rows(kind, stored_ms, now_ms) if audit_is_due(meter, now_ms) else ()
    return (*gaps, *new_rows_span(kind, stored_ms, now_ms))


def _watch(meter: MeterView, now_ms: int) -> Due | None:
    """Between two turns: the log, since no status word has a bit for a failure of the meter itself, and the status word; the
    log alone at once when an alarm stands."""
    due_ms = _watch_due_ms(meter)
    if not meter.alarm and (due_ms is None or now_ms < due_ms):
        return None
    with_status = Capability.STATUS_WORD in meter.capabilities and not meter.alarm
    request = PollRequest(
        meter.serial, instant=False, switch=False,
        events_after_ms=_events_after_ms(meter, now_ms) if meter.has_events else None,
        contents=frozenset({Content.STATUS}) if with_status else frozenset(),
    )  # fmt: skip
    return Due(request, Priority.EVENTS)


def _watch_due_ms(meter: MeterView) -> int | None:
    watched = meter.watch and meter.bound and not meter.failures and meter.plan.watch_s >= 0
    if not watched or meter.polled_ms is None or not (meter.has_events or Capability.STATUS_WORD in meter.capabilities):
        return None
    return max(meter.polled_ms, meter.watched_ms or 0) + meter.plan.watch_s * 1_000


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
    if wanted_profile(meter, now_ms).count(meter.interval_ms) < 2 or not _is_behind(meter, now_ms):
        return None
    covers, spans = _next_piece(meter, now_ms, stored)
    request = PollRequest(meter.serial, instant=False, switch=False, spans=spans, covers=covers)
    return Due(request, Priority.GAP_FILL) if spans else None


def _is_behind(meter: MeterView, now_ms: int) -> bool:
    """Whether more is missing than what waits for the next turn."""
    return wanted_profile(meter, slot_start(meter, now_ms)).count(meter.interval_ms) > 0


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


def _start_of(meter: MeterView, turn: int) -> int:
    offset = offset_ms(meter.plan, meter.key, meter.place, meter.places, turn, turn_ms(meter))
    return turn * turn_ms(meter) + SETTLE_MS + offset
