"""The verified mirror of the account journals: the same replay as at the edge, over the uploaded entries.

* Every entry is kept as its bytes; the mirror folds them in order of their number, whatever order they came in.
* An entry that does not follow from the one before is a `ledger_problem` row and stops the mirror of that account; the
  others go on. What comes later is kept, unverified. So is another entry under a number already held.
* When the mirror shows an instrument's number as used, its row of the way down is done (prepayment.md 5.3).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from gridtally_cloud.commands import receipts
from gridtally_cloud.customers.tables import account
from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.store import outbox
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import account_mirror, journal_entry, ledger_problem, meter
from gridtally_shared import cbor
from gridtally_shared.contract.codec import INT_MAX
from gridtally_shared.contract.messages import AccountHead, JournalRange
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, entry_from
from gridtally_shared.ledger.replay import LedgerState, Problem, apply, problem_of, replay
from gridtally_shared.ledger.window import UsedWindow

_FIELDS = tuple(f.name for f in fields(LedgerState) if f.name not in ("account_no", "epoch"))


@dataclass(frozen=True, slots=True)
class Mirror:
    state: LedgerState
    stopped: bool


def take_journal(arrival: Arrival, message: JournalRange) -> None:
    """Keep the entries of a range and fold what now follows. Raises ContractError for one that can not be read."""
    _check_owner(arrival, message.account_no)
    entries = [_entry(message, i, data) for i, data in enumerate(message.entries)]
    for entry, data in zip(entries, message.entries, strict=True):
        _keep(arrival, entry, data)
    fold(arrival, message.account_no, message.epoch)


def _check_owner(arrival: Arrival, account_no: int) -> None:
    query = select(meter.c.dcu).select_from(account.join(meter, account.c.meter_no == meter.c.meter_no))
    owner = arrival.conn.execute(query.where(account.c.account_no == account_no)).scalar_one_or_none()
    if owner != arrival.dcu:
        raise ContractError(f"account {account_no} is not served by {arrival.dcu}")


def _entry(message: JournalRange, index: int, data: bytes) -> LedgerEntry:
    entry = entry_from(data)
    expected = (message.account_no, message.epoch, message.first_seq + index)
    if (entry.account_no, entry.epoch, entry.seq) != expected:
        raise ContractError(f"journal range of account {message.account_no}: entry {index} belongs elsewhere")
    return entry


def _keep(arrival: Arrival, entry: LedgerEntry, data: bytes) -> None:
    j = journal_entry.c
    where = and_(j.shard == SHARD, j.account_no == entry.account_no, j.epoch == entry.epoch, j.seq == entry.seq)
    held = arrival.conn.execute(select(j.body).where(where)).scalar_one_or_none()
    if held is None:
        row = {"shard": SHARD, "account_no": entry.account_no, "epoch": entry.epoch, "seq": entry.seq, "kind": entry.kind,
               "at_ms": entry.at_ms, "paid_nano": _paid(entry), "gseq": entry.gseq, "body": data, "dcu": arrival.dcu,
               "received_ms": arrival.now_ms}  # fmt: skip
        arrival.conn.execute(insert(journal_entry).values(row))
    elif bytes(held) != data:
        problem = Problem(entry.seq, "rewritten", f"entry {entry.seq} came again with other content")
        _stop(arrival, entry.account_no, entry.epoch, problem, data)


def _paid(entry: LedgerEntry) -> int:
    return sum(p.amount_nano for p in entry.postings if p.pool == Pool.PAID)


def fold(arrival: Arrival, account_no: int, epoch: int) -> None:
    """Bring the mirror as far as the kept entries reach without a gap."""
    mirror = load(arrival.conn, account_no, epoch)
    if mirror.stopped:
        return
    state, used = mirror.state, mirror.state.used
    for row in _unverified(arrival.conn, state):
        entry = entry_from(bytes(row.body))
        if entry.seq != state.seq + 1:
            break
        problem = problem_of(state, entry)
        if problem is not None:
            _save(arrival, state, stopped=False)
            _stop(arrival, account_no, epoch, problem, bytes(row.body))
            break
        state = apply(state, entry)
        _verified(arrival.conn, state)
        _note_switch(arrival.conn, entry)
    else:
        _save(arrival, state, stopped=False)
    _instruments_done(arrival, state, used)


def _unverified(conn: Connection, state: LedgerState) -> list[Any]:
    j = journal_entry.c
    where = and_(j.shard == SHARD, j.account_no == state.account_no, j.epoch == state.epoch, j.seq > state.seq)
    return list(conn.execute(select(j.body).where(where).order_by(j.seq)))


def _verified(conn: Connection, state: LedgerState) -> None:
    j = journal_entry.c
    where = and_(j.shard == SHARD, j.account_no == state.account_no, j.epoch == state.epoch, j.seq == state.seq)
    conn.execute(update(journal_entry).where(where).values(verified=True, balance_nano=state.balance_nano))


def _note_switch(conn: Connection, entry: LedgerEntry) -> None:
    """A switch action the edge took by itself: the next order of ours is numbered above it (safety.md 3)."""
    if entry.kind == Kind.SWITCH:
        receipts.note_switch_evidence(conn, entry.meter_no, entry.detail)


def _instruments_done(arrival: Arrival, state: LedgerState, before: UsedWindow) -> None:
    top = state.used.prefix + state.used.bitmap.bit_length()
    for gseq in range(before.prefix + 1, top + 1):
        if state.used.is_used(gseq) and not before.is_used(gseq):
            ref = outbox.instrument_ref(state.account_no, state.epoch, gseq)
            outbox.done(arrival.conn, "instrument", ref, arrival.now_ms)


# ---- the mirror's row -----------------------------------------------------------------------------------------


def load(conn: Connection, account_no: int, epoch: int) -> Mirror:
    """The mirror of an account; a new one where nothing came yet."""
    m = account_mirror.c
    where = and_(m.shard == SHARD, m.account_no == account_no, m.epoch == epoch)
    row = conn.execute(select(m.state, m.stopped).where(where).with_for_update()).first()
    if row is None:
        return Mirror(LedgerState(account_no, epoch), False)
    return Mirror(_state_from(conn, account_no, epoch, bytes(row.state)), row.stopped)


def _save(arrival: Arrival, state: LedgerState, stopped: bool) -> None:
    upsert(arrival.conn, account_mirror, {
        "shard": SHARD, "account_no": state.account_no, "epoch": state.epoch, "dcu": arrival.dcu, "seq": state.seq,
        "head": state.head, "balance_nano": state.balance_nano, "gseq_prefix": state.used.prefix, "state": _state_bytes(state),
        "meter_no": state.meter_no, "register_wh": state.register_wh, "at_ms": state.at_ms, "stopped": stopped,
        "updated_ms": arrival.now_ms,
    })  # fmt: skip


def _stop(arrival: Arrival, account_no: int, epoch: int, problem: Problem, body: bytes) -> None:
    row = {"account_no": account_no, "epoch": epoch, "seq": problem.seq, "code": problem.code, "text": problem.text,
           "body": body, "dcu": arrival.dcu, "at_ms": arrival.now_ms}  # fmt: skip
    arrival.conn.execute(insert(ledger_problem).values(row))
    _save(arrival, load(arrival.conn, account_no, epoch).state, stopped=True)


def _state_bytes(state: LedgerState) -> bytes:
    """Every field by name, so that a field added to the replay later is noticed as missing."""
    held = {name: getattr(state, name) for name in _FIELDS}
    return cbor.dumps(held | {"pools": dict(state.pools), "used": [state.used.prefix, state.used.bitmap]})


def _state_from(conn: Connection, account_no: int, epoch: int, data: bytes) -> LedgerState:
    """The state as it was saved; by replay of the verified entries where this version's state has other fields."""
    held = cbor.loads(data)
    if set(held) != set(_FIELDS):
        j = journal_entry.c
        where = and_(j.shard == SHARD, j.account_no == account_no, j.epoch == epoch, j.verified)
        bodies = conn.execute(select(j.body).where(where).order_by(j.seq)).scalars()
        return replay(account_no, epoch, (entry_from(bytes(body)) for body in bodies))[0]
    return LedgerState(account_no, epoch, **held | {"used": UsedWindow(*held["used"])})


def account_heads(conn: Connection, dcu: str) -> tuple[AccountHead, ...]:
    """What the mirrors of a DCU's accounts hold, for the welcome."""
    m = account_mirror.c
    rows = conn.execute(select(m.account_no, m.epoch, m.state).where(m.shard == SHARD, m.dcu == dcu).order_by(m.account_no))
    states = [_state_from(conn, row.account_no, row.epoch, bytes(row.state)) for row in rows.all()]
    return tuple(AccountHead(s.account_no, s.epoch, s.seq, s.head, s.used.prefix, s.used.bitmap & INT_MAX) for s in states)
