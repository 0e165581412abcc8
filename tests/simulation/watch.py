"""Eyes on both stores that share no code with the product: raw rows, raw CBOR, sums of its own.

After every step of a world `look` reads what is new. A journal that became shorter (an old disk) is read again from its
beginning. What can not follow from what was before is kept as a fault under the number of its invariant.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

import cbor2

PAID, RECEIVED, ENERGY, FIXED, TAX, TRANSFER, DEBT = range(1, 8)
RESERVED = 8
"""Lent of a wallet that is shared."""
EMERGENCY, DEBT_TIME, DEBT_PAYMENT = 9, 10, 11
OWED = (DEBT, EMERGENCY)
"""What the consumer was lent: a refund's rest and emergency credit in use, as negative amounts."""
COLLECTED = (DEBT_TIME, DEBT_PAYMENT)
CHARGED = (ENERGY, FIXED, TAX, 12, 13, 14)
EVENT = 15
USED = "used"
OPEN, CREDIT, ENERGY_KIND, FIXED_KIND, CORRECTION, REFUND, NOTICE, DECISION, SWITCH = range(1, 10)
DEBT_KIND, RETURN_KIND, LEASE_KIND, METER_KIND, MODE_KIND, CONTROL, SCHEDULE_KIND = 13, 15, 16, 17, 18, 19, 20
KEYS = ("account", "epoch", "seq", "previous", "kind", "at_ms", "postings", "meter_no", "before_wh", "after_wh", "tariff_version",
        "gseq", "cause", "uncertainty_ms", "boot_id", "mono_ms", "detail", "day_after", "period", "mode")  # fmt: skip
Account = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of a journal as its bytes say."""

    seq: int
    kind: int
    at_ms: int
    postings: tuple[tuple[int, int], ...]
    before_wh: int | None
    after_wh: int | None
    gseq: int
    cause: bytes
    detail: Any
    tariff_version: int
    day_after: int
    meter_no: int
    period: int
    mode: int
    hash: bytes
    step: int


@dataclass(slots=True)
class Book:
    """One account and epoch, folded line by line. `newest`: the bytes of its last entry. `events_nano`: what events paid for; `events`: by
    the command of each what they paid, and for how many Wh. `corrected_nano`: what signed corrections moved, of which
    `corrected_debt_nano` became a debt."""

    lines: list[Line] = field(default_factory=list)
    head: bytes = bytes(32)
    newest: bytes = b""
    pools: dict[int, int] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)
    collected_nano: int = 0
    taken: dict[tuple[int, int], int] = field(default_factory=dict)
    meter_no: int = 0
    mode: int = 0
    handed_over_nano: int = 0
    events_nano: int = 0
    corrected_nano: int = 0
    corrected_debt_nano: int = 0
    events: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    changes: int = 0
    opened_wh: int | None = None
    register_wh: int | None = None
    charged_wh: int = 0

    @property
    def seq(self) -> int:
        return len(self.lines)

    @property
    def balance(self) -> int:
        return self.pool(PAID) + self.pool(RESERVED)

    def pool(self, number: int) -> int:
        return self.pools.get(number, 0)


@dataclass(slots=True)
class Cached:
    """What the edge's own cache says of an account."""

    seq: int
    balance_nano: int
    state: dict[str, Any]
    fault: str
    held: str


