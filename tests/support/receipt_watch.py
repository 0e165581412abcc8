"""Looks at every receipt that any test of the suite makes at an edge in its own process (C3-FR15): which message, which meter, when.

* A receipt is a command's (it leaves by an outbox) or an instrument's (the journal entry that carries its number).
* The test in which an incomplete one was made fails, whatever else it asserts; one made while a fixture was set up fails the first
  test that uses it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.prepay.book import Book
from gridtally_shared.contract.messages import CommandReceipt
from gridtally_shared.contract.receipts import EARLIEST_MS, receipt_faults
from gridtally_shared.ledger.entries import LedgerEntry


@dataclass
class Watch:
    """`seen` counts the receipts that were looked at; `faults` are those that no test has answered for yet."""

    seen: int = 0
    faults: list[str] = field(default_factory=list)

    def look(self, receipt: CommandReceipt) -> None:
        self.seen += 1
        self.faults += [f"{receipt}: {fault}" for fault in receipt_faults(receipt)]

    def look_at_entry(self, entry: LedgerEntry) -> None:
        self.seen += 1
        if not (entry.gseq > 0 and entry.meter_no > 0 and entry.at_ms > EARLIEST_MS):
            where = f"entry {entry.seq} of account {entry.account_no}"
            self.faults.append(f"{where} says message {entry.gseq}, meter {entry.meter_no}, time {entry.at_ms}")

    def taken(self) -> list[str]:
        found, self.faults = self.faults, []
        return found


WATCH = Watch()


def pytest_configure() -> None:
    append, add = Outbox.append_all, Book.add

    def append_all(outbox: Outbox, kind: Any, messages: Sequence[Any], *rest: Any) -> int:
        for message in messages:
            if isinstance(message, CommandReceipt):
                WATCH.look(message)
        return append(outbox, kind, messages, *rest)

    def add_entry(book: Book, *given: Any, **named: Any) -> LedgerEntry:
        entry = add(book, *given, **named)
        if entry.gseq:
            WATCH.look_at_entry(entry)
        return entry

    Outbox.append_all, Book.add = append_all, add_entry  # type: ignore[assignment, method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    yield
    faults = WATCH.taken()
    if faults:
        pytest.fail(f"receipts without message, meter or time: {'; '.join(faults[:3])}", pytrace=False)
