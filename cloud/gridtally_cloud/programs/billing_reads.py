"""Billing reads: the billing system commands the monthly billing data of meters or of groups, and fetches what came.

* A job is one order to each meter for the billing rows its clock closed within a span. Groups are named (a table): a concentrator, a
  tariff, a feeder; they are looked up once, when the job is made.
* The state of a meter follows from the newest command of its order, so a command that was overtaken and sent again counts as one.
  What the meter answered is the result; one that holds no row of that time is `empty`, not `collected`.

Source: BYPL-2.1; mdm.md C.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Select, and_, func, insert, select

from gridtally_cloud.commands import service
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.terms_tables import supply_terms
from gridtally_cloud.programs.billing_read_tables import billing_read, billing_read_item
from gridtally_cloud.store.tables import command, meter
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, Readings, Value
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

MOST_METERS = 2_000
"""In one job: it is one transaction, and others wait for it."""


class MeterState(StrEnum):
    """WAITING: not at its concentrator yet; EMPTY: the meter answered, and holds no billing row of that time."""

    WAITING = "waiting"
    SENT = "sent"
    COLLECTED = "collected"
    EMPTY = "empty"
    FAILED = "failed"


C, M = CommandState, MeterState
ENDED = frozenset({M.COLLECTED, M.EMPTY, M.FAILED})
STATES: Mapping[CommandState, MeterState] = {
    C.ACCEPTED: M.WAITING, C.SCHEDULED: M.WAITING, C.QUARANTINED: M.WAITING, C.QUEUED: M.WAITING, C.DELIVERED: M.SENT,
    C.EXECUTING: M.SENT, C.DONE: M.COLLECTED, C.REFUSED: M.FAILED, C.FAILED: M.FAILED, C.EXPIRED: M.FAILED, C.CANCELLED: M.FAILED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """`meters` and the groups (kind to names) together."""

    from_ms: int
    to_ms: int
    meters: tuple[int, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One meter of a job; `values` is what it answered, each at the moment of its row."""

    meter_no: int
    state: MeterState
    reason: str
    cmd_id: bytes | None
    state_at_ms: int
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """`counts`: meters by state, every state named."""

    job_no: int
    asked: str
    from_ms: int
    to_ms: int
    requested_by: str
    created_ms: int
    counts: Mapping[MeterState, int]

    @property
    def is_done(self) -> bool:
        return all(state in ENDED for state, n in self.counts.items() if n)


# ---- groups ---------------------------------------------------------------------------------------------------


def _of_tariff(name: str) -> Select[Any]:
    return select(account.c.meter_no).where(account.c.tariff_id == name, account.c.closed_ms.is_(None))


def _of_feeder(name: str) -> Select[Any]:
    join = account.join(supply_terms, supply_terms.c.account_no == account.c.account_no)
    return select(account.c.meter_no).select_from(join).where(supply_terms.c.feeder == name, account.c.closed_ms.is_(None))


GROUPS: Mapping[str, Callable[[str], Select[Any]]] = {
    "dcu": lambda name: select(meter.c.meter_no).where(meter.c.dcu == name, meter.c.removed_ms.is_(None)),
    "tariff": _of_tariff,
    "feeder": _of_feeder,
}


def _meters(conn: Connection, wanted: Wanted) -> tuple[int, ...]:
    """Each once, by number. Raises RefusedCommand for a group without a meter, and for none or too many."""
    found = set(wanted.meters)
    for kind, name in wanted.groups:
        mine = {number for number in conn.execute(GROUPS[kind](name)).scalars() if number is not None}
        if not mine:
            raise RefusedCommand(Reason.MALFORMED, f"no meter belongs to {kind} {name!r}: check its name")
        found |= mine
    if not 1 <= len(found) <= MOST_METERS:
        raise RefusedCommand(Reason.MALFORMED, f"{len(found):,} meters: a job has 1 to {MOST_METERS:,}; ask for larger groups in parts")
    return tuple(sorted(found))


# ---- asking ---------------------------------------------------------------------------------------------------


