"""Asking for the next chunk of a shared wallet: once the reserved money runs low, one ask at a time.

* An ask is numbered 1, 2, 3... and sent until receipted by the outbox; the cloud answers each number with one LEASE, when the
  wallet has money. Until then nothing is asked again.
* What was asked and granted is a cache of the journal's asks and leases; a lease is used down to the last coin, and at zero the
  account's own rules hold. Nothing expires by itself: only a RETURN in the journal gives money back (prepayment.md 5.4).
"""

from __future__ import annotations

from gridtally_edge.prepay.rows import LeaseRow, one, save
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, EntryKind, Lane
from gridtally_shared.contract.prepay_messages import LeaseAsk
from gridtally_shared.ledger.entries import Pool

ASK_AT_PERCENT = 30


def watch(turn: Turn, account: AccountConfig) -> None:
    """Ask for more where the account lives on a shared wallet and its reserve is low."""
    if not account.wallet_no:
        return
    row = _row(turn, account)
    reserved_nano = turn.book(account).state.pools.get(Pool.RESERVED, 0)
    if row.asked > row.granted or (row.granted and reserved_nano * 100 > row.chunk_nano * ASK_AT_PERCENT):
        return
    row.asked += 1
    save(turn.db, row)
    ask = LeaseAsk(account.account_no, account.account_epoch, row.asked, reserved_nano, turn.now_ms)
    turn.outbox.append(EntryKind.LEASE_ASK, ask, Lane.URGENT, turn.now_ms)


def granted(turn: Turn, account: AccountConfig, number: int, amount_nano: int) -> None:
    """A LEASE was applied; number 0 was not asked for."""
    row = _row(turn, account)
    row.granted, row.chunk_nano = max(row.granted, number), amount_nano
    row.asked = max(row.asked, row.granted)
    save(turn.db, row)


def _row(turn: Turn, account: AccountConfig) -> LeaseRow:
    return one(turn.db, LeaseRow, account.account_no, account.account_epoch) or LeaseRow(account.account_no, account.account_epoch)
