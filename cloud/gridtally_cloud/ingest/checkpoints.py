"""Checkpoints of the edge's journals: checked against the mirror by replay, then countersigned (prepayment.md 5.5).

* The edge signs where a journal stands; this side compares head, balance, meter and register with its own replay up to that
  entry and signs the same bytes. From then on a head behind it is an old disk image, whatever the box says.
* One that comes before its entries waits for them. The same one again is answered again: the answer may have been lost.
* A mismatch is a row of `ledger_problem` for staff. It never moves money and never stops a mirror.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from gridtally_cloud.ingest.arrival import Arrival, Reply
from gridtally_cloud.ingest.mirror import AccountKey, above_mirrors, check_owned, mirrors_of, owners, state_bytes, state_from, verified
from gridtally_cloud.ingest.tables import checkpoint
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import dcu, ledger_problem
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.prepay_messages import Checkpoint, SignedCheckpoint
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.replay import LedgerState, apply
from gridtally_shared.ledger.seal import seal_of
from gridtally_shared.signing import key_id_of, verify1

CHANNEL = "checkpoint"
WAITING, GOOD, MISMATCH = "waiting", "good", "mismatch"

_C = checkpoint.c
_THIS = and_(_C.shard == SHARD, _C.account_no == bindparam("of_account"), _C.epoch == bindparam("of_epoch"), _C.seq == bindparam("of_seq"))
HELD = select(_C.state, _C.payload).where(_THIS)
WAITING_ABOVE = above_mirrors(checkpoint, tuple(_C)).where(_C.state == WAITING)


def take_checkpoint(arrival: Arrival, message: SignedCheckpoint) -> None:
    """Take in one checkpoint. Raises ContractError for one that is not this edge's."""
    for refusal in take_checkpoints(arrival, (message,)).values():
        raise refusal


def take_checkpoints(arrival: Arrival, messages: Sequence[SignedCheckpoint]) -> Mapping[int, ContractError]:
    """Keep checkpoints and judge those the mirror has reached. What is not this edge's is left out; why, by its place in `messages`."""
    keys = _keys(arrival)
    read: dict[int, tuple[Checkpoint, bytes]] = {}
    refused: dict[int, ContractError] = {}
    for place, message in enumerate(messages):
        try:
            read[place] = _read(keys, arrival.dcu, message)
        except ContractError as error:
            refused[place] = error
    owned = owners(arrival.conn, {given.account_no for given, _ in read.values()})
    for place, (given, _) in list(read.items()):
        try:
            check_owned(owned, arrival.dcu, given.account_no)
        except ContractError as error:
            refused[place] = error
            del read[place]
    _keep(arrival, [(given, payload, messages[place].envelope) for place, (given, payload) in read.items()])
    return refused


def _read(keys: Mapping[bytes, bytes], dcu_name: str, message: SignedCheckpoint) -> tuple[Checkpoint, bytes]:
    payload = verify1(keys, CHANNEL, message.envelope)
    given = decode(Checkpoint, payload)
    if given.dcu != dcu_name:
        raise ContractError(f"a checkpoint of {given.dcu}")
    return given, payload


def _keep(arrival: Arrival, told: Sequence[tuple[Checkpoint, bytes, bytes]]) -> None:
    mirrors = mirrors_of(arrival.conn, {(given.account_no, given.epoch) for given, _, _ in told})
    fresh: dict[tuple[int, int, int], dict[str, Any]] = {}
    for given, payload, envelope in told:
        key = (given.account_no, given.epoch, given.seq)
        held = fresh.get(key) or _held(arrival.conn, given)
        if held is None:
            row = {"shard": SHARD, "account_no": given.account_no, "epoch": given.epoch, "seq": given.seq, "dcu": arrival.dcu,
                   "payload": payload, "envelope": envelope, "received_ms": arrival.now_ms}  # fmt: skip
            mirror = mirrors.get(key[:2])
            fresh[key] = row | _judged(arrival, given, payload, envelope, mirror.state if mirror else None)
        elif bytes(held["payload"]) != payload:
            _finding(arrival, given, envelope, "another checkpoint of the same entry was signed before")
        elif held["state"] == GOOD:
            arrival.replies.append(Reply(CHANNEL, payload))
    if fresh:
        arrival.conn.execute(insert(checkpoint), list(fresh.values()))


