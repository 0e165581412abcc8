"""The money of an event in the journal of the supply it is held at: funded, used, given back. Pure.

* What is used in the event is charged to the supply's account like any other use, and the event gives it back at once: the
  owner's balance does not move (C3-S3.7). Where a reading straddles the edge of the event it is shared by time.
* `Pool.EVENT` may go below zero: the overrun, which the requester owes. At the end it is emptied: the rest goes back, or the
  overrun is passed on, by the cloud.
"""

from __future__ import annotations

from gridtally_shared.ledger.entries import Pool, Posting, move
from gridtally_shared.ledger.money_order import PLAIN, spend
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.schedules.windows import Span


def funded(credit_nano: int) -> tuple[Posting, ...]:
    return move(Pool.TRANSFER, Pool.EVENT, credit_nano)


def covered(state: LedgerState, charged_nano: int) -> tuple[Posting, ...]:
    """Gives the account back what it was charged."""
    return spend(state, PLAIN, (Posting(Pool.EVENT, -charged_nano),)) if charged_nano > 0 else ()


def emptied(state: LedgerState) -> tuple[Posting, ...]:
    return move(Pool.EVENT, Pool.TRANSFER, state.pools.get(Pool.EVENT, 0))


def share(amount: int, from_ms: int, to_ms: int, event: Span) -> int:
    """The part of an amount used evenly over [from_ms, to_ms] that falls into the event."""
    if to_ms <= from_ms:
        return amount if event.holds(to_ms) else 0
    inside_ms = max(0, min(to_ms, event.end_ms) - max(from_ms, event.start_ms))
    return amount * inside_ms // (to_ms - from_ms)
