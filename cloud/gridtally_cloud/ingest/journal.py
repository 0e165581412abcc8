"""The verified mirror of the account journals: the same replay as at the edge, over the uploaded entries.

* The ranges of a batch are taken in together: owners, mirrors and what waits are read once for all their accounts, and what changed
  is written at once. `folding.py` has the rules; nothing here depends on how ranges are grouped or in what order they come.
* Their accounts are held: none is handed to another concentrator, or paid into, between the look at whose it is and the commit.
* A mirror that stops is a `ledger_problem` row; the other accounts go on. What was in the place of an entry that follows stays in the
  problem's row, which is resolved then.
* When the mirror shows an instrument's number as used, its row of the way down is done (prepayment.md 5.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from gridtally_cloud.commands import receipts
from gridtally_cloud.customers import outgoing, price_notices
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.ingest import checkpoints
from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.ingest.folding import REWRITTEN, Fold, Kept, Resolve, Stop
from gridtally_cloud.ingest.mirror import AccountKey, Mirror, above_mirrors, check_owned, load_all, owners, save_all
from gridtally_cloud.prepay import handover, shared_wallets, withdrawn
from gridtally_cloud.store import outbox
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert_all
from gridtally_cloud.store.tables import journal_entry, ledger_problem
from gridtally_shared.contract.messages import JournalRange
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import OWN, Kind, LedgerEntry, entry_from
from gridtally_shared.records import dataclass

_J = journal_entry.c
ABOVE_MIRROR = above_mirrors(journal_entry, (_J.account_no, _J.epoch, _J.seq, _J.body))
"""Kept and not verified yet."""
_MINE = and_(_J.shard == SHARD, _J.account_no == bindparam("of_account"), _J.epoch == bindparam("of_epoch"))
BETWEEN = select(_J.seq, _J.body).where(_MINE, _J.seq >= bindparam("first"), _J.seq <= bindparam("last"))
ADDED = insert(journal_entry)
PROVED = update(journal_entry).where(_MINE, _J.seq == bindparam("of_seq"))


@dataclass(frozen=True, slots=True)
class Range:
    """An uploaded range whose entries were read."""

    key: AccountKey
    first_seq: int
    entries: tuple[Kept, ...]


def take_journal(arrival: Arrival, message: JournalRange) -> None:
    """Take in one range. Raises ContractError for one that can not be read or is not the sender's."""
    for refusal in take_ranges(arrival, (message,)).values():
        raise refusal


def take_ranges(arrival: Arrival, messages: Sequence[JournalRange]) -> Mapping[int, ContractError]:
    """Keep the entries of several ranges and fold what now follows. Those that can not be read or are not the sender's are left out;
    why, by their place in `messages`."""
    accounts = {m.account_no for m in messages}
    hold(arrival.conn, *accounts)
    owned = owners(arrival.conn, accounts)
    ranges: list[Range] = []
    refused: dict[int, ContractError] = {}
    for place, message in enumerate(messages):
        try:
            check_owned(owned, arrival.dcu, message.account_no, message.epoch)
            ranges.append(_read(message))
        except ContractError as error:
            refused[place] = error
    if ranges:
        _take(arrival, ranges)
    return refused


def _read(message: JournalRange) -> Range:
    entries = tuple(Kept(data, _entry(message, i, data)) for i, data in enumerate(message.entries))
    return Range((message.account_no, message.epoch), message.first_seq, entries)


def _entry(message: JournalRange, index: int, data: bytes) -> LedgerEntry:
    entry = entry_from(data)
    expected = (message.account_no, message.epoch, message.first_seq + index)
    if (entry.account_no, entry.epoch, entry.seq) != expected:
        raise ContractError(f"journal range of account {message.account_no}: entry {index} belongs elsewhere")
    return entry


def _take(arrival: Arrival, ranges: Sequence[Range]) -> None:
    folds = _folds(arrival, {r.key for r in ranges})
    for each in ranges:
        fold = folds[each.key]
        _recall(arrival.conn, fold, each)
        fold.take(each.entries, each.first_seq)
    waiting = checkpoints.waiting(arrival.conn, {account_no for account_no, _ in folds})
    _write(arrival, list(folds.values()))
    for fold in folds.values():
        _consequences(arrival, fold)
    checkpoints.settle(arrival, waiting, {key: fold.state for key, fold in folds.items()})


# ---- what the store holds


def _folds(arrival: Arrival, keys: set[AccountKey]) -> dict[AccountKey, Fold]:
    mirrors = load_all(arrival, keys)
    known: dict[AccountKey, dict[int, Kept]] = {key: {} for key in keys}
    for row in arrival.conn.execute(ABOVE_MIRROR, {"accounts": sorted({no for no, _ in keys})}):
        if (row.account_no, row.epoch) in known:
            known[row.account_no, row.epoch][row.seq] = Kept(bytes(row.body))
    return {key: Fold(mirrors[key].state, mirrors[key].stopped, known[key]) for key in sorted(keys)}


