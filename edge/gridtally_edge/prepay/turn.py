"""One event's transaction: what handlers read from, write to, and leave to be done after the commit.

Handlers change the database and this object only. The core adopts `trust`, `plan` and `link` after the commit, so a
transaction that rolls back leaves nothing behind in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.prepay import clocktrust
from gridtally_edge.prepay.book import Book, Stamp, open_book
from gridtally_edge.prepay.clocktrust import ClockVerdict, Trust
from gridtally_edge.prepay.events import Permit, PrepayEffect
from gridtally_edge.prepay.plan import Plan
from gridtally_edge.prepay.rows import FactRow, SwitchRow, one, save, values_of
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, EntryKind, Event, Lane
from gridtally_shared.events import BY_NAME


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this DCU is: its name, the keys whose instruments and commands it obeys (key id -> public), this start."""

    dcu: str
    command_keys: Mapping[bytes, bytes]
    boot_id: bytes


@dataclass(frozen=True, slots=True)
class LinkState:
    """`welcomed`: the cloud has answered since the session came up. Down from a start until told otherwise."""

    up: bool = False
    welcomed: bool = False
    offline_since_ms: int = 0

    @property
    def online(self) -> bool:
        return self.up and self.welcomed


@dataclass(slots=True)
class Turn:
    db: sqlite3.Connection
    outbox: Outbox
    identity: Identity
    now_ms: int
    mono_ms: int
    plan: Plan
    trust: Trust
    link: LinkState
    permits: dict[bytes, Permit]
    effects: list[PrepayEffect] = field(default_factory=list)
    _books: dict[tuple[int, int], Book] = field(default_factory=dict)
    _switches: dict[int, SwitchRow] = field(default_factory=dict)
    _stored: dict[int, SwitchRow | None] = field(default_factory=dict)
    _facts: dict[str, int] = field(default_factory=dict)

    @property
    def clock(self) -> ClockVerdict:
        return clocktrust.verdict(self.trust, self.now_ms)

    def stamp(self, at_ms: int | None = None) -> Stamp:
        """For an entry of now, or of a reading's time."""
        at = self.now_ms if at_ms is None else at_ms
        return Stamp(at, self.clock.uncertainty_ms, self.identity.boot_id, self.mono_ms)

    def book(self, account: AccountConfig) -> Book:
        return self.book_of(account.account_no, account.account_epoch)

    def book_of(self, account_no: int, epoch: int) -> Book:
        key = (account_no, epoch)
        if key not in self._books:
            self._books[key] = open_book(self.db, *key)
        return self._books[key]

    def switch(self, meter_no: int) -> SwitchRow:
        if meter_no not in self._switches:
            found = one(self.db, SwitchRow, meter_no)
            self._stored[meter_no] = found
            self._switches[meter_no] = replace(found) if found else SwitchRow(meter_no)
        return self._switches[meter_no]

    def fact(self, name: str) -> int:
        if name not in self._facts:
            row = one(self.db, FactRow, name)
            self._facts[name] = row.value if row else 0
        return self._facts[name]

    def remember(self, name: str, value: int) -> None:
        self._facts[name] = value
        save(self.db, FactRow(name, value))

    def report(self, meter_no: int, name: str, detail: str = "", at_ms: int | None = None) -> None:
        """Queue an event for the cloud, in the urgent lane of the money store."""
        event = Event(meter_no, BY_NAME[name].code, self.now_ms if at_ms is None else at_ms, detail)
        self.outbox.append(EntryKind.EVENT, event, Lane.URGENT, self.now_ms)

    def report_seldom(self, name: str, detail: str) -> None:
        """`report` of the DCU itself, at most once an hour: for what a stranger could cause as often as he likes."""
        last_ms = self.fact(f"reported:{name}")
        if not last_ms or self.now_ms - last_ms >= MS_PER_HOUR:
            self.remember(f"reported:{name}", self.now_ms)
            self.report(0, name, detail)

    def flush(self) -> None:
        """Write caches and the journal ranges; the last step inside the transaction."""
        for meter_no, row in self._switches.items():
            stored = self._stored[meter_no]
            if stored is None or values_of(row) != values_of(stored):
                save(self.db, row)
        for book in self._books.values():
            entries = book.store(self.now_ms)
            if entries is not None:
                self.outbox.append(EntryKind.JOURNAL, entries, Lane.URGENT, self.now_ms)
