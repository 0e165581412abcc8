"""One event's transaction: what handlers read from, write to, and leave to be done after the commit.

Handlers change the database and this object only. The core adopts `trust`, `plan` and `link` after the commit, so a
transaction that rolls back leaves nothing behind in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.prepay import clocktrust
from gridtally_edge.prepay.book import Book, Stamp, book_from, open_book
from gridtally_edge.prepay.clocktrust import ClockVerdict, Trust
from gridtally_edge.prepay.events import Permit, PrepayEffect
from gridtally_edge.prepay.forecast_rows import ForecastRow
from gridtally_edge.prepay.plan import Plan
from gridtally_edge.prepay.rows import AccountRow, FactRow, SwitchRow, one, save, save_all, some, values_of
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, AccountHead, ClockState, EntryKind, Event, Lane
from gridtally_shared.events import BY_NAME
from gridtally_shared.records import dataclass
from gridtally_shared.signing import KeySigner
from gridtally_shared.tariff.running import Running

KEEP_JOURNAL_MS = 90 * MS_PER_DAY


RETRY_MOST_MS = MS_PER_HOUR
CLOSE_RETRY_MOST_MS = MS_PER_HOUR // 4
STUCK_CUT_MS = MS_PER_DAY
"""How long an order may wait at most after one that failed, one that gives a home its supply back, and a cut after a switch that did
not move."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """When a checkpoint of an account's journal is due: after so many entries or hours, whichever comes first."""

    entries: int = 500
    hours: int = 24


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this DCU is: its name, the keys whose instruments and commands it obeys (key id -> public), this start, and the
    journal key that signs its checkpoints (None: none are made). Entries younger than `keep_journal_ms` always stay (pruning.py)."""

    dcu: str
    command_keys: Mapping[bytes, bytes]
    boot_id: bytes
    signer: KeySigner | None = None
    cadence: Cadence = Cadence()
    keep_journal_ms: int = KEEP_JOURNAL_MS

    @property
    def checkpoint_keys(self) -> Mapping[bytes, bytes]:
        """Whose signature makes a checkpoint good: the cloud's, and this box's own behind it."""
        return {**self.command_keys, self.signer.key_id: self.signer.public} if self.signer else self.command_keys


@dataclass(frozen=True, slots=True)
class LinkState:
    """`welcomed`: the cloud has answered since the session came up. Down from a start until told otherwise. `waited_ms`: how long the
    first welcome after a start has been waited for; None once it came, or was waited for long enough. `unseen`: accounts whose register
    says that the disk may be an old one (witness.py), until the cloud has spoken. `heads`: the mirror's, of accounts whose
    configuration is still to come."""

    up: bool = False
    welcomed: bool = False
    offline_since_ms: int = 0
    waited_ms: int | None = 0
    seen_ms: int = 0
    seen_mono_ms: int = 0
    unseen: frozenset[int] = frozenset()
    heads: tuple[AccountHead, ...] = ()

    @property
    def online(self) -> bool:
        return self.up and self.welcomed


CONFIG_NAMED = "config_named"
"""The fact that remembers which configuration the cloud called its newest when it last welcomed us."""


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
    running: dict[tuple[int, int], Running] = field(default_factory=dict)
    effects: list[PrepayEffect] = field(default_factory=list)
    forecasts: int = 0
    wake_ms: int | None = None
    ticked: bool = False
    near: set[int] = field(default_factory=set)
    aside: frozenset[int] = frozenset()
    witness: Mapping[int, tuple[int, int] | None] = field(default_factory=dict)
    _books: dict[tuple[int, int], Book] = field(default_factory=dict)
    _switches: dict[int, SwitchRow] = field(default_factory=dict)
    _stored: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    _forecasts: dict[tuple[int, int], ForecastRow | None] = field(default_factory=dict)
    _made: list[ForecastRow] = field(default_factory=list)
    _judged: tuple[Trust, ClockVerdict] | None = None
    _facts: dict[str, int] = field(default_factory=dict)

    def read_ahead(self) -> None:
        """The accounts, switches and forecasts of a whole sweep in one question each."""
        for account in some(self.db, AccountRow, ""):
            self._books.setdefault((account.account_no, account.epoch), book_from(self.db, account))
        for found in some(self.db, SwitchRow, ""):
            if found.meter_no not in self._switches:
                self._take_switch(found.meter_no, found)
        for row in some(self.db, ForecastRow, ""):
            self._forecasts.setdefault((row.account_no, row.epoch), row)

    def forecast(self, account: AccountConfig) -> ForecastRow | None:
        key = (account.account_no, account.account_epoch)
        if key not in self._forecasts:
            self._forecasts[key] = one(self.db, ForecastRow, *key)
        return self._forecasts[key]

    def keep_forecast(self, row: ForecastRow) -> None:
        """Written with the flush."""
        self._forecasts[row.account_no, row.epoch] = row
        self._made.append(row)

    @property
    def clock(self) -> ClockVerdict:
        if self._judged is None or self._judged[0] is not self.trust:
            self._judged = (self.trust, clocktrust.verdict(self.trust, self.now_ms))
        return self._judged[1]

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

    def forget_running(self, account_no: int, epoch: int) -> None:
        """The running charge begins anew where the journal stands: it is of another reading, or of another journal."""
        self.running.pop((account_no, epoch), None)
        self.db.execute("DELETE FROM charging WHERE account_no = ? AND epoch = ?", (account_no, epoch))

    def switch(self, meter_no: int) -> SwitchRow:
        if meter_no not in self._switches:
            self._take_switch(meter_no, one(self.db, SwitchRow, meter_no))
        return self._switches[meter_no]

    def _take_switch(self, meter_no: int, found: SwitchRow | None) -> None:
        self._stored[meter_no] = values_of(found) if found else ()
        self._switches[meter_no] = self._without_future(found) if found else SwitchRow(meter_no)

    def _without_future(self, row: SwitchRow) -> SwitchRow:
        """What was seen at a time still to come was told by another clock than ours of now: it is older than what is read now, and nobody
        knows when it was. When a register was read is forgotten only by a believed clock, since a jump is judged by it. A pause that ends
        later than any pause can was begun by a wrong clock too: nobody waits for supply because one was set back."""
        clock = self.clock
        most_ms = CLOSE_RETRY_MOST_MS if row.state == SwitchState.OPEN.value else STUCK_CUT_MS
        if row.stuck_until_ms > self.now_ms + most_ms:
            row.stuck_until_ms = 0
        latest_ms = self.now_ms + clock.uncertainty_ms + clocktrust.STEP_MS
        row.state_ms, row.serial_ms = (at_ms if at_ms <= latest_ms else 0 for at_ms in (row.state_ms, row.serial_ms))
        if clock.state is not ClockState.UNTRUSTED and row.register_ms > latest_ms:
            row.register_ms = 0
        return row

    def fact(self, name: str) -> int:
        if name not in self._facts:
            row = one(self.db, FactRow, name)
            self._facts[name] = row.value if row else 0
        return self._facts[name]

    def since_ms(self, name: str) -> int:
        """How long ago the moment is that a fact remembers; one still to come was told by a clock that was ahead, and counts as none."""
        at_ms = self.fact(name)
        return self.now_ms - (at_ms if at_ms <= self.now_ms + clocktrust.STEP_MS else 0)

    def remember(self, name: str, value: int) -> None:
        self._facts[name] = value
        save(self.db, FactRow(name, value))

    def report(self, meter_no: int, name: str, detail: str = "", at_ms: int | None = None) -> None:
        """Queue an event for the cloud, in the urgent lane of the money store."""
        event = Event(meter_no, BY_NAME[name].code, self.now_ms if at_ms is None else at_ms, detail)
        self.outbox.append(EntryKind.EVENT, event, Lane.URGENT, self.now_ms)

    def wake_at(self, at_ms: int) -> None:
        """Be told a tick then, not at the next full minute."""
        self.wake_ms = at_ms if self.wake_ms is None else min(self.wake_ms, at_ms)

    def report_seldom(self, name: str, detail: str) -> None:
        """`report` of the DCU itself, at most once an hour: for what a stranger could cause as often as he likes."""
        if self.since_ms(f"reported:{name}") >= MS_PER_HOUR:
            self.remember(f"reported:{name}", self.now_ms)
            self.report(0, name, detail)

    def flush(self) -> None:
        """Write caches and the journal ranges; the last step inside the transaction."""
        save_all(self.db, SwitchRow, [row for meter_no, row in self._switches.items() if values_of(row) != self._stored[meter_no]])
        save_all(self.db, ForecastRow, self._made)
        ranges = [entries for book in self._books.values() if (entries := book.store(self.now_ms)) is not None]
        if ranges:
            self.outbox.append_all(EntryKind.JOURNAL, ranges, Lane.URGENT, self.now_ms)
