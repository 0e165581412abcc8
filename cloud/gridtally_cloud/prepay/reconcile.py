"""The cloud's books against the mirrored journals of the edge, to the nano. An empty answer means every equation holds.

For each account:
* `replay`: the mirror replays from its first entry, and head and balance are those on record;
* `chain`: instruments count 1, 2, 3... and each names the one before it;
* `instrument`: every entry that used an instrument moved exactly its amount;
* `issued`: payments less refunds = instruments + payments that wait for one;
* `conservation` (prepayment.md I1): payments less refunds = balance + charges +
  transfers + debts + money on the way;
* `rerate`: every charge is what the tariff engine makes of its readings (`billing/rerate.py`);
* `problem`: what the mirror itself refused and nobody has resolved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, func, select

from gridtally_cloud.billing.rerate import goes_on, rerate
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.history import USING
from gridtally_cloud.prepay.instruments import CREDIT, waiting_payments
from gridtally_cloud.prepay.model import LedgerMismatch
from gridtally_cloud.prepay.refused import is_settled
from gridtally_cloud.prepay.restored import floor_of
from gridtally_cloud.prepay.tables import instrument, payment, refund
from gridtally_cloud.prepay.wallet import posted
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import account_mirror, journal_entry, ledger_problem
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument
from gridtally_shared.instruments.forms import PAYMENT_TYPES
from gridtally_shared.ledger.entries import GENESIS, OWN, Kind, LedgerEntry, Pool, entry_from
from gridtally_shared.ledger.evidence import refusal_of
from gridtally_shared.ledger.replay import LedgerState, Problem, replay, uses_instrument
from gridtally_shared.records import dataclass
from gridtally_shared.signing import open_unverified

ELSEWHERE = tuple(pool for pool in Pool if pool not in (*OWN, Pool.RECEIVED))


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of an account: its mirrored entries and what they replay to."""

    number: int
    entries: tuple[LedgerEntry, ...]
    state: LedgerState
    problem: Problem | None
    on_record: Row[Any] | None


@dataclass(frozen=True, slots=True)
class Books:
    """Everything the equations of one account are about."""

    account_no: int
    epochs: tuple[Epoch, ...]
    instruments: tuple[Row[Any], ...]
    captured_nano: int
    refunded_nano: int
    waiting_nano: int
    settled: frozenset[tuple[int, int]] = frozenset()

    def pool(self, pool: Pool) -> int:
        return sum(e.state.pools.get(pool, 0) for e in self.epochs)

    @property
    def balance_nano(self) -> int:
        return sum(self.pool(pool) for pool in OWN)

    @property
    def used(self) -> frozenset[tuple[int, int]]:
        """Instruments that did what they say; one that was refused used its number only."""
        return frozenset((e.number, x.gseq) for e in self.epochs for x in e.entries if uses_instrument(x) and not refusal_of(x))

    @property
    def paid_for(self) -> tuple[Row[Any], ...]:
        """Instruments that stand for money of a payment or refund; not those refused whose money travels again or went back."""
        return tuple(i for i in self.instruments if i.type in PAYMENT_TYPES and (i.epoch, i.gseq) not in self.settled)

    @property
    def unapplied_nano(self) -> int:
        return sum(i.amount_nano for i in self.paid_for if (i.epoch, i.gseq) not in self.used)


def reconcile(conn: Connection, account_no: int | None = None) -> tuple[LedgerMismatch, ...]:
    """Every equation that does not hold, for one account or all."""
    wanted = select(account.c.account_no).order_by(account.c.account_no)
    numbers = conn.execute(wanted).scalars().all() if account_no is None else [account_no]
    return tuple(mismatch for number in numbers for mismatch in mismatches(conn, books_of(conn, number)))


def books_of(conn: Connection, account_no: int) -> Books:
    """Read the books of one account."""
    i = instrument.c
    issued = conn.execute(select(instrument).where(i.shard == SHARD, i.account_no == account_no).order_by(i.epoch, i.gseq)).all()
    captured = select(func.coalesce(func.sum(payment.c.amount_nano), 0)).where(
        payment.c.account_no == account_no, payment.c.purpose == CREDIT)  # fmt: skip
    back = select(func.coalesce(func.sum(refund.c.amount_nano), 0)).join(payment).where(
        payment.c.account_no == account_no, payment.c.purpose == CREDIT)  # fmt: skip
    waiting = sum(row.amount_nano for row in waiting_payments(conn, account_no))
    epochs = _epochs(conn, account_no)
    refused = {(e.number, x.gseq) for e in epochs for x in e.entries if uses_instrument(x) and refusal_of(x)}
    settled = frozenset((r.epoch, r.gseq) for r in issued if (r.epoch, r.gseq) in refused and r.payment_no and is_settled(conn, r))
    return Books(account_no, epochs, tuple(issued), int(conn.execute(captured).scalar_one()),
                 int(conn.execute(back).scalar_one()), waiting, settled)  # fmt: skip


def _epochs(conn: Connection, account_no: int) -> tuple[Epoch, ...]:
    j, m = journal_entry.c, account_mirror.c
    kept = select(j.epoch, j.body).where(j.shard == SHARD, j.account_no == account_no, j.verified)
    rows = conn.execute(kept.order_by(j.epoch, j.seq)).all()
    records = {r.epoch: r for r in conn.execute(select(account_mirror).where(m.shard == SHARD, m.account_no == account_no))}
    epochs = []
    for number in sorted({*records, *(r.epoch for r in rows)}):
        entries = tuple(entry_from(r.body) for r in rows if r.epoch == number)
        state, problem = replay(account_no, number, entries)
        epochs.append(Epoch(number, entries, state, problem, records.get(number)))
    return tuple(epochs)


