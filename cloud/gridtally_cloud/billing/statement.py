"""The monthly statement of a prepaid account: the mirrored journal of a period, made readable. A pure function.

* The period is a run of journal entries: from the first one not before its start to the last one before its end. The next
  statement starts where this one stopped, so nothing falls between two of them.
* opening + all lines = closing, to the nano. Charges are the lines of the journal's own records, those of one price
  together; every top-up, refund, correction of money and transfer for an event stands alone. A debt that is taken on (a correction, bills,
  an assessment, an event's overrun) moves no balance; its line says how much it is, and what of. What emergency credit paid of the
  charges stands alone too; a top-up shows what was left after paying it back.
* Another concentrator's journal is another epoch: it begins with what the one before ended with, which is counted once.
* A charge line names quantity and price only when quantity x price is the amount in the journal, exactly.

Source: C3-N2 of the register; prepayment.md 5.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from gridtally_cloud.billing.charge_lines import Charged, charge_lines
from gridtally_cloud.billing.model import Bill, BillKind, DataQuality, DayUse, Line, LineKind, Party, Reading
from gridtally_cloud.billing.names import is_event
from gridtally_cloud.billing.rounding import rounded_statement
from gridtally_shared.contract.codec import decode
from gridtally_shared.instruments.details import CARRIED_OVER, OF_BILLS, DebtTaken
from gridtally_shared.ledger.charges import ChargeRecord, charge_of, lines_of
from gridtally_shared.ledger.entries import OWN, Kind, LedgerEntry, Pool, Posting
from gridtally_shared.ledger.replay import DEBTS
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class StatementInputs:
    """`entries`: the whole mirrored journal, oldest first, all epochs. `references`: what to call the money behind an instrument,
    by (epoch, gseq)."""

    party: Party
    from_ms: int
    to_ms: int
    entries: tuple[LedgerEntry, ...]
    references: dict[tuple[int, int], str]
    days: tuple[DayUse, ...]
    quality: DataQuality


def statement(inputs: StatementInputs) -> Bill:
    """The statement of [from_ms, to_ms)."""
    inputs = replace(inputs, entries=_one_account(inputs.entries))
    start = _first_from(inputs.entries, inputs.from_ms)
    end = max(start, _first_from(inputs.entries, inputs.to_ms))
    opening_nano = sum(_own(e) for e in inputs.entries[:start])
    span = inputs.entries[start:end]
    lines = tuple(_lines(inputs, span))
    bill = Bill(
        BillKind.STATEMENT, inputs.party, inputs.from_ms, inputs.to_ms, opening_nano, lines,
        opening_nano + sum(line.amount_nano for line in lines),
        sum((e.register_after_wh or 0) - (e.register_before_wh or 0) for e in span if e.kind == Kind.ENERGY), inputs.days,
        inputs.quality, span[0].seq if span else 0, span[-1].seq if span else 0,
    )  # fmt: skip
    return rounded_statement(bill)


def _one_account(entries: tuple[LedgerEntry, ...]) -> tuple[LedgerEntry, ...]:
    """Another concentrator's epoch begins with the balance of the one before: only what it brings beside it is new money."""
    found: list[LedgerEntry] = []
    for _, group in groupby(entries, attrgetter("epoch")):
        fresh, left_nano = list(group), sum(_own(e) for e in found)
        opening = next((e for e in fresh if found and e.kind == Kind.CREDIT and _into(e, Pool.TRANSFER)), None)
        found += [replace(e, postings=(*e.postings, Posting(Pool.PAID, -left_nano))) if e is opening else e for e in fresh]
    return tuple(found)


def _first_from(entries: tuple[LedgerEntry, ...], at_ms: int) -> int:
    return next((i for i, e in enumerate(entries) if e.at_ms >= at_ms), len(entries))


def _into(entry: LedgerEntry, pool: Pool) -> int:
    return sum(p.amount_nano for p in entry.postings if p.pool == pool)


SINGLE: dict[int, LineKind] = {Kind.CREDIT: LineKind.TOP_UP, Kind.REFUND: LineKind.REFUND}
GROUPED = frozenset({Kind.ENERGY, Kind.FIXED})


def _is_charge(entry: LedgerEntry) -> bool:
    return entry.kind in GROUPED or (entry.kind == Kind.CORRECTION and bool(entry.detail) and charge_of(entry) is not None)


