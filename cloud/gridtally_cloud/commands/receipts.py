"""What the edge says about a command, and what time says when the edge does not.

* A receipt moves the command along the life cycle; one that comes again or too late is logged and changes nothing.
* An overtaken command is issued again under its order with a new counter, unless a newer switch order exists for
  the meter, it has expired, or it was tried three times (architecture.md section 3).
* What a read of intervals brought goes into the inbox with its receipt (mdm.md B.3 row 1).
* A command without an end at its expiry ends EXPIRED; one that was sent gets a minute of grace for its receipt.
"""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from gridtally_cloud.commands import service, states
from gridtally_cloud.commands.model import CommandView
from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_cloud.meters import reported
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import command
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandReceipt, CommandType, Intervals
from gridtally_shared.contract.receipts import receipt_faults
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import SENT_AHEAD_MS, TERMINAL, CommandState, Reason
from gridtally_shared.signing import Signer

S = CommandState
MAX_TRIES = 3
GRACE_MS = 60_000
TIMES = ("answered_at_ms", "delivered_at_ms", "completed_at_ms", "ended_at_ms")
OPEN_STATES = tuple(int(s) for s in S if s < S.DONE)


def take_receipt(arrival: Arrival, receipt: CommandReceipt) -> None:
    """Raises ContractError for a command that never went to this DCU, and for a receipt that does not say message, meter and time."""
    conn = arrival.conn
    faults = tuple(receipt_faults(receipt))
    if faults:
        raise ContractError(f"an incomplete receipt: {faults[0]}")
    found = states.find(conn, receipt.cmd_id)
    if found is None or found.dcu != arrival.dcu or found.meter_no != receipt.meter_no:
        raise ContractError(f"a receipt for command {receipt.cmd_id.hex()}, which never went to {arrival.dcu}")
    _note_times(conn, receipt, arrival.now_ms)
    if found.type in service.SWITCHES:
        note_switch_evidence(conn, found.meter_no, receipt.result)
    states.advance(conn, receipt.cmd_id, S(receipt.state), receipt.at_ms, f"dcu:{arrival.dcu}", receipt.reason, receipt.result)
    with contextlib.suppress(ContractError):  # a result that can not be read is shown as it came, and says nothing of the meter
        reported.note(conn, found.type, found.meter_no, receipt.result, receipt.at_ms)
        _take_values(arrival, found, receipt)
    outbox.done(conn, "command", receipt.cmd_id.hex(), arrival.now_ms)


def _take_values(arrival: Arrival, found: CommandView, receipt: CommandReceipt) -> None:
    """Intervals that were read on demand are values as any others: known ones are dropped, missing ones fill their gap, another value
    stands beside the first."""
    if found.type is CommandType.READ_INTERVALS and receipt.state == S.DONE and receipt.result:
        blocks = decode(Intervals, receipt.result).blocks
        take_intervals(arrival, Intervals(tuple(block for block in blocks if block.meter_no == found.meter_no)))


def _note_times(conn: Connection, receipt: CommandReceipt, now_ms: int) -> None:
    """When the edge first and last spoke of it, and its own time of the end: what the figures of C3 are counted from."""
    c = command.c
    ended = S(receipt.state) in TERMINAL
    values = {"answered_at_ms": now_ms, "delivered_at_ms": func.coalesce(c.delivered_at_ms, now_ms)}
    ends = {"completed_at_ms": func.coalesce(c.completed_at_ms, receipt.at_ms), "ended_at_ms": func.coalesce(c.ended_at_ms, now_ms)}
    conn.execute(update(command).where(c.cmd_id == receipt.cmd_id).values(**values, **(ends if ended else {})))


def note_switch_evidence(conn: Connection, meter_no: int, evidence: bytes) -> None:
    """Number our next switch order above the newest action the edge tells of; evidence that can not be read says nothing."""
    with contextlib.suppress(ContractError):
        service.raise_switch_counter(conn, meter_no, decode(SwitchEvidence, evidence).counter)


def resend_open(conn: Connection, dcu: str, now_ms: int) -> None:
    """An edge on an old disk image has forgotten what it held: everything without an end goes down again. What it still knows
    it answers as before, what it does not it takes anew."""
    c = command.c
    is_open = (c.dcu == dcu, c.state.in_(OPEN_STATES))
    rows = conn.execute(select(c.cmd_id).where(*is_open).order_by(c.cmd_id).with_for_update()).scalars()  # none is taken back meanwhile
    outbox.resend_unended(conn, dcu, "command", [bytes(cmd_id).hex() for cmd_id in rows], now_ms)


