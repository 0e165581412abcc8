"""The tariff engine: what use costs, charged in any steps. A pure fold: state in, lines and state out.

* `opened` begins an account, `advance` adds intervals and time, `bill` does both for a whole span of days.
* Lines of a step are the difference to what was charged before in the cycle; a cycle that is over is closed with all its lines,
  and remainders of percentages and of rounding, paid debts and past demand go into the next one.
* A state stands by itself (`state_text`, `state_from`): after a restart the same steps charge the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from gridtally_shared.records import changed, dataclass
from gridtally_shared.tariff.cycles import Days, cycle_of, months_of
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.tariff.frame import Frame, Run, Span, floor
from gridtally_shared.tariff.lines import Line, difference, total_nano
from gridtally_shared.tariff.price import highest_w, price_span, rounded
from gridtally_shared.tariff.terms import Account, Demand, Plan, Version
from gridtally_shared.tariff.use import Cell, Counted, PeakCell, Series, count

PAST_CYCLES = 24
ROUNDING = "rounding"


@dataclass(frozen=True, slots=True)
class State:
    """An account between two steps. Days count up to `until_ms`, use up to `counted_ms`, which may stay behind while a meter is
    silent. `cycle_day`: the first cycle whose use is not all known; `charged`: all lines from it on. Days before `days_from` are
    served, but their fixed part is not charged here."""

    opened_day: int
    until_ms: int
    cycle_day: int
    counted_ms: int
    days_from: int = 0
    cells: tuple[tuple[Cell, int], ...] = ()
    peaks: tuple[tuple[PeakCell, int], ...] = ()
    tail: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    remainders: tuple[tuple[str, int], ...] = ()
    paid: tuple[tuple[str, int], ...] = ()
    past: tuple[tuple[str, tuple[int, ...]], ...] = ()
    rest_nano: int = 0
    charged: tuple[Line, ...] = ()
    estimated_wh: int = 0
    split_wh: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A cycle that is over: its days of service and all that was charged for it. `used_wh`: imported."""

    first: int
    until: int
    used_wh: int
    lines: tuple[Line, ...]

    @property
    def amount_nano(self) -> int:
        return total_nano(self.lines)


@dataclass(frozen=True, slots=True)
class Step:
    state: State
    lines: tuple[Line, ...]
    closed: tuple[Closed, ...] = ()

    @property
    def amount_nano(self) -> int:
        return total_nano(self.lines)


def opened(plan: Plan, account: Account, at_ms: int, days_from: int = 0) -> State:
    """An account that begins now: its first day counts as a whole one, and is charged unless it is before `days_from`."""
    day = day_of(at_ms, plan.zone)
    return State(day, at_ms, cycle_of(plan, account, day).first, at_ms, days_from)


def reopened(plan: Plan, account: Account, state: State) -> State:
    """The state from which other terms charge on: slabs begin anew for the days that are left, no day is charged twice.

    Remainders of percentages and what was paid of debts go on; `plan` and `account` are the terms so far."""
    last = [state, *(priced.over() for priced in _walk(plan, account, state))][-1]
    fresh = opened(plan, account, state.counted_ms, day_of(state.until_ms - 1, plan.zone) + 1)
    return replace(last, opened_day=fresh.opened_day, cycle_day=fresh.cycle_day, days_from=fresh.days_from, cells=(), peaks=(), charged=())


def advance(plan: Plan, account: Account, state: State, series: Iterable[Series], until_ms: int, counted_ms: int | None = None) -> Step:
    """Charge the use up to `counted_ms` (None: `until_ms`) and the time up to `until_ms`. Series in the order of time, none before
    `state.counted_ms` or after `counted_ms`. Days go on without readings; a cycle is closed when all its use is known.

    Raises ConfigError where the tariff needs what is not given (kVAh, shorter intervals, the days of the bill).
    """
    after, made, closed = _charged(plan, account, state, series, until_ms, until_ms if counted_ms is None else counted_ms)
    return Step(after, difference(made, state.charged), closed)


