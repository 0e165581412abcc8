"""What a change of the way of paying does to an account's money (prepayment.md T3, 5.8, I26). Pure.

* To regular billing: what is owed (overdraft, emergency credit in use) becomes a debt; the rest of the credit is handed over to
  the bill, so that the next bill holds it. What is lent of a shared wallet goes back there.
* To prepayment nothing moves here: arrears of bills come as an instrument that sets a debt, a deposit comes as credit.
* It happens at the end of a recording interval, with one reading that closes the one way and opens the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.ledger.entries import Pool, Posting
from gridtally_shared.ledger.replay import LedgerState


def postings_of(state: LedgerState, mode: AccountMode) -> tuple[Posting, ...]:
    """The postings of a MODE entry; they sum to zero."""
    if mode is AccountMode.PREPAID:
        return ()
    paid, emergency = state.pools.get(Pool.PAID, 0), state.pools.get(Pool.EMERGENCY, 0)
    rest, owed, lent = max(0, paid), min(0, paid) + emergency, state.pools.get(Pool.RESERVED, 0)
    rows = ((Pool.PAID, -paid), (Pool.RESERVED, -lent), (Pool.EMERGENCY, -emergency), (Pool.TRANSFER, rest + lent), (Pool.DEBT, owed))
    return tuple(Posting(pool, amount) for pool, amount in rows if amount)


def handed_over_nano(postings: Iterable[Posting]) -> int:
    """What of a MODE entry goes to the bills: what was the consumer's own."""
    return sum(p.amount_nano for p in postings if p.pool in (Pool.TRANSFER, Pool.RESERVED))


def boundary_ms(asked_ms: int, interval_ms: int) -> int:
    """The end of the recording interval in which the change was asked for."""
    return (asked_ms // interval_ms + 1) * interval_ms