def start(conn: Connection, signer: Signer, wanted: Wanted, by: str, now_ms: int) -> Job:
    """Raises RefusedCommand for what can not be asked at all; a meter that can not be ordered is an item that failed."""
    if not 0 < wanted.from_ms < wanted.to_ms:
        raise RefusedCommand(Reason.MALFORMED, "say from when to when the billing rows were closed: from lies before to")
    numbers = _meters(conn, wanted)
    row = {"asked": _words(wanted), "from_ms": wanted.from_ms, "to_ms": wanted.to_ms, "requested_by": by, "created_ms": now_ms}
    job_no = conn.execute(insert(billing_read).values(row).returning(billing_read.c.job_no)).scalar_one()
    conn.execute(insert(billing_read_item), [_ordered(conn, signer, job_no, number, wanted, by, now_ms) for number in numbers])
    record(conn, now_ms, by, "billing_read.asked", f"billing_read:{job_no}", f"{len(numbers)} meters, {row['asked']}")
    return find_job(conn, job_no)


def _words(wanted: Wanted) -> str:
    named = [f"{kind} {name}" for kind, name in wanted.groups]
    return ", ".join([*named, *([f"{len(wanted.meters)} by number"] if wanted.meters else [])])


def _ordered(conn: Connection, signer: Signer, job_no: int, meter_no: int, wanted: Wanted, by: str, now_ms: int) -> dict[str, Any]:
    request = CommandRequest(meter_no, CommandType.READ_BILLING, by, f"billing read {job_no}", from_ms=wanted.from_ms, to_ms=wanted.to_ms)
    item: dict[str, Any] = {"job_no": job_no, "meter_no": meter_no, "order_id": None, "reason": ""}
    try:
        return item | {"order_id": service.issue(conn, signer, request, now_ms).cmd_id}
    except RefusedCommand as refused:
        return item | {"reason": refused.detail or refused.reason}


# ---- how far it is --------------------------------------------------------------------------------------------


def find_job(conn: Connection, job_no: int) -> Job:
    """Raises RefusedCommand (malformed) for a job nobody asked for."""
    row = conn.execute(select(billing_read).where(billing_read.c.job_no == job_no)).one_or_none()
    if row is None:
        raise RefusedCommand(Reason.MALFORMED, f"there is no billing read {job_no}")
    found = Counter(item.state for item in _items(conn, job_no))
    counts = {state: found[state] for state in MeterState}
    return Job(row.job_no, row.asked, row.from_ms, row.to_ms, row.requested_by, row.created_ms, counts)


def results(conn: Connection, job_no: int, after: int = 0, limit: int = 100) -> tuple[Item, ...]:
    """Meters of a job by number, those after one, with what they answered."""
    return tuple(_items(conn, job_no, after, limit))


def _items(conn: Connection, job_no: int, after: int = 0, limit: int = MOST_METERS) -> Iterator[Item]:
    i = billing_read_item.c
    mine = select(billing_read_item).where(i.job_no == job_no, i.meter_no > after).order_by(i.meter_no).limit(limit)
    rows = conn.execute(mine).all()
    newest = _newest(conn, [bytes(row.order_id) for row in rows if row.order_id is not None])
    return (_item(row, newest.get(bytes(row.order_id)) if row.order_id is not None else None) for row in rows)


def _newest(conn: Connection, orders: Sequence[bytes]) -> dict[bytes, Any]:
    """The newest command of each order."""
    c = command.c
    last = select(c.order_id, func.max(c.issued_at_ms).label("at_ms")).where(c.order_id.in_(orders)).group_by(c.order_id).subquery()
    join = command.join(last, and_(c.order_id == last.c.order_id, c.issued_at_ms == last.c.at_ms))
    rows: Iterable[Any] = conn.execute(select(c.order_id, c.cmd_id, c.state, c.reason, c.state_at_ms, c.result).select_from(join))
    return {bytes(row.order_id): row for row in rows}


def _item(row: Any, sent: Any) -> Item:
    if sent is None:
        return Item(row.meter_no, M.FAILED, row.reason, None, 0)
    state = STATES[C(sent.state)]
    values = _values(bytes(sent.result or b""), row.meter_no) if state is M.COLLECTED else ()
    if state is M.COLLECTED and not values:
        state = M.EMPTY
    return Item(row.meter_no, state, sent.reason or "", bytes(sent.cmd_id), sent.state_at_ms, values)


def _values(result: bytes, meter_no: int) -> tuple[Value, ...]:
    """An answer that can not be read is none."""
    try:
        return tuple(value for value in decode(Readings, result).values if value.meter_no == meter_no) if result else ()
    except ContractError:
        return ()
