"""The charges of a journal priced again from its own readings: what each entry should say, and the running account they lead to. Pure.

* The cloud walks the mirror with it and reports every difference of even a nano; the edge makes its running account anew with it after its
  journal was healed. Both walk the same steps as the edge did when it charged.
* A falsified entry is one finding: the walk goes on with what should have been charged.
* Entries from before lines were kept are passed over; pricing begins with the first entry that names its terms.

Source: prepayment.md 5.5, 5.10 (I9, I10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field

from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.ledger.charges import CHARGES, ChargeRecord, charge_of, charges_of, opened_with, record_of
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, Posting
from gridtally_shared.ledger.replay import LedgerState, apply
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.lines import Line
from gridtally_shared.tariff.running import Running, Terms, begun, days, guess, idle, taken_back, under, used
from gridtally_shared.tariff.terms import Plan

PLACES = frozenset({Pool.ENERGY, Pool.FIXED, Pool.TAX, Pool.DEMAND, Pool.SUBSIDY, Pool.DEBT})
PlanOf = Callable[[Terms], Plan | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry that does not say what its readings cost."""

    seq: int
    expected_nano: int
    found_nano: int
    text: str


@dataclass(slots=True)
class Walk:
    """Where a walk through a journal stands; it can go on with further entries."""

    state: LedgerState
    running: Running | None = None
    plan: Plan | None = None
    differences: list[Difference] = field(default_factory=list)


def rerated(walk: Walk, entries: Iterable[LedgerEntry], plan_of: PlanOf) -> Walk:
    """Walk on through entries that follow. `plan_of` gives the plan of terms, None where a version of them was never issued."""
    for entry in entries:
        if entry.kind == Kind.MODE:
            walk.running = None
        elif entry.kind == Kind.OPEN:
            _open(walk, entry, plan_of)
        elif entry.kind in CHARGES:
            _charge(walk, entry, plan_of)
        walk.state = apply(walk.state, entry)
    return walk


def _open(walk: Walk, entry: LedgerEntry, plan_of: PlanOf) -> None:
    """An epoch that goes on with the open cycle of the one before says so when it opens."""
    try:
        running = opened_with(entry)
    except ContractError as error:
        _differs(walk, entry, 0, str(error))
        return
    plan = plan_of(running.terms) if running is not None else None
    if running is not None and plan is None:
        _differs(walk, entry, 0, f"tariff {running.terms.tariff_id} as it is used here was never issued")
    elif running is not None:
        walk.running, walk.plan = running, plan


def _charge(walk: Walk, entry: LedgerEntry, plan_of: PlanOf) -> None:
    try:
        record = charge_of(entry)
    except ContractError as error:
        _differs(walk, entry, 0, str(error))
        return
    if record is None:
        if walk.running is not None and entry.kind != Kind.CORRECTION:
            _differs(walk, entry, 0, "a charge without its lines")
        return
    for terms in record.terms:
        _take_terms(walk, entry, terms, plan_of)
    if walk.running is None or walk.plan is None:
        return
    try:
        walk.running, lines = _STEPS[entry.kind](walk.plan, walk.running, walk.state, entry, record)
    except (ValueError, ConfigError) as error:
        _differs(walk, entry, 0, f"this charge can not be priced: {error}")
        return
    _compare(walk, entry, record, lines, walk.plan)


def _take_terms(walk: Walk, entry: LedgerEntry, terms: Terms, plan_of: PlanOf) -> None:
    plan = plan_of(terms)
    if plan is None:
        _differs(walk, entry, 0, f"tariff {terms.tariff_id} as it is used here was never issued")
    elif walk.running is None or walk.plan is None:
        walk.running = begun(plan, terms, walk.state.register_at_ms, (walk.state.charged_day or 0) + 1)
    else:
        walk.running = under(plan if walk.running.terms.goes_on(terms) else walk.plan, walk.running, terms)
    walk.plan = plan


Priced = tuple[Running, tuple[Line, ...]]


def _energy(plan: Plan, running: Running, state: LedgerState, entry: LedgerEntry, record: ChargeRecord) -> Priced:
    moved = (entry.register_after_wh or 0) - (entry.register_before_wh or 0)
    if record.provisional:
        return guess(plan, idle(plan, running, record.from_ms), moved)
    wh = record.wh or moved
    if not moved <= wh <= moved + running.guessed_wh:
        raise ValueError(f"{wh} Wh are priced where the register moved {moved} Wh")
    return used(plan, running, record.from_ms or state.register_at_ms, entry.at_ms, wh)


def _fixed(plan: Plan, running: Running, state: LedgerState, entry: LedgerEntry, record: ChargeRecord) -> Priced:
    return days(plan, running, entry.at_ms)


def _correction(plan: Plan, running: Running, state: LedgerState, entry: LedgerEntry, record: ChargeRecord) -> Priced:
    return taken_back(running)


_STEPS: dict[int, Callable[[Plan, Running, LedgerState, LedgerEntry, ChargeRecord], Priced]] = {
    Kind.ENERGY: _energy, Kind.FIXED: _fixed, Kind.CORRECTION: _correction,
}  # fmt: skip


def _compare(walk: Walk, entry: LedgerEntry, record: ChargeRecord, lines: tuple[Line, ...], plan: Plan) -> None:
    expected, found = _moved(charges_of(plan, lines)), _moved(entry.postings)
    if entry.kind == Kind.FIXED and found.get(Pool.DEBT) == -sum(expected.values()):
        del found[Pool.DEBT]  # days that wait as a debt, while the rules do not collect them (money_order.py)
    if expected != found:
        pools = sorted(Pool(p).name.lower() for p in expected.keys() | found.keys() if expected.get(p, 0) != found.get(p, 0))
        _differs(walk, entry, sum(expected.values()), f"its readings cost something else: {', '.join(pools)}")
    elif record_of(lines).lines != record.lines:
        _differs(walk, entry, sum(expected.values()), "the lines do not explain the amount")


def _moved(postings: Iterable[Posting]) -> dict[int, int]:
    return {p.pool: p.amount_nano for p in postings if p.pool in PLACES and p.amount_nano}


def _differs(walk: Walk, entry: LedgerEntry, expected_nano: int, text: str) -> None:
    found_nano = sum(_moved(entry.postings).values())
    walk.differences.append(Difference(entry.seq, expected_nano, found_nano, f"entry {entry.seq}: {text}"))