@dataclass(slots=True)
class EdgeWatch:
    books: dict[Account, Book] = field(default_factory=dict)
    cached: dict[Account, Cached] = field(default_factory=dict)
    open_actions: dict[int, int] = field(default_factory=dict)
    fresh: list[tuple[Account, Line]] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    schedules: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    may_change: bool = False
    known: set[bytes] = field(default_factory=set)
    _seen: int = -1
    _db: int = 0
    _rows: dict[Account, tuple[Any, ...]] = field(default_factory=dict)

    def look(self, db: sqlite3.Connection, step: int) -> bool:
        """Read what changed since the last look through this connection; whether anything did."""
        if (id(db), db.total_changes) == (self._db, self._seen):
            return False
        self._db, self._seen = id(db), db.total_changes
        rows = db.execute("SELECT account_no, epoch, seq, balance_nano, state, ledger_fault, held FROM account").fetchall()
        for row in rows:
            key = row[:2]
            if self._rows.get(key) != row:
                _, _, seq, balance_nano, state, fault, held = self._rows[key] = row
                self.cached[key] = Cached(seq, balance_nano, json.loads(state) if state else {}, fault, held)
            self._read(db, key, step)
        open_ones = db.execute("SELECT meter_no, count(*) FROM action WHERE state <> 'finished' GROUP BY meter_no")
        self.open_actions = dict(open_ones.fetchall())
        held = """SELECT meter_no, start_ms, end_ms, schedule_no, action, running FROM schedule WHERE stage <> 'over'
            ORDER BY meter_no, start_ms"""
        self.schedules = db.execute(held).fetchall()
        return True

    def forget(self) -> None:
        """The disk is another one: everything is read anew. `known` is what was read before."""
        self.known |= {line.hash for book in self.books.values() for line in book.lines}
        self.books, self.cached, self._db, self._seen, self._rows = {}, {}, 0, -1, {}

    def _read(self, db: sqlite3.Connection, key: Account, step: int) -> None:
        """The newest known entry and what follows it; the whole journal where that one is not there as it was."""
        book = self.books.get(key) or self.books.setdefault(key, Book())
        query = "SELECT seq, body FROM journal WHERE account_no = ? AND epoch = ? AND seq >= ? ORDER BY seq"
        found = db.execute(query, (*key, book.seq)).fetchall()
        if book.seq and (not found or found[0] != (book.seq, book.newest)):
            if not self.may_change:
                self.faults.append(("I7", f"account {key[0]}/{key[1]}: entry {book.seq} is gone or another"))
            book = self.books[key] = Book()
            found = db.execute(query, (*key, 0)).fetchall()
        for seq, body in found:
            if seq > book.seq:
                self._fold(key, book, seq, body, step)

    def _fold(self, key: Account, book: Book, seq: int, body: bytes, step: int) -> None:
        raw = _fields(body)
        line = Line(
            raw["seq"], raw["kind"], raw["at_ms"], raw["postings"], raw["before_wh"], raw["after_wh"], raw["gseq"], raw["cause"],
            cbor2.loads(raw["detail"]) if raw["detail"] else None, raw["tariff_version"], raw["day_after"], raw["meter_no"],
            raw["period"], raw["mode"],
            hashlib.sha256(body).digest(), step,
        )  # fmt: skip
        where = f"account {key[0]}/{key[1]} entry {seq}"
        if (raw["account"], raw["epoch"]) != key or raw["seq"] != seq or seq != book.seq + 1:
            self.faults.append(("I7", f"{where}: expected entry {book.seq + 1}"))
        if raw["previous"] != book.head:
            self.faults.append(("I7", f"{where}: the chain is broken"))
        self._money(book, line, where)
        self._register(book, line, where)
        book.lines.append(line)
        book.head, book.newest = line.hash, body
        self.fresh.append((key, line))

    def _money(self, book: Book, line: Line, where: str) -> None:
        if sum(amount for _, amount in line.postings):
            self.faults.append(("I5", f"{where}: postings sum to {sum(a for _, a in line.postings)}"))
        for pool, amount in line.postings:
            if type(amount) is not int:
                self.faults.append(("I13", f"{where}: {amount!r} is no integer"))
            book.pools[pool] = book.pool(pool) + amount
            if pool in COLLECTED and amount > 0:
                book.collected_nano += amount
                book.taken[pool, line.period] = book.taken.get((pool, line.period), 0) + amount
        if line.kind == SCHEDULE_KIND and line.detail.get(1) == USED:
            nano, wh = book.events.get(line.cause, (0, 0))
            paid_nano = -sum(amount for pool, amount in line.postings if pool == EVENT)
            book.events[line.cause] = (nano + paid_nano, wh + line.detail.get(4, 0))
            book.events_nano += paid_nano
        if line.kind == CORRECTION and line.gseq:
            book.corrected_nano += sum(amount for pool, amount in line.postings if pool == ENERGY)
            book.corrected_debt_nano -= sum(amount for pool, amount in line.postings if pool == DEBT_PAYMENT)
        if line.gseq:
            if line.gseq in book.used:
                self.faults.append(("I2", f"{where}: instrument {line.gseq} was used by entry {book.used[line.gseq]}"))
            book.used[line.gseq] = line.seq

    def _register(self, book: Book, line: Line, where: str) -> None:
        if line.kind == OPEN:
            book.opened_wh, book.meter_no, book.mode = line.after_wh, line.meter_no, line.mode
        if line.kind in (METER_KIND, MODE_KIND):
            if line.before_wh != book.register_wh or line.after_wh is None:
                self.faults.append(("I9", f"{where}: goes on behind {line.before_wh}, charged up to {book.register_wh}"))
            if line.kind == MODE_KIND and not book.mode and line.after_wh != line.before_wh:
                self.faults.append(("I9", f"{where}: prepayment ends at {line.after_wh}, charged up to {line.before_wh}"))
            book.opened_wh = (book.opened_wh or 0) + (line.after_wh or 0) - (line.before_wh or 0)
            book.meter_no = line.meter_no
        if line.kind == MODE_KIND:
            book.mode, book.changes = line.mode, book.changes + 1
            book.handed_over_nano += sum(amount for pool, amount in line.postings if pool == TRANSFER)
        if line.kind == ENERGY_KIND:
            if line.before_wh != book.register_wh or line.after_wh is None or line.after_wh < (line.before_wh or 0):
                self.faults.append(("I9", f"{where}: charges {line.before_wh}..{line.after_wh} after {book.register_wh}"))
            else:
                book.charged_wh += line.after_wh - (line.before_wh or 0)
        if line.after_wh is not None:
            book.register_wh = line.after_wh