def mismatches(conn: Connection, books: Books) -> Iterator[LedgerMismatch]:
    """The broken equations of one account's books."""
    for epoch in books.epochs:
        yield from _replayed(books, epoch)
        for found in rerate(conn, books.account_no, epoch.number, epoch.entries):
            yield LedgerMismatch(books.account_no, "rerate", found.expected_nano, found.found_nano, f"epoch {epoch.number} {found.text}")
    yield from _chained(books, {epoch.number: floor_of(conn, books.account_no, epoch.number) for epoch in books.epochs})
    yield from _opened(conn, books)
    yield from _used(books)
    yield from _sums(books)
    open_ones = ledger_problem.c.resolved_ms.is_(None) & (ledger_problem.c.account_no == books.account_no)
    for row in conn.execute(select(ledger_problem).where(open_ones)):
        yield LedgerMismatch(books.account_no, "problem", 0, 0, f"epoch {row.epoch} entry {row.seq}: {row.code}: {row.text}")


def _replayed(books: Books, epoch: Epoch) -> Iterator[LedgerMismatch]:
    state, record = epoch.state, epoch.on_record
    if epoch.problem is not None:
        text = f"epoch {epoch.number} entry {epoch.problem.seq}: {epoch.problem.text}"
        yield LedgerMismatch(books.account_no, "replay", 0, 0, text)
    if record is None or (record.seq, record.head) != (state.seq, state.head):
        yield LedgerMismatch(books.account_no, "replay", record.seq if record else 0, state.seq, "the head on record is another")
    if record is not None and record.balance_nano != state.balance_nano:
        yield LedgerMismatch(books.account_no, "replay", state.balance_nano, record.balance_nano, "another balance is on record")


def _chained(books: Books, floors: dict[int, int]) -> Iterator[LedgerMismatch]:
    """Numbers up to a floor were lost when the store was put back from an older copy; the chain begins anew above it."""
    previous: dict[int, tuple[int, bytes]] = {}
    for row in books.instruments:
        gseq, before = previous.get(row.epoch, (0, GENESIS))
        payload = open_unverified(row.envelope)[1]
        signed = decode(Instrument, payload)
        same = (signed.gseq, signed.amount_nano) == (row.gseq, row.amount_nano)
        follows = row.gseq <= floors.get(row.epoch, 0) + 1 > 1 or (row.gseq, signed.previous) == (gseq + 1, before)
        if not (same and follows):
            text = f"instrument {row.epoch}/{row.gseq} breaks the chain"
            yield LedgerMismatch(books.account_no, "chain", gseq + 1, row.gseq, text)
        previous[row.epoch] = (row.gseq, hashlib.sha256(payload).digest())


def _opened(conn: Connection, books: Books) -> Iterator[LedgerMismatch]:
    """An epoch that goes on with the open cycle of the last one that began, begins with what that one left."""
    for before, epoch in pairwise(e for e in books.epochs if e.state.opened_wh is not None):
        opening = next((e for e in epoch.entries if e.kind == Kind.OPEN and e.detail), None)
        if opening is not None and not goes_on(conn, books.account_no, before.number, before.entries, opening):
            text = f"epoch {epoch.number} entry {opening.seq}: the open cycle is not what the epoch before left"
            yield LedgerMismatch(books.account_no, "rerate", 0, 0, text)


def _used(books: Books) -> Iterator[LedgerMismatch]:
    issued = {(row.epoch, row.gseq): row.amount_nano for row in books.instruments}
    for epoch in books.epochs:
        for entry in (e for e in epoch.entries if e.kind in USING):
            amount = issued.get((epoch.number, entry.gseq))
            moved = -posted(entry, Pool.RECEIVED) - posted(entry, Pool.TRANSFER)
            if amount != moved:
                text = f"entry {entry.seq} used instrument {epoch.number}/{entry.gseq}"
                yield LedgerMismatch(books.account_no, "instrument", amount or 0, moved, text)
        for entry in (e for e in epoch.entries if e.kind == Kind.CORRECTION and e.gseq):
            signed, moved = issued.get((epoch.number, entry.gseq)), -posted(entry, Pool.ENERGY)
            if signed != moved:
                text = f"entry {entry.seq} corrected by another amount than instrument {epoch.number}/{entry.gseq}"
                yield LedgerMismatch(books.account_no, "instrument", signed or 0, moved, text)


def _sums(books: Books) -> Iterator[LedgerMismatch]:
    paid_nano = books.captured_nano - books.refunded_nano
    issued_nano = sum(row.amount_nano for row in books.paid_for) + books.waiting_nano
    if paid_nano != issued_nano:
        yield LedgerMismatch(books.account_no, "issued", paid_nano, issued_nano, "payments and instruments differ")
    charged_nano = sum(books.pool(pool) for pool in ELSEWHERE)
    found_nano = books.balance_nano + charged_nano + books.unapplied_nano + books.waiting_nano
    if paid_nano != found_nano:
        text = "payments are not balance, charges and money on the way"
        yield LedgerMismatch(books.account_no, "conservation", paid_nano, found_nano, text)