def reissue_overtaken(conn: Connection, signer: Signer, now_ms: int) -> tuple[bytes, ...]:
    """Send again, under the same order, what was refused only because a newer counter came first."""
    c = command.c
    where = and_(c.state == int(S.REFUSED), c.reason == Reason.OVERTAKEN, c.expires_ms > now_ms)
    rows = conn.execute(select(command).where(where)).all()
    return tuple(_again(conn, signer, row, now_ms) for row in rows if _worth_it(conn, row))


def _worth_it(conn: Connection, row: Any) -> bool:
    c = command.c
    if row.type in service.SWITCHES:
        service.hold_switch(conn, row.meter_no)
    tries = conn.execute(select(func.count(), func.max(c.counter)).where(c.order_id == row.order_id, c.dcu == row.dcu)).one()
    if tries[1] != row.counter or tries[0] >= MAX_TRIES:
        return False
    if row.type not in service.SWITCHES:
        return True
    numbered, later = c.switch_counter > row.switch_counter, c.issued_at_ms > row.not_before_ms
    newer = and_(c.meter_no == row.meter_no, c.type.in_([int(t) for t in service.SWITCHES]), numbered if row.switch_counter else later)
    return conn.execute(select(c.cmd_id).where(newer).limit(1)).first() is None


def _again(conn: Connection, signer: Signer, row: Any, now_ms: int) -> bytes:
    fresh = dict(row._mapping) | {
        "cmd_id": service.new_id(now_ms), "counter": 0, "switch_counter": 0, "issued_at_ms": now_ms, "idempotency_key": None,
        "state": int(S.ACCEPTED), "reason": "", "result": b"", "state_at_ms": now_ms, **dict.fromkeys(TIMES),
    }  # fmt: skip
    states.begin(conn, fresh, "system:reissue")
    service.queue(conn, signer, fresh["cmd_id"], now_ms, "system:reissue")
    return bytes(fresh["cmd_id"])


def queue_due(conn: Connection, signer: Signer, now_ms: int) -> int:
    """Scheduled commands whose time is a day ahead go on their way. How many."""
    c = command.c
    due = select(c.cmd_id).where(c.state == int(S.SCHEDULED), c.not_before_ms - SENT_AHEAD_MS <= now_ms, c.expires_ms > now_ms)
    ids = [bytes(cmd_id) for cmd_id in conn.execute(due).scalars()]
    return sum(service.queue(conn, signer, cmd_id, now_ms, "system:schedule") for cmd_id in ids)


def expire(conn: Connection, now_ms: int) -> tuple[CommandView, ...]:
    """End what has passed its time without an end."""
    c = command.c
    late = select(c.cmd_id, c.expires_ms).where(c.state.in_(OPEN_STATES), c.expires_ms <= now_ms)
    rows = [(bytes(row.cmd_id), row.expires_ms) for row in conn.execute(late)]
    ids = [cmd_id for cmd_id, end in rows if end + GRACE_MS <= now_ms or not outbox.attempts_of(conn, "command", cmd_id.hex())]
    for cmd_id in ids:
        states.advance(conn, cmd_id, S.EXPIRED, now_ms, "system:expiry", Reason.NO_RECEIPT)
    return tuple(view for cmd_id in ids if (view := states.find(conn, cmd_id)) is not None)


_c, _now = command.c, bindparam("now_ms", type_=command.c.expires_ms.type)
_TO_DO = select(_c.cmd_id).where(or_(
    and_(_c.state == int(S.SCHEDULED), _c.not_before_ms - SENT_AHEAD_MS <= _now),
    and_(_c.state < int(S.DONE), _c.expires_ms <= _now),
    and_(_c.state == int(S.REFUSED), _c.reason == Reason.OVERTAKEN, _c.expires_ms > _now),
)).limit(1)  # fmt: skip


def anything_to_do(conn: Connection, now_ms: int) -> bool:
    """Whether one of the three jobs above would find a command. Reads only."""
    return conn.execute(_TO_DO, {"now_ms": now_ms}).first() is not None