def _fields(body: bytes) -> dict[str, Any]:
    raw = cbor2.loads(body)
    found = {name: raw.get(number) for number, name in enumerate(KEYS)}
    pairs = found["postings"] or ()
    found["postings"] = tuple((x[0], x[1]) for x in pairs)
    found["gseq"], found["detail"], found["cause"] = found["gseq"] or 0, found["detail"] or b"", found["cause"] or b""
    found["tariff_version"], found["day_after"] = found["tariff_version"] or 0, found["day_after"] or 0
    found["meter_no"], found["period"], found["mode"] = found["meter_no"] or 0, found["period"] or 0, found["mode"] or 0
    return found


@dataclass(slots=True)
class Mirrored:
    seq: int
    head: bytes
    balance_nano: int
    stopped: bool


@dataclass(slots=True)
class Issued:
    type: int
    amount_nano: int
    envelope: bytes


@dataclass(slots=True)
class CloudWatch:
    """`captured`, `refunded`, and of both what has no instrument (`waiting`, `given_back`: of accounts that are billed), by account as the
    payment tables say; `issued` by (account, epoch, gseq)."""

    mirror: dict[Account, Mirrored] = field(default_factory=dict)
    issued: dict[tuple[int, int, int], Issued] = field(default_factory=dict)
    captured: dict[int, int] = field(default_factory=dict)
    refunded: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)
    given_back: dict[int, int] = field(default_factory=dict)
    problems: list[tuple[int, int, str]] = field(default_factory=list)
    _seen: int = -1

    def look(self, eye: sqlite3.Connection, changed: int) -> bool:
        if changed == self._seen:
            return False
        self._seen = changed
        rows = eye.execute("SELECT account_no, epoch, seq, head, balance_nano, stopped FROM account_mirror").fetchall()
        self.mirror = {(r[0], r[1]): Mirrored(r[2], r[3], r[4], bool(r[5])) for r in rows}
        if eye.execute("SELECT count(*) FROM instrument").fetchone()[0] != len(self.issued):
            found = eye.execute("SELECT account_no, epoch, gseq, type, amount_nano, envelope FROM instrument").fetchall()
            self.issued = {(a, e, g): Issued(kind, amount, envelope) for a, e, g, kind, amount, envelope in found}
        own = "SELECT account_no, sum(amount_nano) FROM payment WHERE purpose <> 'wallet' GROUP BY account_no"
        self.captured = dict(eye.execute(own).fetchall())
        back = """SELECT p.account_no, sum(r.amount_nano) FROM refund r JOIN payment p USING (payment_no) WHERE p.purpose <> 'wallet'
            GROUP BY p.account_no"""
        self.refunded = dict(eye.execute(back).fetchall())
        unissued = """SELECT account_no, sum(amount_nano) FROM payment p WHERE p.purpose <> 'wallet' AND NOT EXISTS
            (SELECT 1 FROM instrument i WHERE i.payment_no = p.payment_no AND i.refund_no IS NULL) GROUP BY account_no"""
        self.waiting = dict(eye.execute(unissued).fetchall())
        by_hand = """SELECT p.account_no, sum(r.amount_nano) FROM refund r JOIN payment p USING (payment_no)
            WHERE p.purpose <> 'wallet' AND NOT EXISTS (SELECT 1 FROM instrument i WHERE i.refund_no = r.refund_no) GROUP BY p.account_no"""
        self.given_back = dict(eye.execute(by_hand).fetchall())
        self.problems = eye.execute("SELECT account_no, seq, code || ': ' || text FROM ledger_problem WHERE resolved_ms IS NULL").fetchall()
        return True
