"""The row that holds an account's verified mirror, and what an edge may be sent back of it (prepayment.md T27).

* The state is the replayed `LedgerState`, field by field, so that a field a later version adds is noticed as missing and
  the state is replayed from the kept entries.
* An edge that lost entries asks from a number on; it is sent only entries this side has verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Integer, Select, Table, and_, bindparam, literal_column, select

from gridtally_cloud.customers.tables import account
from gridtally_cloud.ingest.arrival import Arrival, Reply
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new, upsert_all
from gridtally_cloud.store.tables import account_mirror, journal_entry, meter
from gridtally_shared import cbor
from gridtally_shared.contract.channels import MAX_PAYLOAD_BYTES
from gridtally_shared.contract.codec import INT_MAX, encode
from gridtally_shared.contract.messages import AccountHead, JournalRange
from gridtally_shared.contract.prepay_messages import MirrorAsk
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import LedgerEntry, entry_from
from gridtally_shared.ledger.replay import LedgerState, replay
from gridtally_shared.ledger.window import UsedWindow
from gridtally_shared.records import dataclass

_FIELDS = tuple(f.name for f in fields(LedgerState) if f.name not in ("account_no", "epoch"))
RANGE_BYTES = MAX_PAYLOAD_BYTES // 2


AccountKey = tuple[int, int]
"""Account number and epoch."""


@dataclass(frozen=True, slots=True)
class Mirror:
    state: LedgerState
    stopped: bool


@dataclass(frozen=True, slots=True)
class Owner:
    """The concentrator that serves an account, in which epoch."""

    dcu: str
    epoch: int


_THESE: BindParameter[Any] = bindparam("accounts", expanding=True)
_SERVED = account.join(meter, account.c.meter_no == meter.c.meter_no)
_OWNERS = select(account.c.account_no, meter.c.dcu, account.c.account_epoch).select_from(_SERVED).where(account.c.account_no.in_(_THESE))
_M = account_mirror.c
_OF_THESE = select(_M.account_no, _M.epoch, _M.state, _M.stopped).where(_M.shard == SHARD, _M.account_no.in_(_THESE))
_MIRRORS = _OF_THESE.order_by(_M.account_no, _M.epoch).with_for_update()


def above_mirrors(table: Table, columns: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """Rows of a table of accounts, epochs and numbers that are above the mirrors of `accounts`. The zero that is added makes the store
    begin at the mirrors: it reads what is above each, not whole journals."""
    t, nothing = table.c, literal_column("0", Integer)
    same = and_(t.shard == _M.shard + nothing, t.account_no == _M.account_no + nothing, t.epoch == _M.epoch)
    query = select(*columns).select_from(account_mirror.join(table, same))
    return query.where(_M.shard == SHARD, _M.account_no.in_(_THESE), t.seq > _M.seq)


def check_owner(arrival: Arrival, account_no: int, epoch: int | None = None) -> None:
    """`check_owned` of one account."""
    check_owned(owners(arrival.conn, (account_no,)), arrival.dcu, account_no, epoch)


def owners(conn: Connection, accounts: Iterable[int]) -> Mapping[int, Owner]:
    """Which concentrator serves each account, where one does."""
    rows = conn.execute(_OWNERS, {"accounts": sorted(set(accounts))})
    return {row.account_no: Owner(row.dcu, row.account_epoch) for row in rows}


def check_owned(owned: Mapping[int, Owner], dcu: str, account_no: int, epoch: int | None = None) -> None:
    """Raises ContractError unless `dcu` serves the account's meter, or for an epoch that is over: what still comes of it is kept
    aside as evidence, its use is charged in the next one."""
    owner = owned.get(account_no)
    if owner is None or owner.dcu != dcu:
        raise ContractError(f"account {account_no} is not served by {dcu}")
    if epoch is not None and epoch < owner.epoch:
        raise ContractError(f"account {account_no}: epoch {epoch} is over, the present one is {owner.epoch}")


def load(conn: Connection, account_no: int, epoch: int) -> Mirror:
    """The mirror of an account; a new one where nothing came yet."""
    key = (account_no, epoch)
    return mirrors_of(conn, {key}).get(key) or Mirror(LedgerState(account_no, epoch), False)


def load_all(arrival: Arrival, keys: set[AccountKey]) -> Mapping[AccountKey, Mirror]:
    """The mirrors of accounts, each with its row in the store from now on, taken for this transaction."""
    held = mirrors_of(arrival.conn, keys)
    missing = sorted(keys - held.keys())
    if missing:
        insert_new(arrival.conn, account_mirror, [_row(arrival, Mirror(LedgerState(*key), False)) for key in missing])
        held = mirrors_of(arrival.conn, keys)
    return held


def mirrors_of(conn: Connection, keys: set[AccountKey]) -> dict[AccountKey, Mirror]:
    """The mirrors that are there."""
    rows = conn.execute(_MIRRORS, {"accounts": sorted({account_no for account_no, _ in keys})}).all()
    wanted = [((row.account_no, row.epoch), row) for row in rows if (row.account_no, row.epoch) in keys]
    return {key: Mirror(state_from(conn, *key, bytes(row.state)), row.stopped) for key, row in wanted}


def save_all(arrival: Arrival, mirrors: Sequence[Mirror]) -> None:
    upsert_all(arrival.conn, account_mirror, [_row(arrival, mirror) for mirror in mirrors])


def _row(arrival: Arrival, mirror: Mirror) -> dict[str, Any]:
    state = mirror.state
    return {
        "shard": SHARD, "account_no": state.account_no, "epoch": state.epoch, "dcu": arrival.dcu, "seq": state.seq,
        "head": state.head, "balance_nano": state.balance_nano, "gseq_prefix": state.used.prefix, "state": state_bytes(state),
        "meter_no": state.meter_no, "register_wh": state.register_wh, "at_ms": state.at_ms, "stopped": mirror.stopped,
        "updated_ms": arrival.now_ms,
    }  # fmt: skip


def state_bytes(state: LedgerState) -> bytes:
    held = {name: getattr(state, name) for name in _FIELDS}
    return cbor.dumps(held | {"pools": dict(state.pools), "used": [state.used.prefix, state.used.bitmap]})


def state_from(conn: Connection, account_no: int, epoch: int, data: bytes) -> LedgerState:
    """The state as it was saved; by replay of the verified entries where this version's state has other fields."""
    held = cbor.loads(data)
    if set(held) != set(_FIELDS):
        return replay(account_no, epoch, verified(conn, account_no, epoch, 1))[0]
    return LedgerState(account_no, epoch, **held | {"used": UsedWindow(*held["used"])})


