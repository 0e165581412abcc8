"""Asking for the next chunk of a shared wallet: once the reserved money runs low, one ask at a time.

* An ask is numbered 1, 2, 3... and sent until receipted by the outbox; the cloud answers each number with one LEASE, when the
  wallet has money. One that finds no answer for hours while the cloud is heard is asked anew, under the next number: it may have been
  lost with a store that was put back.
* What was asked and granted is a cache of the journal's asks and leases: a healed journal tells it anew. A lease is used down to the last
  coin, and at zero the account's own rules hold. Nothing expires by itself: only the journal gives money back, by a RETURN, or by the MODE
  that ends prepayment (prepayment.md 5.4).
* One that was refused is answered too. It is asked for again when there is room for as much. Who is billed asks for nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from gridtally_edge.prepay.rows import LeaseRow, one, save
from gridtally_edge.prepay.rules import policy_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import AccountConfig, EntryKind, Instrument, InstrumentType, Lane
from gridtally_shared.contract.prepay_messages import AccountMode, LeaseAsk
from gridtally_shared.instruments.details import LeaseGrant
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.ledger.replay import LedgerState

ASK_AT_PERCENT = 30
ASK_ANEW_MS = 6 * MS_PER_HOUR
BILLED = "billed"


def watch(turn: Turn, account: AccountConfig) -> None:
    """Ask for more where the account lives on a shared wallet and its reserve is low."""
    if not account.wallet_no:
        return
    row, state = _row(turn.db, account.account_no, account.account_epoch), turn.book(account).state
    if _is_billed(account, state):
        _forget(turn, row)
    elif _is_due(turn, account, row, state):
        row.asked += 1
        save(turn.db, row)
        turn.remember(_asked_ms(account), turn.now_ms)
        ask = LeaseAsk(account.account_no, account.account_epoch, row.asked, _reserved_nano(state), turn.now_ms)
        turn.outbox.append(EntryKind.LEASE_ASK, ask, Lane.URGENT, turn.now_ms)


def granted(turn: Turn, account: AccountConfig, number: int, amount_nano: int) -> None:
    """A LEASE was applied; number 0 was not asked for."""
    _note(turn.db, _row(turn.db, account.account_no, account.account_epoch), number, amount_nano)


def refused(turn: Turn, instrument: Instrument) -> None:
    """A LEASE was refused for good: nothing more comes under its number."""
    row = _row(turn.db, instrument.account_no, instrument.account_epoch)
    _note(turn.db, row, detail_of(instrument).number, instrument.amount_nano)


def retold(db: sqlite3.Connection, entries: Iterable[LedgerEntry]) -> None:
    """Entries of the mirror took the place of ours: what they say was granted."""
    for entry in entries:
        if entry.kind == Kind.TRANSFER and entry.detail:
            amount_nano = -sum(p.amount_nano for p in entry.postings if p.pool == Pool.TRANSFER)
            _note(db, _row(db, entry.account_no, entry.epoch), decode(LeaseGrant, entry.detail).number, amount_nano)


def why_refused(instrument: Instrument, account: AccountConfig, state: LedgerState) -> str:
    """Money of a wallet is for who pays ahead; '' where it is welcome, and for other instruments."""
    return BILLED if instrument.type == InstrumentType.LEASE and _is_billed(account, state) else ""


def _is_billed(account: AccountConfig, state: LedgerState) -> bool:
    """By the journal; before it is opened, by the configuration."""
    return (account.mode if state.opened_wh is None else state.mode) == AccountMode.POSTPAID


def _is_due(turn: Turn, account: AccountConfig, row: LeaseRow, state: LedgerState) -> bool:
    if row.asked > row.granted and not (turn.link.online and turn.since_ms(_asked_ms(account)) >= ASK_ANEW_MS):
        return False
    low = not row.chunk_nano or _reserved_nano(state) * 100 <= row.chunk_nano * ASK_AT_PERCENT
    return low and _has_room(turn, account, row, state)


def _has_room(turn: Turn, account: AccountConfig, row: LeaseRow, state: LedgerState) -> bool:
    """Whether as much as the last time would not be too much for the account."""
    most_nano = policy_of(turn, account).policy.topup.max_balance_nano
    return most_nano is None or state.balance_nano <= 0 or most_nano - state.balance_nano >= row.chunk_nano


def _forget(turn: Turn, row: LeaseRow) -> None:
    """What was asked before billing is asked anew behind it."""
    if row.asked > row.granted:
        row.granted = row.asked
        save(turn.db, row)


def _note(db: sqlite3.Connection, row: LeaseRow, number: int, amount_nano: int) -> None:
    row.granted, row.chunk_nano = max(row.granted, number), amount_nano
    row.asked = max(row.asked, row.granted)
    save(db, row)


def _row(db: sqlite3.Connection, account_no: int, epoch: int) -> LeaseRow:
    return one(db, LeaseRow, account_no, epoch) or LeaseRow(account_no, epoch)


def _reserved_nano(state: LedgerState) -> int:
    return state.pools.get(Pool.RESERVED, 0)


def _asked_ms(account: AccountConfig) -> str:
    return f"lease_asked_ms:{account.account_no}"
