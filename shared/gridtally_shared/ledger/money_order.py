"""In which order money is taken and given: the waterfalls of prepayment.md 3.4 as postings. Pure.

* `spend`: what a charge costs comes from the credit pools in the order of the rules, each down to its limit: what is paid, what
  is reserved, emergency credit that is in use. What is left goes below zero in `PAID`: energy used is always charged.
  A charge for days is a debt instead while the rules do not collect it (a supply that is off, say); the next top-up pays it first.
* `top_up`: the share of the debt by payment while under its cap of the period, unpaid debts, overdraft, emergency credit, and
  only then `PAID` grows (I22, I23).
* `bring`: what an account brings along from elsewhere. What was below zero there takes emergency credit first, as it did, so that none is
  granted twice; what comes in pays it back first.
* `collect`: the debt by time, once a period; it takes what is there and never causes a cut unless the rules say so.
* `take_back`: a refund or chargeback takes what is there; the rest becomes a debt, never a rewritten past.

Postings of each sum to zero, with one row per pool; a pool that does not move has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gridtally_shared.ledger.entries import OWN, Pool, Posting
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.records import dataclass

PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class MoneyRules:
    """What of a policy the money order needs, as it holds now. `emergency_nano` is how much emergency credit may be used in
    all, 0 while it is not taken. `period` is the number of the present collection period (0: no cap is kept),
    `payment_cap_nano` what the debt by payment may take in one, `time_rate_nano` what the debt by time takes in one. `fixed_waits`:
    charges for days are not collected now, they become a debt."""

    order: tuple[Pool, ...] = (Pool.PAID, Pool.RESERVED, Pool.EMERGENCY)
    emergency_nano: int = 0
    payment_ppm: int = 0
    payment_cap_nano: int | None = None
    time_rate_nano: int = 0
    period: int = 0
    debt_may_cut: bool = False
    fixed_waits: bool = False


OF_DAYS = frozenset({Pool.FIXED, Pool.TAX, Pool.SUBSIDY})
"""Pools that a charge for days moves into: the fixed part, what is taxed and what is subsidised of it."""
PLAIN = MoneyRules()
"""One pool, no emergency credit, no debts that are collected."""


def spend(state: LedgerState, rules: MoneyRules, charges: Sequence[Posting]) -> tuple[Posting, ...]:
    """Postings that pay `charges` (where the money goes, in their order). A sum below zero gives money back, overdraft and
    emergency credit first."""
    due_nano = sum(charge.amount_nano for charge in charges)
    if due_nano < 0:
        return _joined((*charges, *_refill(state, -due_nano)))
    if rules.fixed_waits and OF_DAYS.issuperset(charge.pool for charge in charges):
        return _joined((Posting(Pool.DEBT, -due_nano), *charges))
    taken: list[Posting] = []
    left_nano = due_nano
    for pool in rules.order:
        part_nano = min(left_nano, _available(state, rules, pool))
        taken.append(Posting(pool, -part_nano))
        left_nano -= part_nano
    return _joined((*taken, Posting(Pool.PAID, -left_nano), *charges))


def top_up(state: LedgerState, rules: MoneyRules, amount_nano: int, source: Pool = Pool.RECEIVED) -> tuple[Posting, ...]:
    """Postings that bring in `amount_nano`. Raises ValueError for a negative one."""
    if amount_nano < 0:
        raise ValueError(f"a top-up of {amount_nano}: what takes money is take_back")
    share_nano = min(payment_share(state, rules, amount_nano), amount_nano)
    debt_nano = min(amount_nano - share_nano, owed(state, Pool.DEBT))
    rest_nano = amount_nano - share_nano - debt_nano
    given = (Posting(Pool.DEBT_PAYMENT, share_nano), Posting(Pool.DEBT, debt_nano), *_refill(state, rest_nano))
    return _joined((Posting(source, -amount_nano), *given))


def bring(state: LedgerState, rules: MoneyRules, amount_nano: int) -> tuple[Posting, ...]:
    """Postings that bring a balance along, which may be below zero."""
    if amount_nano < 0:
        return spend(state, rules, (Posting(Pool.TRANSFER, -amount_nano),))
    return _joined((Posting(Pool.TRANSFER, -amount_nano), *_refill(state, amount_nano)))


def collect(state: LedgerState, rules: MoneyRules) -> tuple[Posting, ...]:
    """The debt by time of one period; empty where nothing is owed, nothing is there, or the period was collected."""
    if rules.period <= state.time_period:
        return ()
    there_nano = max(0, sum(_available(state, rules, pool) for pool in OWN))
    part_nano = min(rules.time_rate_nano, owed(state, Pool.DEBT_TIME))
    if not rules.debt_may_cut:
        part_nano = min(part_nano, max(0, there_nano - 1))
    return spend(state, rules, (Posting(Pool.DEBT_TIME, part_nano),)) if part_nano > 0 else ()


def take_back(state: LedgerState, amount_nano: int, target: Pool = Pool.RECEIVED) -> tuple[Posting, ...]:
    """Postings that take `amount_nano` out again. What is not there becomes a debt. Raises ValueError for a negative one."""
    if amount_nano < 0:
        raise ValueError(f"taking back {amount_nano}: what brings money is top_up")
    paid_nano = min(amount_nano, max(0, state.pools.get(Pool.PAID, 0)))
    return _joined((Posting(Pool.PAID, -paid_nano), Posting(Pool.DEBT, paid_nano - amount_nano), Posting(target, amount_nano)))


def payment_share(state: LedgerState, rules: MoneyRules, amount_nano: int) -> int:
    """What the debt by payment takes of a top-up: its percentage, at most what the period's cap leaves and what is owed."""
    share_nano = amount_nano * rules.payment_ppm // PPM
    if rules.payment_cap_nano is not None:
        same = rules.period == state.payment_period
        share_nano = min(share_nano, max(0, rules.payment_cap_nano - (state.payment_taken_nano if same else 0)))
    return min(share_nano, owed(state, Pool.DEBT_PAYMENT))


def owed(state: LedgerState, pool: Pool) -> int:
    """What is owed in a pool of debt, as a positive amount."""
    return max(0, -state.pools.get(pool, 0))


def emergency_left(state: LedgerState, rules: MoneyRules) -> int:
    return max(0, rules.emergency_nano - owed(state, Pool.EMERGENCY))


def _available(state: LedgerState, rules: MoneyRules, pool: Pool) -> int:
    if pool == Pool.EMERGENCY:
        return emergency_left(state, rules)
    return max(0, state.pools.get(pool, 0))


def _refill(state: LedgerState, amount_nano: int) -> tuple[Posting, ...]:
    """Overdraft, emergency credit, then the balance."""
    overdraft_nano = min(amount_nano, owed(state, Pool.PAID))
    emergency_nano = min(amount_nano - overdraft_nano, owed(state, Pool.EMERGENCY))
    return (Posting(Pool.EMERGENCY, emergency_nano), Posting(Pool.PAID, amount_nano - emergency_nano))


def _joined(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    """One row per pool, in the order of their first mention."""
    sums: dict[int, int] = {}
    for posting in postings:
        sums[posting.pool] = sums.get(posting.pool, 0) + posting.amount_nano
    return tuple(Posting(pool, amount) for pool, amount in sums.items() if amount)
