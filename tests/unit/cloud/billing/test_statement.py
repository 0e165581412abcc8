"""The statement against an oracle that shares no code with it: fractions, plain loops, the journal's raw numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gridtally_cloud.billing.model import Bill, DataQuality, LineKind, Party
from gridtally_cloud.billing.statement import StatementInputs, statement
from gridtally_shared.contract.codec import encode
from gridtally_shared.instruments.details import CARRIED_OVER, OF_BILLS, DebtTaken
from gridtally_shared.ledger.charges import detail_of, record_of
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool, Posting
from gridtally_shared.money import NANO
from gridtally_shared.tariff.lines import Line

PARTY = Party(7, "Asha Rao", "7 Acacia Lane", "10000007", "Home", "Asia/Kolkata", "en", "INR")
DAY_MS = 86_400_000
PRICE, PER_DAY, TAX = 7_000_000, 2_500_000_000, 50_000

# A step of the journal: money in (nano), Wh used, days passed, money back (nano).
Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("credit"), st.integers(1, 10**13)),
        st.tuples(st.just("energy"), st.integers(1, 50_000)),
        st.tuples(st.just("fixed"), st.integers(1, 3)),
        st.tuples(st.just("refund"), st.integers(1, 10**12)),
    ),
    max_size=40,
)


def tax_between(before: int, after: int) -> int:
    """Tax on what lies between two cumulative bases, floor of the whole: the rule of prepayment.md I12."""
    return int(Fraction(after * TAX, 10**6) // 1) - int(Fraction(before * TAX, 10**6) // 1)


def journal(steps: list[Step]) -> list[LedgerEntry]:
    """Entries one hour apart, made by hand from the rules of the journal."""
    entries = [entry(1, 0, Kind.OPEN, {}, register_before_wh=1_000, register_after_wh=1_000)]
    used_wh, days, gseq = 0, 0, 0
    for index, (what, amount) in enumerate(steps):
        at_ms = (index + 1) * 3_600_000
        if what == "credit":
            gseq += 1
            made = entry(index + 2, at_ms, Kind.CREDIT, {Pool.RECEIVED: -amount, Pool.PAID: amount}, gseq=gseq)
        elif what == "refund":
            gseq += 1
            made = entry(index + 2, at_ms, Kind.REFUND, {Pool.RECEIVED: amount, Pool.PAID: -amount}, gseq=gseq)
        elif what == "energy":
            net, tax = amount * PRICE, tax_between(used_wh * PRICE, (used_wh + amount) * PRICE)
            made = entry(index + 2, at_ms, Kind.ENERGY, {Pool.PAID: -net - tax, Pool.ENERGY: net, Pool.TAX: tax},
                         tariff_version=1, register_before_wh=1_000 + used_wh, register_after_wh=1_000 + used_wh + amount,
                         detail=lines(Line("energy", "energy", 1, 31, amount, "Wh", PRICE, "kWh", net), tax))  # fmt: skip
            used_wh += amount
        else:
            net, tax = amount * PER_DAY, tax_between(days * PER_DAY, (days + amount) * PER_DAY)
            made = entry(index + 2, at_ms, Kind.FIXED, {Pool.PAID: -net - tax, Pool.FIXED: net, Pool.TAX: tax}, tariff_version=1,
                         detail=lines(Line("fixed", "fixed", 1, 31, amount, "day", PER_DAY, "day", net), tax))  # fmt: skip
            days += amount
        entries.append(made)
    return entries


def lines(charge: Line, tax: int) -> bytes:
    """The detail of an entry: what was charged, and the tax on it."""
    duty = Line(f"tax_{charge.code}", "percent", 1, 31, charge.amount_nano, "money", TAX, "%", tax)
    return detail_of(record_of([charge, duty]))


def entry(seq: int, at_ms: int, kind: Kind, moves: dict[Pool, int], **more: int | bytes) -> LedgerEntry:
    return LedgerEntry(7, 1, seq, GENESIS, kind, at_ms, tuple(Posting(p, a) for p, a in moves.items()), **more)  # type: ignore[arg-type]


def made(steps: list[Step], from_hour: int, to_hour: int) -> Bill:
    entries = tuple(journal(steps))
    span = (from_hour * 3_600_000, to_hour * 3_600_000)
    return statement(StatementInputs(PARTY, *span, entries, {}, (), DataQuality()))


def oracle_balance(steps: list[Step]) -> int:
    """The balance after the steps, without the journal: what came in less what the whole use costs."""
    paid = sum(a for w, a in steps if w == "credit") - sum(a for w, a in steps if w == "refund")
    energy = sum(a for w, a in steps if w == "energy") * PRICE
    fixed = sum(a for w, a in steps if w == "fixed") * PER_DAY
    return paid - energy - fixed - tax_between(0, energy) - tax_between(0, fixed)


@given(STEPS, st.integers(0, 45), st.integers(0, 45))
def test_opening_lines_and_closing_are_those_of_the_oracle(steps: list[Step], a: int, b: int) -> None:
    from_hour, to_hour = min(a, b), max(a, b)
    bill = made(steps, from_hour, to_hour)
    before, inside = steps[: max(0, from_hour - 1)], steps[: max(0, to_hour - 1)][max(0, from_hour - 1) :]
    assert bill.opening_nano == oracle_balance(before)
    assert bill.closing_nano == oracle_balance(before + inside)
    assert bill.opening_nano + sum(line.amount_nano for line in bill.lines) == bill.closing_nano
    assert bill.used_wh == sum(x for w, x in inside if w == "energy")
    top_ups = [line.amount_nano for line in bill.lines if line.kind is LineKind.TOP_UP]
    assert top_ups == [x for w, x in inside if w == "credit"]


@given(STEPS, st.integers(0, 45))
def test_two_statements_meet_without_a_gap(steps: list[Step], cut: int) -> None:
    first, second, whole = made(steps, 0, cut), made(steps, cut, 60), made(steps, 0, 60)
    assert first.closing_nano == second.opening_nano
    assert first.closing_shown_nano == second.opening_shown_nano
    assert second.closing_nano == whole.closing_nano
    assert first.charged_nano + second.charged_nano == whole.charged_nano


@given(STEPS)
def test_every_charge_line_follows_from_what_it_says(steps: list[Step]) -> None:
    for line in made(steps, 0, 60).lines:
        if line.kind in (LineKind.ENERGY, LineKind.FIXED):
            assert line.price_nano > 0
            assert -line.amount_nano == line.quantity * line.price_nano
        if line.kind in (LineKind.TAX_ENERGY, LineKind.TAX_FIXED):
            assert line.rate_ppm == TAX
            assert abs(Fraction(line.quantity * TAX, 10**6) + line.amount_nano) < 1
        if line.kind is LineKind.ENERGY:
            assert line.first is not None
            assert line.last is not None
            assert line.last.register_wh - line.first.register_wh == line.quantity


@given(STEPS, st.integers(0, 45))
def test_the_printed_column_adds_up_and_each_figure_is_rounded_once(steps: list[Step], cut: int) -> None:
    bill = made(steps, cut, 60)
    assert bill.opening_shown_nano + sum(line.shown_nano for line in bill.lines) == bill.closing_shown_nano
    assert bill.closing_shown_nano == coin(bill.closing_nano, ROUND_FLOOR)
    for line in bill.lines:
        if line.kind is not LineKind.ROUNDING:
            assert line.shown_nano == coin(line.amount_nano, ROUND_HALF_EVEN)


def coin(amount_nano: int, rounding: str) -> int:
    return int(Decimal(amount_nano).scaleb(-9).quantize(Decimal("0.01"), rounding).scaleb(9))


def test_a_change_of_price_makes_two_energy_lines() -> None:
    entries = journal([("credit", 10**11), ("energy", 1_000), ("energy", 2_000)])
    dearer = (Posting(Pool.PAID, -18_000 * 10**6), Posting(Pool.ENERGY, 18_000 * 10**6))
    detail = lines(Line("energy", "energy", 31, 61, 2_000, "Wh", 9_000_000, "kWh", 18_000 * 10**6), 0)
    entries[3] = replace(entries[3], tariff_version=2, postings=dearer, detail=detail)
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, tuple(entries), {}, (), DataQuality()))
    energy = [(line.quantity, line.price_nano) for line in bill.lines if line.kind is LineKind.ENERGY]
    assert energy == [(1_000, 7_000_000), (2_000, 9_000_000)]


def test_a_price_that_does_not_explain_the_amount_is_not_printed() -> None:
    entries = journal([("energy", 1_000)])
    entries[1] = replace(entries[1], detail=lines(Line("energy", "energy", 1, 31, 1_000, "Wh", 1, "kWh", 7_000 * 10**6), 0))
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, tuple(entries), {}, (), DataQuality()))
    assert [line.price_nano for line in bill.lines if line.kind is LineKind.ENERGY] == [0]


def test_charges_from_before_lines_were_kept_stand_with_their_amounts() -> None:
    entries = tuple(replace(e, detail=b"") for e in journal([("energy", 1_000), ("fixed", 2)]))
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, entries, {}, (), DataQuality()))
    amounts = {line.kind: line.amount_nano for line in bill.lines}
    assert amounts == {
        LineKind.ENERGY: -1_000 * PRICE, LineKind.TAX_ENERGY: -tax_between(0, 1_000 * PRICE),
        LineKind.FIXED: -2 * PER_DAY, LineKind.TAX_FIXED: -tax_between(0, 2 * PER_DAY),
    }  # fmt: skip
    assert bill.used_wh == 1_000


def test_slabs_and_other_items_stand_apart_and_energy_is_counted_once() -> None:
    entries = journal([("energy", 1_000)])
    split = (Line("energy", "energy", 1, 31, 600, "Wh", 7_000_000, "kWh", 4_200 * 10**6, slab=1),
             Line("energy", "energy", 1, 31, 400, "Wh", 9_000_000, "kWh", 3_600 * 10**6, slab=2),
             Line("fuel", "energy", 1, 31, 1_000, "Wh", 100_000, "kWh", 100 * 10**6),
             Line("minimum", "minimum", 1, 31, 0, "money", 0, "month", 5 * 10**9))  # fmt: skip
    entries[1] = replace(entries[1], detail=detail_of(record_of(split)))
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, tuple(entries), {}, (), DataQuality()))
    shown = [(line.kind, line.quantity, line.price_nano, line.reference) for line in bill.lines if line.kind is not LineKind.ROUNDING]
    assert shown == [
        (LineKind.ENERGY, 600, 7_000_000, "energy 1"), (LineKind.ENERGY, 400, 9_000_000, "energy 2"),
        (LineKind.ENERGY, 1_000, 100_000, "fuel"), (LineKind.OTHER, 0, 0, "minimum"),
    ]  # fmt: skip
    assert bill.used_wh == 1_000


def test_an_empty_period_has_no_lines_and_keeps_the_balance() -> None:
    bill = made([("credit", 12_345_678_901)], 10, 20)
    assert bill.lines == ()
    assert (bill.opening_nano, bill.closing_nano) == (12_345_678_901, 12_345_678_901)
    assert bill.closing_shown_nano == 12_340_000_000


def test_emergency_credit_pays_a_part_and_is_paid_back_by_a_top_up() -> None:
    """3 of 10 are there, 7 are lent; of 50 paid, 43 are left."""
    used = lines(Line("energy", "energy", 1, 31, 1_000, "Wh", 10_000_000, "kWh", 10 * NANO), 0)
    entries = (
        entry(1, 0, Kind.OPEN, {}, register_before_wh=0, register_after_wh=0),
        entry(2, 1, Kind.CREDIT, {Pool.RECEIVED: -3 * NANO, Pool.PAID: 3 * NANO}, gseq=1),
        entry(3, 2, Kind.ENERGY, {Pool.PAID: -3 * NANO, Pool.EMERGENCY: -7 * NANO, Pool.ENERGY: 10 * NANO}, register_before_wh=0,
              register_after_wh=1_000, detail=used, tariff_version=1),
        entry(4, 3, Kind.CREDIT, {Pool.RECEIVED: -50 * NANO, Pool.EMERGENCY: 7 * NANO, Pool.PAID: 43 * NANO}, gseq=2),
    )  # fmt: skip
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, entries, {}, (), DataQuality()))
    assert [(line.kind, line.amount_nano // NANO) for line in bill.lines if line.amount_nano] == [
        (LineKind.TOP_UP, 3), (LineKind.TOP_UP, 43), (LineKind.EMERGENCY, 7), (LineKind.ENERGY, -10),
    ]  # fmt: skip
    assert bill.closing_nano == 43 * NANO


def test_another_epoch_begins_with_the_balance_of_the_one_before_and_counts_it_once() -> None:
    """The concentrator was replaced at 100; a payment of 30 never reached the old one and came with the new one's opening."""
    first = journal([("credit", 100 * NANO)])
    second = tuple(replace(e, epoch=2) for e in (
        entry(1, 3 * 3_600_000, Kind.CREDIT, {Pool.TRANSFER: -130 * NANO, Pool.PAID: 130 * NANO}, gseq=1),
        entry(2, 4 * 3_600_000, Kind.OPEN, {}, register_before_wh=1_000, register_after_wh=1_000),
        entry(3, 5 * 3_600_000, Kind.CREDIT, {Pool.TRANSFER: -5 * NANO, Pool.PAID: 5 * NANO}, gseq=2),
    ))  # fmt: skip
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, (*first, *second), {}, (), DataQuality()))
    assert [line.amount_nano // NANO for line in bill.lines if line.kind is LineKind.TOP_UP] == [100, 30, 5]
    assert bill.closing_nano == 135 * NANO
    later = statement(StatementInputs(PARTY, 4 * 3_600_000, DAY_MS, (*first, *second), {}, (), DataQuality()))
    assert (later.opening_nano, later.closing_nano) == (130 * NANO, 135 * NANO)


def test_a_debt_has_a_line_with_what_it_is_of_and_one_that_came_along_from_another_concentrator_has_none() -> None:
    entries = journal([("credit", 10**11)])
    for seq, why in ((3, "A-7"), (4, OF_BILLS), (5, CARRIED_OVER)):
        taken = {Pool.TRANSFER: 4 * 10**9, Pool.DEBT_PAYMENT: -4 * 10**9}
        entries.append(entry(seq, seq * 3_600_000, Kind.DEBT, taken, gseq=seq, detail=encode(DebtTaken("payment", why))))
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, tuple(entries), {}, (), DataQuality()))
    taken_on = [(line.amount_nano, line.quantity, line.reference) for line in bill.lines if line.kind is LineKind.DEBT_TAKEN]
    assert taken_on == [(0, 4 * 10**9, "A-7"), (0, 4 * 10**9, "")]
    assert bill.closing_nano == 10**11, "no balance moves"