def _held(conn: Connection, given: Checkpoint) -> Mapping[Any, Any] | None:
    place = {"of_account": given.account_no, "of_epoch": given.epoch, "of_seq": given.seq}
    return conn.execute(HELD, place).mappings().first()


def _judged(arrival: Arrival, given: Checkpoint, payload: bytes, envelope: bytes, mirrored: LedgerState | None) -> dict[str, Any]:
    """How a checkpoint stands against the mirror; it is answered, or a row for staff, where the mirror is so far."""
    if mirrored is None or given.seq > mirrored.seq:
        return {"state": WAITING, "settled_ms": None, "ledger_state": None}
    state = mirrored if mirrored.seq == given.seq else _state_at(arrival.conn, given)
    text = difference(given, state)
    if text:
        _finding(arrival, given, envelope, text)
    else:
        arrival.replies.append(Reply(CHANNEL, payload))
    return {"state": MISMATCH if text else GOOD, "settled_ms": arrival.now_ms, "ledger_state": None if text else state_bytes(state)}


def waiting(conn: Connection, accounts: Iterable[int]) -> Sequence[Any]:
    """Those of several accounts that wait for entries. What a mirror has reached was settled when it did."""
    return sorted(conn.execute(WAITING_ABOVE, {"accounts": sorted(set(accounts))}), key=lambda row: (row.account_no, row.epoch, row.seq))


def settle(arrival: Arrival, rows: Sequence[Any], states: Mapping[AccountKey, LedgerState]) -> None:
    """Check those of `waiting` that the mirrors cover now."""
    for row in rows:
        state = states.get((row.account_no, row.epoch))
        if state is not None and row.seq <= state.seq:
            given = decode(Checkpoint, bytes(row.payload))
            values = _judged(arrival, given, bytes(row.payload), bytes(row.envelope), state)
            arrival.conn.execute(update(checkpoint).where(_is(given)).values(values))


def difference(given: Checkpoint, state: LedgerState) -> str:
    """What the edge says otherwise than the replay; empty when they agree."""
    pairs = (
        ("entry", given.entry_hash.hex()[:16], state.head.hex()[:16]),
        ("balance", given.balance_nano, state.balance_nano),
        ("meter", given.meter_no, state.meter_no),
        ("register", given.register_wh, state.register_wh),
        ("seal", given.seal.hex()[:16], seal_of(state).hex()[:16] if given.seal else ""),
    )
    return ", ".join(f"{name}: the edge says {theirs}, the mirror {ours}" for name, theirs, ours in pairs if theirs != ours)


def newest(conn: Connection, account_no: int, epoch: int, before_seq: int | None = None) -> LedgerState:
    """The state at the newest countersigned checkpoint (before an entry); the empty one where there is none."""
    c = checkpoint.c
    where = and_(c.shard == SHARD, c.account_no == account_no, c.epoch == epoch, c.state == GOOD)
    query = select(c.ledger_state).where(where if before_seq is None else and_(where, c.seq < before_seq))
    held = conn.execute(query.order_by(c.seq.desc()).limit(1)).scalar_one_or_none()
    return LedgerState(account_no, epoch) if held is None else state_from(conn, account_no, epoch, bytes(held))


def _state_at(conn: Connection, given: Checkpoint) -> LedgerState:
    state = newest(conn, given.account_no, given.epoch, given.seq)
    for entry in verified(conn, given.account_no, given.epoch, state.seq + 1):
        if entry.seq > given.seq:
            break
        state = apply(state, entry)
    return state


def _finding(arrival: Arrival, given: Checkpoint, body: bytes, text: str) -> None:
    row = {"account_no": given.account_no, "epoch": given.epoch, "seq": given.seq, "code": CHANNEL, "text": text, "body": body,
           "dcu": arrival.dcu, "at_ms": arrival.now_ms}  # fmt: skip
    arrival.conn.execute(insert(ledger_problem).values(row))


def _is(given: Checkpoint) -> Any:
    c = checkpoint.c
    return and_(c.shard == SHARD, c.account_no == given.account_no, c.epoch == given.epoch, c.seq == given.seq)


def _keys(arrival: Arrival) -> dict[bytes, bytes]:
    public = arrival.conn.execute(select(dcu.c.journal_key).where(dcu.c.dcu == arrival.dcu)).scalar_one_or_none()
    return {key_id_of(bytes(public)): bytes(public)} if public else {}
