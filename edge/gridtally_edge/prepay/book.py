"""One account within one transaction: its cached state, and the entries written to its journal.

The cached state is what a replay of the journal gives; `cli` and the start of the core prove it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import field, fields
from operator import attrgetter
from typing import Any

from gridtally_edge.prepay.rows import AccountRow, JournalRow, one, save, values_of
from gridtally_shared.contract.codec import INT_MAX
from gridtally_shared.contract.messages import AccountHead, JournalRange
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Posting, entry_from, hash_of
from gridtally_shared.ledger.replay import LedgerState, Problem, apply, problem_of, replay
from gridtally_shared.ledger.window import UsedWindow
from gridtally_shared.records import dataclass

_PLAIN = tuple(f.name for f in fields(LedgerState) if f.name not in ("account_no", "epoch", "head", "pools", "used"))
_VALUES = attrgetter(*_PLAIN)

HELD_BACK = "mirror"
"""While a journal does not fit its mirror, its entries stay here: `AccountRow.ledger_fault` begins with this."""


class OwnEntryRefused(ValueError):
    """An entry that does not follow the journal it was meant for: an error of ours, in one account. The transaction ends."""

    def __init__(self, account_no: int, text: str) -> None:
        super().__init__(f"account {account_no}: {text}")
        self.account_no, self.text = account_no, text


@dataclass(frozen=True, slots=True)
class Stamp:
    """When and under which start an entry is written."""

    at_ms: int
    uncertainty_ms: int
    boot_id: bytes
    mono_ms: int


@dataclass(slots=True)
class Book:
    db: sqlite3.Connection
    row: AccountRow
    state: LedgerState
    fresh: list[bytes] = field(default_factory=list)
    stored: tuple[Any, ...] = ()

    def add(self, kind: Kind, stamp: Stamp, postings: tuple[Posting, ...] = (), **fields: Any) -> LedgerEntry:
        """Write the next entry. Raises OwnEntryRefused when it does not follow."""
        entry = LedgerEntry(
            self.row.account_no, self.row.epoch, self.state.seq + 1, self.state.head, kind, stamp.at_ms, postings,
            uncertainty_ms=stamp.uncertainty_ms, boot_id=stamp.boot_id, mono_ms=stamp.mono_ms, **fields,
        )  # fmt: skip
        problem = problem_of(self.state, entry)
        if problem is not None:
            raise OwnEntryRefused(self.row.account_no, f"own entry {problem.seq}: {problem.text}")
        body = entry.to_bytes()
        save(self.db, JournalRow(entry.account_no, entry.epoch, entry.seq, kind, entry.at_ms, entry.register_after_wh, body))
        self.state = apply(self.state, entry, hash_of(body))
        self.fresh.append(body)
        return entry

    def store(self, now_ms: int) -> JournalRange | None:
        """Save the cache if it changed; the range to send upward if entries were written."""
        if self.fresh:
            self.row.state, self.row.as_of_ms = state_text(self.state), now_ms
            self.row.balance_nano, self.row.seq = self.state.balance_nano, self.state.seq
        if values_of(self.row) != self.stored:
            save(self.db, self.row)
        if not self.fresh or self.row.ledger_fault.startswith(HELD_BACK):
            return None
        first = self.state.seq - len(self.fresh) + 1
        return JournalRange(self.row.account_no, self.row.epoch, first, tuple(self.fresh))

    def adopt(self, state: LedgerState) -> None:
        """Go on from the state of other entries, which are stored already (recovery.py)."""
        self.state, self.row.as_of_ms = state, state.at_ms
        self.row.state, self.row.balance_nano, self.row.seq = state_text(state), state.balance_nano, state.seq
        self.fresh.clear()


def open_book(db: sqlite3.Connection, account_no: int, epoch: int) -> Book:
    found = one(db, AccountRow, account_no, epoch)
    return book_from(db, found) if found else Book(db, AccountRow(account_no, epoch), LedgerState(account_no, epoch))


def book_from(db: sqlite3.Connection, row: AccountRow) -> Book:
    return Book(db, row, state_from(row), stored=values_of(row))


def head_of(row: AccountRow) -> AccountHead:
    state = state_from(row)
    return AccountHead(row.account_no, row.epoch, state.seq, state.head, state.used.prefix, state.used.bitmap & (2**63 - 1))


def entries_of(db: sqlite3.Connection, account_no: int, epoch: int) -> list[LedgerEntry]:
    """The account's journal in order. Raises ContractError for a body that is not an entry."""
    return list(entries_from(db, account_no, epoch, 1))


def entries_from(
    db: sqlite3.Connection, account_no: int, epoch: int, from_seq: int, upto_seq: int = INT_MAX
) -> Iterator[LedgerEntry]:
    """The journal from one number to another, in order. Raises ContractError for a body that is not an entry."""
    return map(entry_from, bodies_from(db, account_no, epoch, from_seq, upto_seq))


def bodies_from(db: sqlite3.Connection, account_no: int, epoch: int, from_seq: int, upto_seq: int) -> list[bytes]:
    """The bytes of those entries."""
    query = "SELECT body FROM journal WHERE account_no = ? AND epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq"
    return [body for (body,) in db.execute(query, (account_no, epoch, from_seq, upto_seq)).fetchall()]


def hash_at(db: sqlite3.Connection, account_no: int, epoch: int, seq: int) -> bytes:
    """The hash of an entry as it is stored; GENESIS where there is none."""
    row = one(db, JournalRow, account_no, epoch, seq)
    return hash_of(row.body) if row else GENESIS


def replayed(db: sqlite3.Connection, account_no: int, epoch: int) -> tuple[LedgerState, Problem | None]:
    return replay(account_no, epoch, entries_of(db, account_no, epoch))


def state_text(state: LedgerState) -> str:
    """The cached form of a state: JSON, because a person may want to look at it."""
    plain = dict(zip(_PLAIN, _VALUES(state), strict=True))
    pools = {str(int(k)): v for k, v in sorted(state.pools.items())}
    text = _JSON.encode({"head": state.head.hex(), "pools": pools, "prefix": state.used.prefix, "bitmap": state.used.bitmap, **plain})
    _remember(text, state)
    return text


_JSON = json.JSONEncoder()
RECENT = 1024
_recent: dict[str, LedgerState] = {}
"""What the newest texts say: each names the hash of its last entry, so it is of one state only. A sweep need not read again what the
one before wrote."""


def _remember(text: str, state: LedgerState) -> None:
    if len(_recent) >= RECENT:
        _recent.clear()
    _recent[text] = state


def state_from(row: AccountRow) -> LedgerState:
    """The cached state of an account."""
    known = _recent.get(row.state)
    if known is not None and (known.account_no, known.epoch) == (row.account_no, row.epoch):
        return known
    return state_of(row.account_no, row.epoch, row.state)


def state_of(account_no: int, epoch: int, text: str) -> LedgerState:
    """A cached state. One of an older version lacks what that version could not have changed."""
    if not text:
        return LedgerState(account_no, epoch)
    raw = json.loads(text)
    plain = {name: raw[name] for name in _PLAIN if name in raw}
    return LedgerState(
        account_no, epoch, head=bytes.fromhex(raw["head"]), pools={int(k): v for k, v in raw["pools"].items()},
        used=UsedWindow(raw["prefix"], raw["bitmap"]), **plain,
    )  # fmt: skip
