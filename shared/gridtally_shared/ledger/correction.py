"""What a signed correction of past charges does to an account's money (safety.md 16). Pure.

* A clock that was wrong, a tariff that was wrong, a reading that was restated: the past is not rewritten. The cloud signs the difference
  and the journal gets an entry for it.
* In the consumer's favour it pays what is owed first and then raises the balance, like energy given back.
* Against the consumer it never touches the balance: it becomes a debt by payment, collected out of top-ups under the cap of the policy.
"""

from __future__ import annotations

from gridtally_shared.ledger.entries import Pool, Posting, move
from gridtally_shared.ledger.money_order import PLAIN, spend
from gridtally_shared.ledger.replay import LedgerState


def corrected(state: LedgerState, amount_nano: int) -> tuple[Posting, ...]:
    """The postings of a correction; `amount_nano` above zero is in the consumer's favour. They sum to zero."""
    if amount_nano > 0:
        return spend(state, PLAIN, (Posting(Pool.ENERGY, -amount_nano),))
    return move(Pool.DEBT_PAYMENT, Pool.ENERGY, -amount_nano)
