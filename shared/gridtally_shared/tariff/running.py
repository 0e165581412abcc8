"""A prepaid account while it is charged: the terms that price it and the engine's state, in steps of one reading or one day. Pure.

* Edge and cloud walk the same steps: the edge to charge, the cloud to price the mirrored journal again (I9, I10).
* Other terms (another tariff, contract or flag) begin where the use is known: slabs begin anew for the days that are left, nothing is
  charged twice. A further version of the same tariff is no change of terms.
* A step whose time is not believed is provisional: the cheapest period of the version in force, nothing of it kept in the state. The
  next believed reading prices all use since then and takes the provisional lines back (prepayment.md 5.6).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from gridtally_shared.contract.codec import key
from gridtally_shared.records import changed, dataclass
from gridtally_shared.tariff.cycles import cycle_of
from gridtally_shared.tariff.daybook import changes_between, day_of, pieces_of, starts_at, version_at
from gridtally_shared.tariff.engine import State, advance, opened, reopened
from gridtally_shared.tariff.lines import Line, difference, negative, total_nano
from gridtally_shared.tariff.terms import Account, Measure, Plan
from gridtally_shared.tariff.use import Series, largest_remainder


@dataclass(frozen=True, slots=True)
class TermVersion:
    """A stored version of the tariff and the instant from which it counts here."""

    version: int = key(0)
    from_ms: int = key(1)


@dataclass(frozen=True, slots=True)
class Terms:
    """What prices an account; in the journal with the first charge under it."""

    tariff_id: str = key(0)
    zone: str = key(1)
    versions: tuple[TermVersion, ...] = key(2, ())
    contract_w: int = key(3, 0)
    flags: tuple[str, ...] = key(4, ())

    @property
    def account(self) -> Account:
        return Account(self.contract_w, frozenset(self.flags))

    def goes_on(self, other: Terms) -> bool:
        """Whether only versions differ."""
        return replace(self, versions=()) == replace(other, versions=())


@dataclass(frozen=True, slots=True)
class Running:
    """`guessed` and `guessed_wh`: the provisional lines charged since `state.counted_ms`, and their use."""

    terms: Terms
    state: State
    guessed: tuple[Line, ...] = ()
    guessed_wh: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a register's movement that one version prices."""

    from_ms: int
    to_ms: int
    wh: int


def begun(plan: Plan, terms: Terms, at_ms: int, days_from: int) -> Running:
    return Running(terms, opened(plan, terms.account, at_ms, days_from))


def under(plan: Plan, running: Running, terms: Terms) -> Running:
    """The same account under its terms of now; `plan` is that of the terms so far."""
    if running.terms == terms:
        return running
    if running.terms.goes_on(terms):
        return replace(running, terms=terms)
    return replace(running, terms=terms, state=reopened(plan, running.terms.account, running.state))


def parts_of(plan: Plan, from_ms: int, to_ms: int, wh: int) -> tuple[Part, ...]:
    """A movement cut at changes of version, in proportion to time; parts without energy are left out, unless there is none at all."""
    marks = (from_ms, *changes_between(plan, from_ms, to_ms), max(to_ms, from_ms + 1))
    shares = largest_remainder(wh, [b - a for a, b in pairwise(marks)])
    ends = (*marks[1:-1], to_ms)
    parts = [Part(a, b, share) for a, b, share in zip(marks, ends, shares, strict=False)]
    return tuple(part for part in parts if part.wh) or (Part(from_ms, to_ms, 0),)


def used(plan: Plan, running: Running, from_ms: int, to_ms: int, wh: int) -> tuple[Running, tuple[Line, ...]]:
    """Charge what was used between two readings, less what was guessed of it; no use at all moves only time."""
    state = running.state
    start_ms = max(from_ms, state.counted_ms)
    end_ms = max(to_ms, start_ms + (wh > 0))
    series = [Series(start_ms, end_ms - start_ms, [wh])] if wh else []
    step = advance(plan, running.terms.account, state, series, max(state.until_ms, end_ms), end_ms)
    lines = difference(step.lines, running.guessed) if running.guessed else step.lines
    return changed(running, state=step.state, guessed=(), guessed_wh=max(0, running.guessed_wh - wh)), lines


def idle(plan: Plan, running: Running, until_ms: int) -> Running:
    """Nothing was used until then, though a cycle may have ended; what costs nothing has no entry of its own."""
    return used(plan, running, until_ms, until_ms, 0)[0] if until_ms > running.state.counted_ms else running


def days(plan: Plan, running: Running, until_ms: int) -> tuple[Running, tuple[Line, ...]]:
    """Charge the days that have begun."""
    step = advance(plan, running.terms.account, running.state, (), until_ms, running.state.counted_ms)
    return replace(running, state=step.state), step.lines


def day_is_due(plan: Plan, running: Running, now_ms: int) -> bool:
    """Whether a day began that is not charged."""
    return now_ms > starts_at(day_of(running.state.until_ms - 1, plan.zone) + 1, plan.zone)


def cycle_is_due(plan: Plan, running: Running, at_ms: int) -> bool:
    """Whether a reading of this time ends a cycle, whatever was used."""
    return at_ms >= starts_at(cycle_of(plan, running.terms.account, running.state.cycle_day).until, plan.zone)


def guess(plan: Plan, running: Running, wh: int) -> tuple[Running, tuple[Line, ...]]:
    """Charge `wh` more at the cheapest period, without time: the account with all provisional use, and the lines of this step."""
    total_wh = running.guessed_wh + wh
    lines = cheapest(plan, running, total_wh)
    return changed(running, guessed=lines, guessed_wh=total_wh), difference(lines, running.guessed)


def taken_back(running: Running) -> tuple[Running, tuple[Line, ...]]:
    """Without what was charged provisionally; its use is still to be priced."""
    return replace(running, guessed=()), tuple(negative(line) for line in running.guessed)


def grows(lines: tuple[Line, ...]) -> bool:
    """Whether lines only add to what they are the difference to."""
    return all(line.quantity >= 0 for line in lines)


def cheapest(plan: Plan, running: Running, wh: int) -> tuple[Line, ...]:
    """What some use would cost in the cheapest period of the version in force."""
    at_ms = running.state.counted_ms
    periods = plan.versions[version_at(plan, at_ms)].periods
    return min((probed(plan, running, at_ms, wh, period) for period in periods), key=total_nano)


def probed(plan: Plan, running: Running, at_ms: int, wh: int, period: str = "") -> tuple[Line, ...]:
    """What `wh` more would cost at an instant (or in a named period of then), above what is charged when its day has begun."""
    state, account = running.state, running.terms.account
    piece = next(p for p in pieces_of(plan, day_of(at_ms, plan.zone)) if at_ms < p.end_ms)
    cycle = cycle_of(plan, account, piece.day).first
    before = advance(plan, account, state, (), max(state.until_ms, at_ms + 1), state.counted_ms).state
    cells = dict(before.cells)
    for measure in (Measure.IMPORT, Measure.NET_IMPORT):
        cell = (cycle, piece.version, period or piece.period, measure.value)
        cells[cell] = cells.get(cell, 0) + wh
    return advance(plan, account, changed(before, cells=tuple(cells.items())), (), before.until_ms, before.counted_ms).lines