def verified(conn: Connection, account_no: int, epoch: int, from_seq: int) -> Iterator[LedgerEntry]:
    """The mirrored entries from a number on, in order."""
    return (entry_from(body) for body in _bodies(conn, account_no, epoch, from_seq))


_j = journal_entry.c
_BODIES = (select(_j.body)
           .where(_j.shard == SHARD, _j.account_no == bindparam("of_account"), _j.epoch == bindparam("of_epoch"),
                  _j.seq >= bindparam("from_seq"), _j.verified)
           .order_by(_j.seq))  # fmt: skip
_HEADS = select(_M.account_no, _M.epoch, _M.state).where(_M.shard == SHARD, _M.dcu == bindparam("of_dcu")).order_by(_M.account_no)


def _bodies(conn: Connection, account_no: int, epoch: int, from_seq: int) -> Iterator[bytes]:
    rows = conn.execute(_BODIES, {"of_account": account_no, "of_epoch": epoch, "from_seq": from_seq})
    return (bytes(body) for body in rows.scalars())


def account_heads(conn: Connection, dcu: str) -> tuple[AccountHead, ...]:
    """What the mirrors of a DCU's accounts hold, for the welcome."""
    rows = conn.execute(_HEADS, {"of_dcu": dcu})
    states = [state_from(conn, row.account_no, row.epoch, bytes(row.state)) for row in rows.all()]
    return tuple(AccountHead(s.account_no, s.epoch, s.seq, s.head, s.used.prefix, s.used.bitmap & INT_MAX) for s in states)


def take_ask(arrival: Arrival, ask: MirrorAsk) -> None:
    """Answer an edge that lost entries. Raises ContractError for another concentrator's account."""
    check_owner(arrival, ask.account_no)
    for part in _ranges(arrival.conn, ask):
        arrival.replies.append(Reply("mirror", encode(part)))


def _ranges(conn: Connection, ask: MirrorAsk) -> Iterator[JournalRange]:
    part: list[bytes] = []
    first, size = max(1, ask.from_seq), 0
    for body in _bodies(conn, ask.account_no, ask.epoch, first):
        if part and size + len(body) > RANGE_BYTES:
            yield JournalRange(ask.account_no, ask.epoch, first, tuple(part))
            first, part, size = first + len(part), [], 0
        part.append(body)
        size += len(body)
    if part:
        yield JournalRange(ask.account_no, ask.epoch, first, tuple(part))
