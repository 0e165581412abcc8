"""The old part of a journal is let go, so that a store does not grow without end (prepayment.md 5.5).

* Only below a checkpoint that the cloud countersigned, whose seal covers the whole state, and that is older than the time for which
  entries are kept (`keep_journal_days`); so the cloud has verified every entry below it. None of them may still wait for its receipt, the
  journal must be whole and agree with the mirror, and our clock must be believed. Otherwise everything stays, and `due` says why.
* First the opening is stored, then entries go, a few with each tick: no sweep waits for it. A power cut in between leaves a journal that
  begins with the checkpoint and has some rows below it, which go with the next ticks.
* What is still told to people stays (told.py). What was set aside as evidence is not touched, nor is any event.
* The file does not become smaller: its free pages are used again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from gridtally_edge.prepay import recovery
from gridtally_edge.prepay.opening import Keys, first_kept, vouched
from gridtally_edge.prepay.recovery_rows import CheckpointRow, OpeningRow, RecoveryRow
from gridtally_edge.prepay.rows import AccountRow, one, save, some
from gridtally_edge.prepay.told import told_below
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import ClockState
from gridtally_shared.contract.prepay_messages import Checkpoint
from gridtally_shared.errors import ContractError

LOOKED_AT_ONCE = 20
LET_GO_AT_ONCE = 400
NOTHING_OLD = "nothing is older"
NOT_SIGNED = "the cloud has countersigned no checkpoint that is old enough"
_LOOKED_NO, _LOOKED_MS = "journal_looked_no", "journal_looked_ms"
_NEXT = """WHERE account_no IN (SELECT DISTINCT account_no FROM account WHERE account_no > ? ORDER BY account_no LIMIT ?)
    ORDER BY account_no, epoch"""
_GOOD = """WHERE account_no = ? AND epoch = ? AND cloud <> x'' AND running IS NOT NULL AND made_ms <= ? AND seq > ?
    ORDER BY seq DESC LIMIT 1"""
Waiting = Mapping[tuple[int, int], int]
"""The first entry of each account that still waits for its receipt."""


def prune(turn: Turn) -> None:
    """With each tick: look at some accounts, once a day at each; let some entries go."""
    if turn.identity.signer is None or turn.clock.state is ClockState.UNTRUSTED:
        return
    if turn.since_ms(_LOOKED_MS) >= MS_PER_DAY:
        _look(turn)
    _let_go(turn)


def _look(turn: Turn) -> None:
    after = turn.fact(_LOOKED_NO)
    rows = some(turn.db, AccountRow, _NEXT, after, LOOKED_AT_ONCE)
    waiting = recovery.waiting(turn) if rows else {}
    for row in rows:
        found = due(turn.db, row, turn.now_ms - turn.identity.keep_journal_ms, turn.identity.checkpoint_keys, waiting)
        if isinstance(found, CheckpointRow):
            _open(turn, row, found)
    more = len({row.account_no for row in rows}) == LOOKED_AT_ONCE
    turn.remember(_LOOKED_NO, rows[-1].account_no if more else 0)
    if not more:
        turn.remember(_LOOKED_MS, turn.now_ms)


def due(db: sqlite3.Connection, row: AccountRow, before_ms: int, keys: Keys, waiting: Waiting | None) -> CheckpointRow | str:
    """The checkpoint a journal is to begin with, or why everything in it stays. `waiting`: None where too much waits to know."""
    key = (row.account_no, row.epoch)
    if not _is_older(db, row, before_ms):
        return NOTHING_OLD
    if row.ledger_fault or one(db, RecoveryRow, *key) is not None:
        return f"it is not whole: {row.ledger_fault or 'it is being healed'}"
    found = some(db, CheckpointRow, _GOOD, *key, before_ms, first_kept(db, *key))
    if not found:
        return NOT_SIGNED
    if waiting is None or waiting.get(key, found[0].seq + 1) <= found[0].seq:
        return "entries of it still wait for the cloud's receipt"
    return found[0] if not (fault := _fault(found[0], keys)) else fault


def why_kept(db: sqlite3.Connection, row: AccountRow, before_ms: int, keys: Keys) -> str:
    """Why entries from before then are still here; empty where there are none, or where they may go."""
    found = due(db, row, before_ms, keys, {})
    return found if isinstance(found, str) and found != NOTHING_OLD else ""


def _is_older(db: sqlite3.Connection, row: AccountRow, before_ms: int) -> bool:
    """The entry a pruned journal begins with does not count: it stays."""
    begins = first_kept(db, row.account_no, row.epoch)
    query = "SELECT at_ms FROM journal WHERE account_no = ? AND epoch = ? AND seq >= ? ORDER BY seq LIMIT 1"
    found = db.execute(query, (row.account_no, row.epoch, begins + (begins > 1))).fetchone()
    return found is not None and found[0] <= before_ms


def _fault(found: CheckpointRow, keys: Keys) -> str:
    try:
        vouched(found, keys)
        return "" if decode(Checkpoint, found.payload).seal else NOT_SIGNED
    except ContractError as error:
        return str(error)


def _open(turn: Turn, row: AccountRow, found: CheckpointRow) -> None:
    kept = json.dumps(told_below(turn.db, row, found.seq))
    save(turn.db, OpeningRow(row.account_no, row.epoch, found.seq, kept, 0, turn.now_ms))
    older = "DELETE FROM checkpoint WHERE account_no = ? AND epoch = ? AND seq < ?"
    turn.db.execute(older, (row.account_no, row.epoch, found.seq))


def _let_go(turn: Turn) -> None:
    for row in some(turn.db, OpeningRow, "WHERE done = 0 ORDER BY account_no, epoch LIMIT 1"):
        key, kept = (row.account_no, row.epoch), frozenset(json.loads(row.kept))
        query = "SELECT seq FROM journal WHERE account_no = ? AND epoch = ? AND seq < ? ORDER BY seq LIMIT ?"
        found = turn.db.execute(query, (*key, row.seq, LET_GO_AT_ONCE + len(kept))).fetchall()
        going = [(*key, seq) for (seq,) in found if seq not in kept][:LET_GO_AT_ONCE]
        turn.db.executemany("DELETE FROM journal WHERE account_no = ? AND epoch = ? AND seq = ?", going)
        if len(going) < LET_GO_AT_ONCE:
            row.done = 1
            save(turn.db, row)