def _lines(inputs: StatementInputs, span: tuple[LedgerEntry, ...]) -> Iterator[Line]:
    for entry in (e for e in span if e.kind == Kind.CORRECTION and e.gseq and _into(e, Pool.DEBT_PAYMENT)):
        yield Line(LineKind.CORRECTION_DEBT, 0, 0, entry.at_ms, entry.at_ms, -_into(entry, Pool.DEBT_PAYMENT), "nano")
    for entry in (e for e in span if e.kind == Kind.DEBT and e.gseq):
        taken = decode(DebtTaken, entry.detail)
        if taken.why != CARRIED_OVER:
            yield Line(LineKind.DEBT_TAKEN, 0, 0, entry.at_ms, entry.at_ms, -sum(_into(entry, pool) for pool in DEBTS), "nano",
                       reference="" if taken.why == OF_BILLS else taken.why)  # fmt: skip
    for entry in (e for e in span if not _is_charge(e) and _own(e)):
        reference = inputs.references.get((entry.epoch, entry.gseq), "") if entry.gseq else ""
        kind = LineKind.EVENT if is_event(reference) else SINGLE.get(entry.kind, LineKind.CORRECTION)
        yield Line(kind, _own(entry), 0, entry.at_ms, entry.at_ms, reference=reference)
    charged = [e for e in span if _is_charge(e)]
    lent_nano = -sum(_into(e, Pool.EMERGENCY) for e in charged)
    if lent_nano:
        yield Line(LineKind.EMERGENCY, lent_nano, 0, charged[0].at_ms, charged[-1].at_ms)
    for version in sorted({e.tariff_version for e in charged}):
        mine = [e for e in charged if e.tariff_version == version]
        yield from charge_lines(_charged([e for e in mine if e.detail], inputs.entries), -1)
        for grouped in sorted(GROUPED):
            yield from _plain([e for e in mine if e.kind == grouped and not e.detail], inputs.entries)


def _own(entry: LedgerEntry) -> int:
    """What an entry moves of the consumer's own money."""
    return sum(p.amount_nano for p in entry.postings if p.pool in OWN)


def _charged(entries: list[LedgerEntry], journal: tuple[LedgerEntry, ...]) -> Iterator[Charged]:
    """The lines of the entries' records, with the readings around all of them."""
    first, last = _ends(entries, journal)
    for entry in entries:
        for line in lines_of(charge_of(entry) or ChargeRecord()):
            yield Charged(line, entry.at_ms, entry.kind == Kind.FIXED, first, last)


def _ends(entries: list[LedgerEntry], journal: tuple[LedgerEntry, ...]) -> tuple[Reading | None, Reading | None]:
    """The readings before the first and of the last of some charges."""
    read = [e for e in entries if e.register_after_wh is not None]
    if not read:
        return None, None
    first, last = read[0], read[-1]
    read_ms = max((e.at_ms for e in journal if e.register_after_wh is not None and e.seq < first.seq and e.epoch == first.epoch),
                  default=first.at_ms)  # fmt: skip
    return Reading(read_ms, first.register_before_wh or 0), Reading(last.at_ms, last.register_after_wh or 0)


def _plain(entries: list[LedgerEntry], journal: tuple[LedgerEntry, ...]) -> Iterator[Line]:
    """Charges from before lines were kept: amounts and readings, without a price."""
    if not entries:
        return
    first, last = _ends(entries, journal)
    fixed = entries[0].kind == Kind.FIXED
    ends = (entries[0].at_ms, entries[-1].at_ms)
    net_nano, tax_nano = (sum(_into(e, pool) for e in entries) for pool in (Pool.FIXED if fixed else Pool.ENERGY, Pool.TAX))
    if fixed:
        yield Line(LineKind.FIXED, -net_nano, 0, *ends, len(entries), "day")
    else:
        used_wh = sum((e.register_after_wh or 0) - (e.register_before_wh or 0) for e in entries)
        yield Line(LineKind.ENERGY, -net_nano, 0, *ends, used_wh, "Wh", first=first, last=last)
    if tax_nano:
        yield Line(LineKind.TAX_FIXED if fixed else LineKind.TAX_ENERGY, -tax_nano, 0, *ends, net_nano, "nano")