def cost(plan: Plan, account: Account, state: State, series: Iterable[Series], until_ms: int, counted_ms: int) -> tuple[State, int]:
    """What `advance` leads to and charges, for who asks for the amount and not for its lines."""
    after, made, _ = _charged(plan, account, state, series, until_ms, counted_ms)
    return after, total_nano(made) - total_nano(state.charged)


def _charged(
    plan: Plan, account: Account, state: State, series: Iterable[Series], until_ms: int, counted_ms: int
) -> tuple[State, list[Line], tuple[Closed, ...]]:
    """The state afterwards, all lines since the first cycle that was open, and the cycles that are over."""
    now = settled = _counted(plan, account, state, series, until_ms, counted_ms)
    made: list[Line] = []
    kept: list[Line] = []
    closed: list[Closed] = []
    for priced in _walk(plan, account, now):
        made += priced.lines
        if starts_at(priced.until, plan.zone) <= now.counted_ms:
            first = priced.cycle.first
            closed.append(Closed(max(first, now.opened_day), priced.until, _used(now, first), priced.lines))
            settled = priced.over()
        else:
            kept += priced.lines
    return changed(settled, charged=tuple(kept)), made, tuple(closed)


def _counted(plan: Plan, account: Account, state: State, series: Iterable[Series], until_ms: int, counted_ms: int) -> State:
    """The state with the use of the series added."""
    at_ms = state.counted_ms
    if until_ms < state.until_ms or not at_ms <= counted_ms <= until_ms:
        raise ValueError(f"time goes forward: {until_ms} (use to {counted_ms}) after {state.until_ms} ({at_ms})")
    given = tuple(series)
    if not given:
        return changed(state, until_ms=until_ms, counted_ms=counted_ms)
    counted = Counted(dict(state.cells), dict(state.peaks), list(state.tail), state.estimated_wh, state.split_wh, state.missing)
    for each in given:
        if each.start_ms < at_ms or each.end_ms > counted_ms:
            raise ValueError(f"a series from {each.start_ms} to {each.end_ms} is not between {at_ms} and {counted_ms}")
        count(plan, account, counted, each)
        at_ms = each.end_ms
    return changed(
        state, until_ms=until_ms, counted_ms=counted_ms, cells=tuple(counted.cells.items()), peaks=tuple(counted.peaks.items()),
        tail=tuple(counted.tail), estimated_wh=counted.estimated_wh, split_wh=counted.split_wh, missing=counted.missing,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Priced:
    """A cycle that has begun, its lines so far, and what is needed to go on when it is over."""

    before: State
    cycle: Days
    until: int
    lines: tuple[Line, ...]
    spans: tuple[Span, ...]
    run: Run
    rest_nano: int

    def over(self) -> State:
        """The state as it will be when the cycle is over."""
        state, known = self.before, dict(self.before.past)
        past = tuple((code, (watts, *known.get(code, ()))[:PAST_CYCLES]) for code, watts in _highest(self.spans).items())
        return replace(
            state, cycle_day=self.until, remainders=tuple(self.run.remainders.items()), paid=tuple(self.run.paid.items()), past=past,
            rest_nano=self.rest_nano, cells=tuple(c for c in state.cells if c[0][0] >= self.until),
            peaks=tuple(p for p in state.peaks if p[0][0] >= self.until),
        )  # fmt: skip


def _walk(plan: Plan, account: Account, state: State) -> Iterator[_Priced]:
    """The cycles that have begun."""
    while account.ends_day is None or state.cycle_day < account.ends_day:
        cycle = cycle_of(plan, account, state.cycle_day)
        if starts_at(cycle.first, plan.zone) >= state.until_ms:
            return
        priced = _priced(plan, account, state, cycle)
        yield priced
        if starts_at(priced.until, plan.zone) >= state.until_ms:
            return
        state = priced.over()


def _used(state: State, cycle_day: int) -> int:
    return sum(wh for (cycle, _, _, measure), wh in state.cells if cycle == cycle_day and measure == "import")


def _priced(plan: Plan, account: Account, state: State, whole: Days) -> _Priced:
    """The lines of a cycle so far."""
    until = min(whole.until, account.ends_day) if account.ends_day is not None else whole.until
    run = Run(dict(state.remainders), dict(state.paid))
    spans = tuple(_spans(plan, account, state, whole, until))
    lines = tuple(line for span in spans for line in price_span(span, run))
    rest_nano, extra = _rounded_total(plan, state, whole, until, lines)
    return _Priced(state, whole, until, lines + extra, spans, run, rest_nano)


def _spans(plan: Plan, account: Account, state: State, whole: Days, until: int) -> Iterator[Span]:
    """The versions' parts of the cycle that have begun."""
    served = max(whole.first, state.opened_day)
    last_day = day_of(state.until_ms - 1, plan.zone)
    for frame in frames(plan, whole, served, until, last_day, min(max(state.days_from, served), until)):
        version = plan.versions[frame.number]
        if version.at_ms is None or frame.first > version.first or version.at_ms < state.until_ms:
            yield Span(frame, account, starts_at(frame.until, plan.zone) <= state.counted_ms,
                       _of_span(state.cells, whole.first, frame.number), _of_peaks(state.peaks, whole.first, frame.number),
                       dict(state.past))  # fmt: skip


@lru_cache(maxsize=4096)
def frames(plan: Plan, cycle: Days, served: int, until: int, last_day: int, days_from: int) -> tuple[Frame, ...]:
    """Where the versions' parts of [served, until) lie, those begun by `last_day`."""
    found: list[Frame] = []
    for number, version in enumerate(plan.versions):
        first = max(served, version.first if number else served)
        end = min(until, _whole_from(plan.versions[number + 1])) if number + 1 < len(plan.versions) else until
        if first < end and first <= last_day:
            begun = min(end, last_day + 1) - first
            own = max(days_from, _whole_from(version) if number else first)
            free = min(begun, max(0, own - first))
            months, elapsed = (months_of(plan.proration, cycle, first + free, day) for day in (end, first + begun))
            found.append(Frame(number, version, cycle, first, end, begun, free, not found,
                               months_of(plan.proration, cycle, first, end), months, elapsed))  # fmt: skip
    return tuple(found)


def _whole_from(version: Version) -> int:
    """The first day a version has to itself."""
    return version.first + (version.at_ms is not None)


def _of_span(cells: tuple[tuple[Cell, int], ...], cycle: int, version: int) -> dict[tuple[str, str], int]:
    return {(period, measure): wh for (c, v, period, measure), wh in cells if c == cycle and v == version}


def _of_peaks(peaks: tuple[tuple[PeakCell, int], ...], cycle: int, version: int) -> dict[tuple[str, str], int]:
    return {(code, period): wh for (c, v, code, period), wh in peaks if c == cycle and v == version}


def _highest(spans: tuple[Span, ...]) -> dict[str, int]:
    """The cycle's highest power of each demand item, whole W, rounded down."""
    found: dict[str, int] = {}
    for span in spans:
        for item in span.frame.version.items:
            if isinstance(item, Demand):
                found[item.code] = max(found.get(item.code, 0), floor(highest_w(item, span)))
    return found


def _rounded_total(plan: Plan, state: State, whole: Days, until: int, lines: tuple[Line, ...]) -> tuple[int, tuple[Line, ...]]:
    """When the cycle is over its total is rounded, if the tariff says so; what is left over can go into the next one."""
    if plan.total is None or starts_at(until, plan.zone) > state.counted_ms:
        return state.rest_nano, ()
    exact = total_nano(lines)
    due = exact + (state.rest_nano if plan.total.carry else 0)
    paper = rounded(Fraction(due), plan.total)
    line = Line(ROUNDING, ROUNDING, max(whole.first, state.opened_day), until, exact, "money", 0, "month", paper - exact)
    return due - paper if plan.total.carry else 0, (line,) if paper != exact else ()


def bill(plan: Plan, account: Account, series: Iterable[Series], first_day: int, until_day: int) -> Step:
    """All of the local days [first_day, until_day) at once, as service that begins and ends with them."""
    served = replace(account, cuts=tuple({*account.cuts, first_day}), ends_day=until_day)
    begin = opened(plan, served, starts_at(first_day, plan.zone))
    return advance(plan, served, begin, series, starts_at(until_day, plan.zone))
