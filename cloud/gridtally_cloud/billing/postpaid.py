"""The bill of a postpaid account, from register readings or validated intervals and the tariff. A pure function.

* The engine of the edge's journal (`gridtally_shared.tariff`) walks the account from its opening, so that bills of any periods
  add up to one bill of all of them: slabs, remainders and minimum charges of a cycle that two bills share included.
* Where a stretch has validated intervals (`interval_use.py`) they are counted; else the register's movement, parted at a change of the
  tariff in proportion to time.
* opening (what the last bill left) + payments + charges = closing, which is rounded once, to what is owed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from gridtally_cloud.billing.charge_lines import Charged, charge_lines
from gridtally_cloud.billing.model import (
    Arranged,
    Bill,
    BillKind,
    Correction,
    DataQuality,
    DayUse,
    DepositHeld,
    Line,
    LineKind,
    Party,
    Reading,
    Tail,
    Turn,
)
from gridtally_cloud.billing.rounding import rounded_bill
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.engine import advance
from gridtally_shared.tariff.running import Part, Running, Terms, begun, parts_of, used
from gridtally_shared.tariff.terms import Plan
from gridtally_shared.tariff.use import Series


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a bill ends, and the register there."""

    at_ms: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment (negative) or refund (positive) since the last bill; without a reference what was carried over from or to prepayment."""

    at_ms: int
    amount_nano: int
    reference: str


@dataclass(frozen=True, slots=True)
class BillInputs:
    """`stops`: the opening, the ends of the bills before, the beginning of this one and its end. `days_from`: the first day charged.
    `use`: for each stretch between two stops its intervals, none where the register counts. `known_no`: the newest
    row of the books the last bill knew. `added`: what was posted since the last bill
    beside money, such as charges for late payment."""

    party: Party
    from_ms: int
    to_ms: int
    plan: Plan
    terms: Terms
    stops: tuple[Stop, ...]
    arrears_nano: int
    paid: tuple[Paid, ...]
    days: tuple[DayUse, ...]
    quality: DataQuality
    days_from: int = 0
    use: tuple[tuple[Series, ...], ...] = ()
    known_no: int = 0
    added: tuple[Line, ...] = ()
    deposit: DepositHeld | None = None
    arranged: Arranged | None = None
    tail: Tail | None = None
    turns: tuple[Turn, ...] = ()

    @property
    def used_wh(self) -> int:
        if self.use and self.use[-1]:
            return sum(sum(series.import_wh) for series in self.use[-1])
        return self.stops[-1].reading.register_wh - self.stops[-2].reading.register_wh


def charges(inputs: BillInputs) -> tuple[Line, ...]:
    """What [from_ms, to_ms) costs, without what was paid."""
    return tuple(charge_lines(_charged(inputs), 1))


def postpaid_bill(inputs: BillInputs, corrects: Correction | None = None) -> Bill:
    """The bill of [from_ms, to_ms); with `corrects` it takes the charges of the cancelled bill back."""
    paid = tuple(Line(_paid_kind(p), p.amount_nano, 0, p.at_ms, p.at_ms, reference=p.reference) for p in inputs.paid)
    back = (Line(LineKind.CANCELLED, -corrects.was_nano, 0, inputs.from_ms, inputs.to_ms, reference=corrects.bill_no),) if corrects else ()
    lines = (*paid, *back, *charges(inputs), *inputs.added)
    return rounded_bill(Bill(
        BillKind.BILL, inputs.party, inputs.from_ms, inputs.to_ms, inputs.arrears_nano, lines,
        inputs.arrears_nano + sum(line.amount_nano for line in lines), inputs.used_wh, inputs.days, inputs.quality,
        first=inputs.stops[-2].reading, last=inputs.stops[-1].reading, corrects=corrects, deposit=inputs.deposit,
        arranged=inputs.arranged, tail=inputs.tail, turns=inputs.turns,
    ))  # fmt: skip


def _paid_kind(paid: Paid) -> LineKind:
    if not paid.reference:
        return LineKind.CONVERSION
    return LineKind.PAYMENT if paid.amount_nano < 0 else LineKind.REFUND


def _charged(inputs: BillInputs) -> Iterator[Charged]:
    """The account walked from its opening to the end of this bill; what its last stretch charges."""
    stops = inputs.stops
    running = begun(inputs.plan, inputs.terms, stops[0].at_ms, inputs.days_from)
    for number, (first, last) in enumerate(pairwise(stops)):
        series = inputs.use[number] if inputs.use else ()
        running, charged = _by_intervals(inputs.plan, running, first, last, series) if series else _by_register(
            inputs.plan, running, first, last)  # fmt: skip
        if last is stops[-1]:
            yield from charged


def _by_intervals(plan: Plan, running: Running, first: Stop, last: Stop, series: tuple[Series, ...]) -> tuple[Running, list[Charged]]:
    state = running.state
    step = advance(plan, running.terms.account, state, series, max(state.until_ms, last.at_ms), last.at_ms)
    made = [Charged(line, last.at_ms, False, first.reading, last.reading) for line in step.lines]
    return replace(running, state=step.state), made


def _by_register(plan: Plan, running: Running, first: Stop, last: Stop) -> tuple[Running, list[Charged]]:
    made: list[Charged] = []
    parts = parts_of(plan, first.at_ms, last.at_ms, last.reading.register_wh - first.reading.register_wh)
    register_wh = first.reading.register_wh
    for part in parts:
        end_ms = last.at_ms if part is parts[-1] else part.to_ms
        running, lines = used(plan, running, part.from_ms, end_ms, part.wh)
        ends = _readings(first, last, part, register_wh)
        register_wh += part.wh
        made += [Charged(line, end_ms, False, *ends) for line in lines]
    return running, made


def _readings(first: Stop, last: Stop, part: Part, register_wh: int) -> tuple[Reading, Reading]:
    """The readings around a part; those of the stretch itself where the part is at its ends."""
    before = first.reading if register_wh == first.reading.register_wh else _within(first, last, part.from_ms, register_wh)
    whole = register_wh + part.wh == last.reading.register_wh
    return before, last.reading if whole else _within(first, last, part.to_ms, register_wh + part.wh)


def _within(first: Stop, last: Stop, at_ms: int, register_wh: int) -> Reading:
    """Estimated; behind an end of the register where the count is past it."""
    ahead_wh = last.reading.ahead_wh if register_wh >= last.reading.ahead_wh else first.reading.ahead_wh
    return Reading(at_ms, register_wh, estimated=True, ahead_wh=ahead_wh)
