"""Where an account's journal begins: with its first entry or, once older ones were let go (pruning.py), with a checkpoint.

* Such a checkpoint stays with the journal, and so does the entry it is of: the next one hangs on its hash. The state it holds is the one
  whose seal was signed, so a replay from there is as good as one from the first entry.
* A signature counts by the cloud's key or, when that was changed since, by this box's own over the same bytes.

Source: prepayment.md 5.5.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from gridtally_edge.prepay.book import entries_from, hash_at, state_of
from gridtally_edge.prepay.recovery_rows import CheckpointRow, OpeningRow
from gridtally_edge.prepay.rows import one
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.prepay_messages import Checkpoint
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.replay import LedgerState, Problem, replay_on
from gridtally_shared.ledger.seal import seal_of
from gridtally_shared.signing import verify1

CHANNEL = "checkpoint"
FAULT = "checkpoint"
Keys = Mapping[bytes, bytes]
"""Key id -> public key."""


def first_kept(db: sqlite3.Connection, account_no: int, epoch: int) -> int:
    """The number of the first entry of the unbroken part; 1 where all are kept."""
    row = one(db, OpeningRow, account_no, epoch)
    return row.seq if row else 1


def begin_of(db: sqlite3.Connection, account_no: int, epoch: int, keys: Keys | None) -> LedgerState:
    """The state a replay begins with. `keys`: whose signature is asked for, None where it was before. Raises ContractError."""
    row = one(db, OpeningRow, account_no, epoch)
    if row is None:
        return LedgerState(account_no, epoch)
    state = vouched(checkpoint_at(db, row), keys)
    if hash_at(db, account_no, epoch, row.seq) != state.head:
        raise ContractError(f"{FAULT}: entry {row.seq}, with which the journal begins, is not the signed one")
    return state


def checkpoint_at(db: sqlite3.Connection, row: OpeningRow) -> CheckpointRow:
    """The checkpoint of an opening. Raises ContractError."""
    found = one(db, CheckpointRow, row.account_no, row.epoch, row.seq)
    if found is None:
        raise ContractError(f"{FAULT}: the one of entry {row.seq}, with which the journal begins, is gone")
    return found


def vouched(row: CheckpointRow, keys: Keys | None) -> LedgerState:
    """The state of a checkpoint that is signed and says the same. Raises ContractError."""
    given, state = decode(Checkpoint, row.payload), state_of(row.account_no, row.epoch, row.state)
    if (given.seq, given.entry_hash) != (state.seq, state.head) or (given.seal and given.seal != seal_of(state)):
        raise ContractError(f"{FAULT}: the state kept with the one of entry {row.seq} is not the signed one")
    if keys is not None and not any(_signed(keys, envelope, row.payload) for envelope in (row.cloud, row.own)):
        raise ContractError(f"{FAULT}: the one of entry {row.seq} is not signed by a key that is known here")
    return state


def _signed(keys: Keys, envelope: bytes, payload: bytes) -> bool:
    try:
        return verify1(keys, CHANNEL, envelope) == payload
    except ContractError:
        return False


def replayed(db: sqlite3.Connection, account_no: int, epoch: int, keys: Keys | None) -> tuple[LedgerState, Problem | None]:
    """The journal replayed from where it begins. Raises ContractError for an opening or an entry that can not be read."""
    begin = begin_of(db, account_no, epoch, keys)
    return replay_on(begin, entries_from(db, account_no, epoch, begin.seq + 1))
