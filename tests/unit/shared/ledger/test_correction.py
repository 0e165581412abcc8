"""A signed correction of past charges: nothing created, and never a lower balance (safety.md 16)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.ledger.correction import corrected
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState, apply, problem_of

AMOUNT = st.integers(-(10**13), 10**13).filter(bool)
POOLS = st.fixed_dictionaries({
    Pool.PAID: st.integers(-(10**12), 10**12), Pool.RESERVED: st.integers(0, 10**12), Pool.EMERGENCY: st.integers(-(10**12), 0),
    Pool.DEBT: st.integers(-(10**12), 0), Pool.DEBT_PAYMENT: st.integers(-(10**12), 0),
})  # fmt: skip


def after(pools: dict[int, int], amount_nano: int) -> tuple[LedgerState, LedgerState]:
    state = LedgerState(7, 1, pools=dict(pools))
    entry = LedgerEntry(7, 1, 1, state.head, Kind.CORRECTION, 0, corrected(state, amount_nano), gseq=1)
    assert problem_of(state, entry) is None
    return state, apply(state, entry)


@given(POOLS, AMOUNT)
def test_it_sums_to_zero_and_what_was_charged_changes_by_exactly_the_amount(pools: dict[int, int], amount_nano: int) -> None:
    before, found = after(pools, amount_nano)
    assert sum(found.pools.values()) == sum(before.pools.values())
    assert found.pools[Pool.ENERGY] == -amount_nano


@given(POOLS, AMOUNT)
def test_it_never_lowers_the_balance(pools: dict[int, int], amount_nano: int) -> None:
    before, found = after(pools, amount_nano)
    assert found.balance_nano >= before.balance_nano
    assert found.emergency_used_nano <= before.emergency_used_nano
    if amount_nano < 0:
        assert found.balance_nano == before.balance_nano
        assert found.debt_nano - before.debt_nano == -amount_nano
        assert owed(found, Pool.DEBT_PAYMENT) - owed(before, Pool.DEBT_PAYMENT) == -amount_nano


def test_what_is_given_back_pays_overdraft_and_emergency_credit_first() -> None:
    _, found = after({Pool.PAID: -30, Pool.EMERGENCY: -50}, 100)
    assert (found.pools[Pool.PAID], found.pools[Pool.EMERGENCY]) == (20, 0)