def _recall(conn: Connection, fold: Fold, part: Range) -> None:
    """What comes again from below the mirror is compared with what is kept."""
    last = min(fold.before.seq, part.first_seq + len(part.entries) - 1)
    if part.first_seq <= last:
        account_no, epoch = part.key
        place = {"of_account": account_no, "of_epoch": epoch, "first": part.first_seq, "last": last}
        for row in conn.execute(BETWEEN, place):
            fold.known.setdefault(row.seq, Kept(bytes(row.body)))


# ---- what changed


def _write(arrival: Arrival, folds: Sequence[Fold]) -> None:
    added = [_row(arrival, fold, seq, kept) for fold in folds for seq, kept in fold.added.items()]
    if added:
        arrival.conn.execute(ADDED, added)
    upsert_all(arrival.conn, journal_entry, [_row(arrival, fold, seq, kept) for fold in folds for seq, kept in fold.replaced.items()])
    proved = [_proof(fold, seq) for fold in folds for seq in fold.proved if seq not in fold.added and seq not in fold.replaced]
    if proved:
        arrival.conn.execute(PROVED, proved)
    save_all(arrival, [Mirror(fold.state, fold.stopped) for fold in folds])


def _row(arrival: Arrival, fold: Fold, seq: int, kept: Kept) -> dict[str, Any]:
    entry = kept.entry or entry_from(kept.data)
    return {
        "shard": SHARD, "account_no": entry.account_no, "epoch": entry.epoch, "seq": seq, "kind": entry.kind, "at_ms": entry.at_ms,
        "paid_nano": sum(p.amount_nano for p in entry.postings if p.pool in OWN), "balance_nano": fold.proved.get(seq),
        "gseq": entry.gseq, "body": kept.data, "verified": seq in fold.proved, "dcu": arrival.dcu, "received_ms": arrival.now_ms,
    }  # fmt: skip


def _proof(fold: Fold, seq: int) -> dict[str, Any]:
    return {"of_account": fold.state.account_no, "of_epoch": fold.state.epoch, "of_seq": seq, "verified": True,
            "balance_nano": fold.proved[seq]}  # fmt: skip


def _consequences(arrival: Arrival, fold: Fold) -> None:
    for finding in fold.findings:
        FINDINGS[type(finding)](arrival, finding)
    for entry in fold.followed:
        _follow(arrival, entry)
    before, used = fold.before.used, fold.state.used
    for gseq in range(before.prefix + 1, used.prefix + used.bitmap.bit_length() + 1):
        if used.is_used(gseq) and not before.is_used(gseq):
            ref = outbox.instrument_ref(fold.state.account_no, fold.state.epoch, gseq)
            outbox.done(arrival.conn, "instrument", ref, arrival.now_ms)


def _follow(arrival: Arrival, entry: LedgerEntry) -> None:
    """What an entry means beyond money: a changed way of paying, or one that the meter refused; a switch action the edge took by itself,
    above which the next order of ours is numbered (safety.md 3); a message its consumer is told by SMS and e-mail too."""
    if entry.kind == Kind.MODE:
        handover.mirrored(arrival.conn, entry)
    if entry.kind == Kind.CONTROL and not entry.gseq:
        withdrawn.mirrored(arrival.conn, entry)
    if entry.kind == Kind.TRANSFER:
        shared_wallets.mirrored(arrival.conn, entry)
    if entry.kind == Kind.SWITCH:
        receipts.note_switch_evidence(arrival.conn, entry.meter_no, entry.detail)
    if entry.kind == Kind.NOTICE:
        outgoing.take_notice(arrival.conn, entry, arrival.now_ms)
        price_notices.take_notice(arrival.conn, entry)


def _stopped(arrival: Arrival, stop: Stop) -> None:
    row = {"account_no": stop.state.account_no, "epoch": stop.state.epoch, "seq": stop.problem.seq, "code": stop.problem.code,
           "text": stop.problem.text, "body": stop.data, "dcu": arrival.dcu, "at_ms": arrival.now_ms}  # fmt: skip
    arrival.conn.execute(insert(ledger_problem).values(row))


def _resolved(arrival: Arrival, over: Resolve) -> None:
    p, stood = ledger_problem.c, over.state
    where = and_(p.account_no == stood.account_no, p.epoch == stood.epoch, p.seq > stood.seq, p.code != REWRITTEN, p.resolved_ms.is_(None))
    arrival.conn.execute(update(ledger_problem).where(where).values(resolved_ms=arrival.now_ms))


FINDINGS: Mapping[type, Callable[[Arrival, Any], None]] = {Stop: _stopped, Resolve: _resolved}
