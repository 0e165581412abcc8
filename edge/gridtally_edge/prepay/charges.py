"""Charging an account: its register's movement and its days, priced by the engine, written to its journal.

* Days come before the use of the same moment: a FIXED entry for each run of days that began, whether or not the meter answers.
* A movement across a change of version becomes one ENERGY entry for each version.
* What is owed by time is collected once a period with a reading, after the charges of its moment.
* What was used while the concentrator before this one was dead is charged at the lowest rate of that time (prepayment.md 5.8).
* While the clock is not believed days wait and use is charged provisionally; the first believed reading takes that back and
  charges all of it for good (prepayment.md 5.6).

Source: prepayment.md 5.5, 5.7; I9, I10.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.charge_store import Priced, running_of, store_running
from gridtally_edge.prepay.rules import money_rules_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.ledger.charges import ChargeRecord, charges_of, detail_of, record_of
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.money_order import collect, owed, spend
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of, version_at
from gridtally_shared.tariff.gap import gap_parts
from gridtally_shared.tariff.lines import Line
from gridtally_shared.tariff.running import (
    Part,
    Running,
    Terms,
    cycle_is_due,
    day_is_due,
    days,
    grows,
    guess,
    parts_of,
    taken_back,
    used,
)  # fmt: skip


def charge_days(turn: Turn, account: AccountConfig) -> None:
    """The fixed part of the days that began. Waits while the clock is not believed."""
    price, state = turn.plan.priced.get(account.account_no), turn.book(account).state
    if price is None or state.register_wh is None or state.mode != AccountMode.PREPAID or turn.clock.state is ClockState.UNTRUSTED:
        return
    writer = _writer(turn, account, price)
    if day_is_due(price.plan, writer.running, turn.now_ms):
        writer.days(turn.now_ms)


def collect_debt(turn: Turn, account: AccountConfig) -> None:
    """The debt by time, once a collection period, out of what is there (I22). Waits while the clock is not believed."""
    book = turn.book(account)
    if not owed(book.state, Pool.DEBT_TIME) or book.state.mode != AccountMode.PREPAID or turn.clock.state is ClockState.UNTRUSTED:
        return
    rules = money_rules_of(turn, account)
    postings = collect(book.state, rules)
    if postings:
        book.add(Kind.DEBT, turn.stamp(), postings, meter_no=account.meter_no, period=rules.period)


def charge_use(turn: Turn, account: AccountConfig, from_ms: int, register_wh: int, at_ms: int) -> None:
    """The movement of the register up to `register_wh`, read at `at_ms`; nothing was used before `from_ms`."""
    writer = _writer(turn, account, turn.plan.priced[account.account_no])
    wh = register_wh - (writer.book.state.register_wh or 0)
    if turn.clock.state is ClockState.UNTRUSTED:
        if wh:
            writer.guess(wh, at_ms)
    elif wh or writer.running.guessed_wh or cycle_is_due(writer.price.plan, writer.running, at_ms):
        writer.use(from_ms, at_ms, wh)


def charge_gap(turn: Turn, account: AccountConfig, from_ms: int, register_wh: int, at_ms: int) -> int:
    """What the register moved since `from_ms`, when nobody charged: at its cheapest; the Wh."""
    writer = _writer(turn, account, turn.plan.priced[account.account_no])
    wh = register_wh - (writer.book.state.register_wh or 0)
    if wh:
        writer.gap(from_ms, at_ms, wh)
    return wh


@dataclass(slots=True)
class _Writer:
    """One account's charges of one turn. `terms`: to be told with the next entry."""

    turn: Turn
    account: AccountConfig
    book: Book
    price: Priced
    running: Running
    terms: Terms | None

    def days(self, until_ms: int) -> None:
        self.running, lines = days(self.price.plan, self.running, until_ms)
        if lines:
            self._add(Kind.FIXED, until_ms, lines, record_of(lines), day_after=day_of(until_ms - 1, self.price.plan.zone))
            self._keep()

    def use(self, from_ms: int, at_ms: int, wh: int) -> None:
        guessed_wh = self.running.guessed_wh
        from_ms = self.running.state.counted_ms if guessed_wh else max(from_ms, self.running.state.counted_ms)
        parts = parts_of(self.price.plan, from_ms, at_ms, wh + guessed_wh)
        if self.running.guessed and not self._extends(parts):
            self._take_back(at_ms)
        for part in parts:
            self._part(part, min(part.wh, guessed_wh))
            guessed_wh -= min(part.wh, guessed_wh)
        self._keep()

    def gap(self, from_ms: int, at_ms: int, wh: int) -> None:
        for part in gap_parts(self.price.plan, self.running, max(from_ms, self.running.state.counted_ms), at_ms, wh):
            self._part(part, 0)
        self._keep()

    def _extends(self, parts: tuple[Part, ...]) -> bool:
        """Whether what was guessed is part of what is charged for good."""
        return len(parts) == 1 and grows(used(self.price.plan, self.running, parts[0].from_ms, parts[0].to_ms, parts[0].wh)[1])

    def _take_back(self, at_ms: int) -> None:
        self.running, lines = taken_back(self.running)
        self._add(Kind.CORRECTION, at_ms, lines, record_of(lines, provisional=True), cause=self.book.state.head)

    def _part(self, part: Part, charged_wh: int) -> None:
        """`charged_wh` of the part's use moved the register before, when it was charged provisionally: then an entry says that it is
        settled, though the price was guessed right."""
        self.running, lines = used(self.price.plan, self.running, part.from_ms, part.to_ms, part.wh)
        if lines or charged_wh:
            record = record_of(lines, self._named(part.from_ms), part.wh if charged_wh else 0)
            self._add(Kind.ENERGY, part.to_ms, lines, record, **self._register(part.wh - charged_wh))

    def guess(self, wh: int, at_ms: int) -> None:
        from_ms = 0 if self.running.guessed_wh else self._named(self.running.state.counted_ms)
        self.running, lines = guess(self.price.plan, self.running, wh)
        self._add(Kind.ENERGY, at_ms, lines, record_of(lines, from_ms, provisional=True), **self._register(wh))
        self._keep()

    def _named(self, from_ms: int) -> int:
        """As the entry says it: 0 where the use begins with the entry before it that has a register."""
        return from_ms if from_ms != self.book.state.register_at_ms else 0

    def _register(self, wh: int) -> dict[str, int]:
        before = self.book.state.register_wh or 0
        return {"register_before_wh": before, "register_after_wh": before + wh}

    def _add(self, kind: Kind, at_ms: int, lines: tuple[Line, ...], record: ChargeRecord, **fields: Any) -> None:
        plan = self.price.plan
        postings = spend(self.book.state, money_rules_of(self.turn, self.account), charges_of(plan, lines))
        version = plan.versions[version_at(plan, max(at_ms - 1, 0))].number
        detail = detail_of(replace(record, terms=(self.terms,)) if self.terms else record)
        meter_no = self.account.meter_no
        self.book.add(kind, self.turn.stamp(at_ms), postings, meter_no=meter_no, tariff_version=version, detail=detail, **fields)
        self.terms = None

    def _keep(self) -> None:
        row = self.book.row
        self.turn.running[row.account_no, row.epoch] = self.running
        store_running(self.turn.db, self.book.state, self.running)


def _writer(turn: Turn, account: AccountConfig, price: Priced) -> _Writer:
    book = turn.book(account)
    running, fresh = turn.running.get((book.row.account_no, book.row.epoch)), False
    if running is None or running.terms != price.terms:
        running, fresh = running_of(turn.db, price, book.state, turn.now_ms)
        if not fresh:
            turn.running[book.row.account_no, book.row.epoch] = running
    return _Writer(turn, account, book, price, running, price.terms if fresh else None)
