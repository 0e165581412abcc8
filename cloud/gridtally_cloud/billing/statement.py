"""The monthly statement of a prepaid account: the mirrored journal of a period, made readable. A pure function.

* The period is a run of journal entries: from the first one not before its start to the last one before its end. The next
  statement starts where this one stopped, so nothing falls between two of them.
* opening + all lines = closing, to the nano. Energy, fixed charges and taxes of one tariff version are one line each;
  every top-up, refund and correction stands alone.
* A charge line names quantity and price only when quantity x price is the amount in the journal, exactly.

Source: C3-N2 of the register; prepayment.md 5.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gridtally_cloud.billing.model import Bill, BillKind, DataQuality, DayUse, Line, LineKind, Party, Reading
from gridtally_cloud.billing.rounding import rounded_statement
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.tariff.model import PPM, Tariff


@dataclass(frozen=True, slots=True)
class StatementInputs:
    """`entries`: the whole mirrored journal, oldest first, all epochs. `tariffs` by version. `references`: what to call
    the money behind an instrument, by (epoch, gseq)."""

    party: Party
    from_ms: int
    to_ms: int
    entries: tuple[LedgerEntry, ...]
    tariffs: dict[int, Tariff]
    references: dict[tuple[int, int], str]
    days: tuple[DayUse, ...]
    quality: DataQuality


def statement(inputs: StatementInputs) -> Bill:
    """The statement of [from_ms, to_ms)."""
    start = _first_from(inputs.entries, inputs.from_ms)
    end = max(start, _first_from(inputs.entries, inputs.to_ms))
    opening_nano = sum(_into(e, Pool.PAID) for e in inputs.entries[:start])
    span = inputs.entries[start:end]
    lines = tuple(_lines(inputs, span))
    bill = Bill(
        BillKind.STATEMENT, inputs.party, inputs.from_ms, inputs.to_ms, opening_nano, lines,
        opening_nano + sum(line.amount_nano for line in lines),
        sum(line.quantity for line in lines if line.kind is LineKind.ENERGY), inputs.days,
        inputs.quality, span[0].seq if span else 0, span[-1].seq if span else 0,
    )  # fmt: skip
    return rounded_statement(bill)


def _first_from(entries: tuple[LedgerEntry, ...], at_ms: int) -> int:
    return next((i for i, e in enumerate(entries) if e.at_ms >= at_ms), len(entries))


def _into(entry: LedgerEntry, pool: Pool) -> int:
    return sum(p.amount_nano for p in entry.postings if p.pool == pool)


SINGLE: dict[int, LineKind] = {Kind.CREDIT: LineKind.TOP_UP, Kind.REFUND: LineKind.REFUND}


def _lines(inputs: StatementInputs, span: tuple[LedgerEntry, ...]) -> Iterator[Line]:
    grouped = (Kind.ENERGY, Kind.FIXED)
    for entry in (e for e in span if e.kind not in grouped and _into(e, Pool.PAID)):
        kind = SINGLE.get(entry.kind, LineKind.CORRECTION)
        reference = inputs.references.get((entry.epoch, entry.gseq), "") if entry.gseq else ""
        yield Line(kind, _into(entry, Pool.PAID), 0, entry.at_ms, entry.at_ms, reference=reference)
    for version in sorted({e.tariff_version for e in span if e.kind in grouped}):
        mine = [e for e in span if e.tariff_version == version]
        tariff = inputs.tariffs.get(version)
        yield from _energy(tariff, [e for e in mine if e.kind == Kind.ENERGY], inputs.entries)
        yield from _fixed(tariff, [e for e in mine if e.kind == Kind.FIXED])


def _energy(tariff: Tariff | None, entries: list[LedgerEntry], journal: tuple[LedgerEntry, ...]) -> Iterator[Line]:
    if not entries:
        return
    used_wh = sum((e.register_after_wh or 0) - (e.register_before_wh or 0) for e in entries)
    net_nano = sum(_into(e, Pool.ENERGY) for e in entries)
    price_nano = tariff.energy_nano_per_wh if tariff and used_wh * tariff.energy_nano_per_wh == net_nano else 0
    first, last = entries[0], entries[-1]
    read_ms = max((e.at_ms for e in journal if e.register_after_wh is not None and e.seq < first.seq and e.epoch == first.epoch),
                  default=first.at_ms)  # fmt: skip
    yield Line(
        LineKind.ENERGY, -net_nano, 0, read_ms, last.at_ms, used_wh, "Wh", price_nano,
        first=Reading(read_ms, first.register_before_wh or 0), last=Reading(last.at_ms, last.register_after_wh or 0),
    )  # fmt: skip
    yield from _tax(LineKind.TAX_ENERGY, tariff, net_nano, entries)


def _fixed(tariff: Tariff | None, entries: list[LedgerEntry]) -> Iterator[Line]:
    if not entries:
        return
    net_nano = sum(_into(e, Pool.FIXED) for e in entries)
    price_nano = tariff.fixed_nano_per_day if tariff else 0
    days, rest = divmod(net_nano, price_nano) if price_nano else (0, 0)
    exact = price_nano and not rest
    yield Line(LineKind.FIXED, -net_nano, 0, entries[0].at_ms, entries[-1].at_ms, days if exact else len(entries),
               "day", price_nano if exact else 0)  # fmt: skip
    yield from _tax(LineKind.TAX_FIXED, tariff, net_nano, entries)


def _tax(kind: LineKind, tariff: Tariff | None, base_nano: int, entries: list[LedgerEntry]) -> Iterator[Line]:
    tax_nano = sum(_into(e, Pool.TAX) for e in entries)
    if not tax_nano:
        return
    rate_ppm = tariff.tax_ppm if tariff else 0
    near = abs(base_nano * rate_ppm - tax_nano * PPM) <= PPM  # cumulative tax: the parts are right within one nano
    yield Line(kind, -tax_nano, 0, entries[0].at_ms, entries[-1].at_ms, base_nano, "nano", rate_ppm=rate_ppm if near else 0)
