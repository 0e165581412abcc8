"""Entries of a journal that a person is told however old they are: they stay when the old part is let go (pruning.py).

The newest messages, decisions and switch actions explain why a supply is as it is (display/story.py); the newest credit is shown as the
last top-up; what an open schedule was told is counted from its entries.
"""

from __future__ import annotations

import sqlite3

from gridtally_edge.journal.days import Household
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.rows import AccountRow, JournalRow, one, some
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.messages.explain import TELLING_KINDS

LOOKED_AT = 60
LOOK_BACK = 20_000
"""How many entries back an order may lie that opened the switch."""
_TELLING = ", ".join(str(int(k)) for k in TELLING_KINDS)
_OPEN_SCHEDULE = "SELECT 1 FROM schedule WHERE account_no = ? AND epoch = ? AND stage <> 'over' LIMIT 1"


def story_rows(db: sqlite3.Connection, row: AccountRow) -> list[JournalRow]:
    """The newest messages, decisions and switch actions; and, however many decisions came since, the newest switch actions."""
    clause = f"WHERE account_no = ? AND epoch = ? AND seq > ? AND kind IN ({_TELLING}) ORDER BY seq DESC LIMIT ?"
    key = (row.account_no, row.epoch, row.seq - LOOK_BACK)
    newest = some(db, JournalRow, clause, *key, LOOKED_AT)
    older = "WHERE account_no = ? AND epoch = ? AND seq > ? AND seq < ? AND kind = ? ORDER BY seq DESC LIMIT 4"
    switched = some(db, JournalRow, older, *key, newest[-1].seq, int(Kind.SWITCH)) if len(newest) == LOOKED_AT else []
    return [*newest, *switched]


def household_of(db: sqlite3.Connection, account: AccountConfig) -> Household | None:
    """Whose use may be told as this account's: since its journal was opened. A journal whose opening was let go is older than anything
    that is told."""
    zone, row = zone_of(account.zone), one(db, AccountRow, account.account_no, account.account_epoch)
    if zone is None or row is None or not row.seq:
        return None
    first = one(db, JournalRow, account.account_no, account.account_epoch, 1)
    return Household(account.meter_no, zone, first.at_ms if first is not None else 0)


def newest_of(db: sqlite3.Connection, row: AccountRow, kind: Kind) -> JournalRow | None:
    clause = "WHERE account_no = ? AND epoch = ? AND kind = ? ORDER BY seq DESC LIMIT 1"
    rows = some(db, JournalRow, clause, row.account_no, row.epoch, int(kind))
    return rows[0] if rows else None


def told_below(db: sqlite3.Connection, row: AccountRow, seq: int) -> list[int]:
    """The numbers below `seq` of entries that are still told."""
    credit = newest_of(db, row, Kind.CREDIT)
    found = {r.seq for r in story_rows(db, row)} | ({credit.seq} if credit else set())
    if db.execute(_OPEN_SCHEDULE, (row.account_no, row.epoch)).fetchone():
        clause = "WHERE account_no = ? AND epoch = ? AND seq < ? AND kind = ?"
        found |= {r.seq for r in some(db, JournalRow, clause, row.account_no, row.epoch, seq, int(Kind.SCHEDULE))}
    return sorted(number for number in found if number < seq)
