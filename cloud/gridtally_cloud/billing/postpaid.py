"""The bill of a postpaid account, from register readings and the tariff. A pure function.

* The same charge functions as the edge's journal (`gridtally_shared.tariff`): counts run from the opening of the account, so
  that bills of any periods add up to one bill of all of them, tax included.
* A tariff that changes within the period splits it at the change, with the register of that moment.
* opening (what the last bill left) + payments + charges = closing, which is rounded once, to what is owed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gridtally_cloud.billing.model import Bill, BillKind, DataQuality, DayUse, Line, LineKind, Party, Reading
from gridtally_cloud.billing.rounding import rounded_bill
from gridtally_shared.tariff.charge import Charge, energy_charge, fixed_charge
from gridtally_shared.tariff.model import Tariff


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the period under one tariff version, with the readings at its ends and its days since the opening."""

    tariff: Tariff
    first: Reading
    last: Reading
    from_day: int
    to_day: int


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment (negative) or refund (positive) since the last bill."""

    at_ms: int
    amount_nano: int
    reference: str


@dataclass(frozen=True, slots=True)
class BillInputs:
    """`opened_wh`: the register when the account was opened."""

    party: Party
    from_ms: int
    to_ms: int
    opened_wh: int
    spans: tuple[Span, ...]
    arrears_nano: int
    paid: tuple[Paid, ...]
    days: tuple[DayUse, ...]
    quality: DataQuality


def postpaid_bill(inputs: BillInputs) -> Bill:
    """The bill of [from_ms, to_ms)."""
    paid = tuple(Line(LineKind.PAYMENT if p.amount_nano < 0 else LineKind.REFUND, p.amount_nano, 0, p.at_ms, p.at_ms,
                      reference=p.reference) for p in inputs.paid)  # fmt: skip
    lines = (*paid, *(line for span in inputs.spans for line in _charges(inputs.opened_wh, span)))
    return rounded_bill(Bill(
        BillKind.BILL, inputs.party, inputs.from_ms, inputs.to_ms, inputs.arrears_nano, lines,
        inputs.arrears_nano + sum(line.amount_nano for line in lines),
        sum(line.quantity for line in lines if line.kind is LineKind.ENERGY), inputs.days, inputs.quality,
    ))  # fmt: skip


def _charges(opened_wh: int, span: Span) -> Iterator[Line]:
    t, first, last = span.tariff, span.first, span.last
    energy = energy_charge(t, first.register_wh - opened_wh, last.register_wh - opened_wh)
    fixed = fixed_charge(t, span.from_day, span.to_day)
    yield Line(LineKind.ENERGY, energy.net_nano, 0, first.at_ms, last.at_ms, last.register_wh - first.register_wh, "Wh",
               t.energy_nano_per_wh, first=first, last=last)  # fmt: skip
    yield from _tax(LineKind.TAX_ENERGY, t, energy, span)
    if fixed.net_nano:
        yield Line(LineKind.FIXED, fixed.net_nano, 0, first.at_ms, last.at_ms, span.to_day - span.from_day, "day",
                   t.fixed_nano_per_day)  # fmt: skip
        yield from _tax(LineKind.TAX_FIXED, t, fixed, span)


def _tax(kind: LineKind, tariff: Tariff, charge: Charge, span: Span) -> Iterator[Line]:
    if charge.tax_nano:
        yield Line(kind, charge.tax_nano, 0, span.first.at_ms, span.last.at_ms, charge.net_nano, "nano", rate_ppm=tariff.tax_ppm)
