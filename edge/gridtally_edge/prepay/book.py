"""One account within one transaction: its cached state, and the entries written to its journal.

The cached state is what a replay of the journal gives; `cli` and the start of the core prove it.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from gridtally_edge.prepay.rows import AccountRow, JournalRow, one, save, some, values_of
from gridtally_shared.contract.messages import AccountHead, JournalRange
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Posting, entry_from
from gridtally_shared.ledger.replay import LedgerState, Problem, apply, problem_of, replay
from gridtally_shared.ledger.window import UsedWindow


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
        """Write the next entry. Raises ValueError when it does not follow: an error of ours, the transaction ends."""
        entry = LedgerEntry(
            self.row.account_no, self.row.epoch, self.state.seq + 1, self.state.head, kind, stamp.at_ms, postings,
            uncertainty_ms=stamp.uncertainty_ms, boot_id=stamp.boot_id, mono_ms=stamp.mono_ms, **fields,
        )  # fmt: skip
        problem = problem_of(self.state, entry)
        if problem is not None:
            raise ValueError(f"account {self.row.account_no}: own entry {problem.seq}: {problem.text}")
        body = entry.to_bytes()
        save(self.db, JournalRow(entry.account_no, entry.epoch, entry.seq, kind, entry.at_ms, entry.register_after_wh, body))
        self.state = apply(self.state, entry)
        self.fresh.append(body)
        return entry

    def store(self, now_ms: int) -> JournalRange | None:
        """Save the cache if it changed; the range to send upward if entries were written."""
        if self.fresh:
            self.row.state, self.row.as_of_ms = state_text(self.state), now_ms
            self.row.balance_nano, self.row.seq = self.state.balance_nano, self.state.seq
        if values_of(self.row) != self.stored:
            save(self.db, self.row)
        if not self.fresh:
            return None
        first = self.state.seq - len(self.fresh) + 1
        return JournalRange(self.row.account_no, self.row.epoch, first, tuple(self.fresh))


def open_book(db: sqlite3.Connection, account_no: int, epoch: int) -> Book:
    found = one(db, AccountRow, account_no, epoch)
    row = found or AccountRow(account_no, epoch)
    return Book(db, row, state_from(row), stored=values_of(row) if found else ())


def head_of(row: AccountRow) -> AccountHead:
    state = state_from(row)
    return AccountHead(row.account_no, row.epoch, state.seq, state.head, state.used.prefix, state.used.bitmap & (2**63 - 1))


def entries_of(db: sqlite3.Connection, account_no: int, epoch: int) -> list[LedgerEntry]:
    """The account's journal in order. Raises ContractError for a body that is not an entry."""
    rows = some(db, JournalRow, "WHERE account_no = ? AND epoch = ? ORDER BY seq", account_no, epoch)
    return [entry_from(r.body) for r in rows]


def replayed(db: sqlite3.Connection, account_no: int, epoch: int) -> tuple[LedgerState, Problem | None]:
    return replay(account_no, epoch, entries_of(db, account_no, epoch))


def state_text(state: LedgerState) -> str:
    """The cached form of a state: JSON, because a person may want to look at it."""
    return json.dumps({
        "seq": state.seq, "head": state.head.hex(), "pools": {str(int(k)): v for k, v in sorted(state.pools.items())},
        "prefix": state.used.prefix, "bitmap": state.used.bitmap, "meter_no": state.meter_no, "register_wh": state.register_wh,
        "opened_wh": state.opened_wh, "at_ms": state.at_ms, "register_at_ms": state.register_at_ms,
        "opened_day": state.opened_day, "charged_day": state.charged_day,
    })  # fmt: skip


def state_from(row: AccountRow) -> LedgerState:
    if not row.state:
        return LedgerState(row.account_no, row.epoch)
    raw = json.loads(row.state)
    return LedgerState(
        row.account_no, row.epoch, raw["seq"], bytes.fromhex(raw["head"]), {int(k): v for k, v in raw["pools"].items()},
        UsedWindow(raw["prefix"], raw["bitmap"]), raw["meter_no"], raw["register_wh"], raw["opened_wh"], raw["at_ms"],
        raw["register_at_ms"], raw["opened_day"], raw["charged_day"],
    )  # fmt: skip
