"""The waterfalls of prepayment.md 3.4: sums of zero, nothing created, and the exact order (I5, I22, I23)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, Posting
from gridtally_shared.ledger.money_order import PLAIN, MoneyRules, collect, owed, payment_share, spend, take_back, top_up
from gridtally_shared.ledger.replay import LedgerState, apply, problem_of

AMOUNT = st.integers(0, 10**12)
OWED = st.integers(-(10**12), 0)


@st.composite
def states(draw: st.DrawFn) -> LedgerState:
    pools = {
        Pool.PAID: draw(st.integers(-(10**12), 10**12)), Pool.RESERVED: draw(AMOUNT), Pool.EMERGENCY: draw(OWED),
        Pool.DEBT: draw(OWED), Pool.DEBT_TIME: draw(OWED), Pool.DEBT_PAYMENT: draw(OWED),
    }  # fmt: skip
    taken = draw(AMOUNT)
    return LedgerState(7, 1, pools=dict(pools), payment_period=draw(st.integers(0, 2)), payment_taken_nano=taken)


RULES = st.builds(
    MoneyRules,
    order=st.permutations([Pool.PAID, Pool.RESERVED, Pool.EMERGENCY]).map(tuple),
    emergency_nano=AMOUNT, payment_ppm=st.integers(0, 1_000_000), payment_cap_nano=st.none() | AMOUNT,
    time_rate_nano=AMOUNT, period=st.integers(0, 3), debt_may_cut=st.booleans(),
)  # fmt: skip
CHARGES = st.lists(
    st.tuples(st.sampled_from([Pool.ENERGY, Pool.TAX, Pool.FIXED, Pool.SUBSIDY, Pool.DEMAND]), st.integers(-(10**11), 10**11)), max_size=4
).map(lambda rows: tuple(Posting(pool, amount) for pool, amount in rows))


def after(state: LedgerState, postings: tuple[Posting, ...], kind: Kind = Kind.CORRECTION, period: int = 0) -> LedgerState:
    entry = LedgerEntry(7, 1, state.seq + 1, state.head, kind, 0, postings, period=period)
    assert problem_of(state, entry) is None
    return apply(state, entry)


def moved(postings: tuple[Posting, ...]) -> dict[int, int]:
    found = {p.pool: p.amount_nano for p in postings}
    assert len(found) == len(postings), "one row per pool"
    return found


def cheap(**pools: int) -> LedgerState:
    return LedgerState(7, 1, pools={Pool[name]: amount for name, amount in pools.items()})


@given(states(), RULES, CHARGES)
def test_a_charge_is_paid_to_the_nano_and_emergency_credit_never_above_its_limit(
    state: LedgerState, rules: MoneyRules, charges: tuple[Posting, ...]
) -> None:
    postings = spend(state, rules, charges)
    assert sum(p.amount_nano for p in postings) == 0
    found = after(state, postings)
    for pool in {c.pool for c in charges}:
        assert found.pools.get(pool, 0) - state.pools.get(pool, 0) == sum(c.amount_nano for c in charges if c.pool == pool)
    assert owed(found, Pool.EMERGENCY) <= max(rules.emergency_nano, owed(state, Pool.EMERGENCY))
    assert all(found.pools.get(pool, 0) == state.pools.get(pool, 0) for pool in (Pool.DEBT, Pool.DEBT_TIME, Pool.DEBT_PAYMENT))
    went_below = found.pools.get(Pool.PAID, 0) < min(0, state.pools[Pool.PAID])
    if went_below:
        assert found.pools[Pool.RESERVED] == 0
        assert owed(found, Pool.EMERGENCY) >= rules.emergency_nano


@given(states(), RULES, AMOUNT)
def test_a_top_up_pays_in_order_and_paid_grows_last(state: LedgerState, rules: MoneyRules, amount: int) -> None:
    found = after(state, top_up(state, rules, amount))
    assert sum(found.pools.values()) == sum(state.pools.values())
    assert found.pools.get(Pool.RECEIVED, 0) == -amount
    share = found.pools[Pool.DEBT_PAYMENT] - state.pools[Pool.DEBT_PAYMENT]
    assert share == payment_share(state, rules, amount) <= owed(state, Pool.DEBT_PAYMENT)
    if found.pools[Pool.PAID] > max(0, state.pools[Pool.PAID]):
        assert owed(found, Pool.EMERGENCY) == owed(found, Pool.DEBT) == 0
    if found.pools[Pool.EMERGENCY] > state.pools[Pool.EMERGENCY]:
        assert owed(found, Pool.PAID) == owed(found, Pool.DEBT) == 0
    if owed(found, Pool.PAID) < owed(state, Pool.PAID):
        assert owed(found, Pool.DEBT) == 0


@given(states(), RULES, st.lists(AMOUNT, max_size=6))
def test_the_debt_by_payment_takes_at_most_its_cap_of_a_period(state: LedgerState, rules: MoneyRules, amounts: list[int]) -> None:
    rules = replace(rules, period=7)
    before = owed(state, Pool.DEBT_PAYMENT)
    for amount in amounts:
        state = after(state, top_up(state, rules, amount), period=rules.period)
    taken = before - owed(state, Pool.DEBT_PAYMENT)
    assert taken == (state.payment_taken_nano if state.payment_period == 7 else 0)
    assert rules.payment_cap_nano is None or taken <= rules.payment_cap_nano


@given(states(), RULES)
def test_the_debt_by_time_is_collected_once_a_period_and_cuts_nobody(state: LedgerState, rules: MoneyRules) -> None:
    rules = replace(rules, period=rules.period + 1)
    postings = collect(state, rules)
    found = after(state, postings, Kind.DEBT, rules.period)
    taken = owed(state, Pool.DEBT_TIME) - owed(found, Pool.DEBT_TIME)
    assert 0 <= taken <= rules.time_rate_nano
    assert collect(found, rules) == ()
    if postings and not rules.debt_may_cut:
        assert found.balance_nano > 0 or state.pools[Pool.PAID] < 0
        assert owed(found, Pool.PAID) == owed(state, Pool.PAID)


@given(states(), AMOUNT)
def test_what_is_taken_back_comes_from_the_balance_and_else_becomes_a_debt(state: LedgerState, amount: int) -> None:
    found = after(state, take_back(state, amount))
    assert found.pools.get(Pool.RECEIVED, 0) == amount
    assert found.pools[Pool.PAID] >= min(0, state.pools[Pool.PAID])
    assert owed(found, Pool.DEBT) == owed(state, Pool.DEBT) + max(0, amount - max(0, state.pools[Pool.PAID]))


def test_a_charge_walks_the_pools_in_the_order_of_the_rules() -> None:
    state, rules = cheap(PAID=30, RESERVED=20), MoneyRules(emergency_nano=40)
    charges = (Posting(Pool.ENERGY, 90), Posting(Pool.TAX, 9))
    assert moved(spend(state, rules, charges)) == {
        Pool.PAID: -39, Pool.RESERVED: -20, Pool.EMERGENCY: -40, Pool.ENERGY: 90, Pool.TAX: 9
    }  # fmt: skip
    first_reserved = replace(rules, order=(Pool.RESERVED, Pool.PAID))
    assert moved(spend(state, first_reserved, (Posting(Pool.ENERGY, 25),))) == {Pool.RESERVED: -20, Pool.PAID: -5, Pool.ENERGY: 25}
    assert spend(state, rules, ()) == ()


def test_a_top_up_of_an_account_that_owes_everywhere() -> None:
    state = cheap(PAID=-10, EMERGENCY=-20, DEBT=-5, DEBT_PAYMENT=-100)
    rules = MoneyRules(payment_ppm=200_000, payment_cap_nano=12, period=3)
    assert moved(top_up(state, rules, 100)) == {
        Pool.RECEIVED: -100, Pool.DEBT_PAYMENT: 12, Pool.DEBT: 5, Pool.EMERGENCY: 20, Pool.PAID: 63
    }  # fmt: skip
    assert moved(top_up(state, rules, 20)) == {
        Pool.RECEIVED: -20, Pool.DEBT_PAYMENT: 4, Pool.DEBT: 5, Pool.PAID: 10, Pool.EMERGENCY: 1
    }  # fmt: skip


def test_money_that_a_subsidy_gives_back_pays_overdraft_and_emergency_first() -> None:
    state = cheap(PAID=-10, EMERGENCY=-5)
    assert moved(spend(state, PLAIN, (Posting(Pool.SUBSIDY, -25),))) == {Pool.SUBSIDY: -25, Pool.EMERGENCY: 5, Pool.PAID: 20}


def test_a_negative_amount_is_an_error_of_ours() -> None:
    for wrong in (lambda: top_up(cheap(), PLAIN, -1), lambda: take_back(cheap(), -1)):
        with pytest.raises(ValueError, match="-1"):
            wrong()
