"""The statement against an oracle that shares no code with it: fractions, plain loops, the journal's raw numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gridtally_cloud.billing.model import Bill, DataQuality, LineKind, Party
from gridtally_cloud.billing.statement import StatementInputs, statement
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool, Posting
from gridtally_shared.tariff.model import Tariff

PARTY = Party(7, "Asha Rao", "7 Acacia Lane", "10000007", "Home", "Asia/Kolkata", "en", "INR")
DAY_MS = 86_400_000
PRICE, PER_DAY, TAX = 7_000_000, 2_500_000_000, 50_000
TARIFF = Tariff("home", 1, "INR", PRICE, PER_DAY, TAX)

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
                         tariff_version=1, register_before_wh=1_000 + used_wh, register_after_wh=1_000 + used_wh + amount)  # fmt: skip
            used_wh += amount
        else:
            net, tax = amount * PER_DAY, tax_between(days * PER_DAY, (days + amount) * PER_DAY)
            made = entry(index + 2, at_ms, Kind.FIXED, {Pool.PAID: -net - tax, Pool.FIXED: net, Pool.TAX: tax}, tariff_version=1)
            days += amount
        entries.append(made)
    return entries


def entry(seq: int, at_ms: int, kind: Kind, moves: dict[Pool, int], **more: int) -> LedgerEntry:
    return LedgerEntry(7, 1, seq, GENESIS, kind, at_ms, tuple(Posting(p, a) for p, a in moves.items()), **more)  # type: ignore[arg-type]


def made(steps: list[Step], from_hour: int, to_hour: int) -> Bill:
    entries = tuple(journal(steps))
    span = (from_hour * 3_600_000, to_hour * 3_600_000)
    return statement(StatementInputs(PARTY, *span, entries, {1: TARIFF}, {}, (), DataQuality()))


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
    entries[3] = replace(entries[3], tariff_version=2, postings=dearer)
    tariffs = {1: TARIFF, 2: Tariff("home", 2, "INR", 9_000_000, 0, 0)}
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, tuple(entries), tariffs, {}, (), DataQuality()))
    energy = [(line.quantity, line.price_nano) for line in bill.lines if line.kind is LineKind.ENERGY]
    assert energy == [(1_000, 7_000_000), (2_000, 9_000_000)]


def test_a_price_that_does_not_explain_the_amount_is_not_printed() -> None:
    entries = journal([("energy", 1_000)])
    bill = statement(StatementInputs(PARTY, 0, DAY_MS, tuple(entries), {1: replace(TARIFF, energy_nano_per_wh=1)}, {}, (),
                                     DataQuality()))  # fmt: skip
    assert [line.price_nano for line in bill.lines if line.kind is LineKind.ENERGY] == [0]


def test_an_empty_period_has_no_lines_and_keeps_the_balance() -> None:
    bill = made([("credit", 12_345_678_901)], 10, 20)
    assert bill.lines == ()
    assert (bill.opening_nano, bill.closing_nano) == (12_345_678_901, 12_345_678_901)
    assert bill.closing_shown_nano == 12_340_000_000
