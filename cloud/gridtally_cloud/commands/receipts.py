"""What the edge says about a command, and what time says when the edge does not.

* A receipt moves the command along the life cycle; one that comes again or too late is logged and changes nothing.
* An overtaken command is issued again under its order with a new counter, unless a newer switch order exists for
  the meter, it has expired, or it was tried three times (architecture.md section 3).
* A command without an end at its expiry ends EXPIRED; one that was sent gets a minute of grace for its receipt.
"""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from gridtally_cloud.commands import service, states
from gridtally_cloud.commands.model import CommandView
from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import command
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandReceipt
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.signing import Signer

S = CommandState
MAX_TRIES = 3
GRACE_MS = 60_000
OPEN_STATES = tuple(int(s) for s in S if s < S.DONE)


def take_receipt(arrival: Arrival, receipt: CommandReceipt) -> None:
    """Raises ContractError for a command that never went to this DCU or a state that does not exist."""
    conn = arrival.conn
    found = states.find(conn, receipt.cmd_id)
    if found is None or found.dcu != arrival.dcu or found.meter_no != receipt.meter_no:
        raise ContractError(f"a receipt for command {receipt.cmd_id.hex()}, which never went to {arrival.dcu}")
    if receipt.state not in S.__members__.values():
        raise ContractError(f"a receipt with the unknown state {receipt.state}")
    conn.execute(update(command).where(command.c.cmd_id == receipt.cmd_id).values(answered_at_ms=arrival.now_ms))
    if found.type in service.SWITCHES:
        note_switch_evidence(conn, found.meter_no, receipt.result)
    states.advance(conn, receipt.cmd_id, S(receipt.state), receipt.at_ms, f"dcu:{arrival.dcu}", receipt.reason, receipt.result)
    outbox.done(conn, "command", receipt.cmd_id.hex(), arrival.now_ms)


def note_switch_evidence(conn: Connection, meter_no: int, evidence: bytes) -> None:
    """Number our next switch order above the newest action the edge tells of; evidence that can not be read says nothing."""
    with contextlib.suppress(ContractError):
        service.raise_switch_counter(conn, meter_no, decode(SwitchEvidence, evidence).counter)


def reissue_overtaken(conn: Connection, signer: Signer, now_ms: int) -> tuple[bytes, ...]:
    """Send again, under the same order, what was refused only because a newer counter came first."""
    c = command.c
    where = and_(c.state == int(S.REFUSED), c.reason == Reason.OVERTAKEN, c.expires_ms > now_ms)
    rows = conn.execute(select(command).where(where)).all()
    return tuple(_again(conn, signer, row, now_ms) for row in rows if _worth_it(conn, row))


def _worth_it(conn: Connection, row: Any) -> bool:
    c = command.c
    tries = conn.execute(select(func.count(), func.max(c.counter)).where(c.order_id == row.order_id)).one()
    if tries[1] != row.counter or tries[0] >= MAX_TRIES:
        return False
    newer = select(c.cmd_id).where(c.meter_no == row.meter_no, c.switch_counter > row.switch_counter).limit(1)
    return row.switch_counter == 0 or conn.execute(newer).first() is None


def _again(conn: Connection, signer: Signer, row: Any, now_ms: int) -> bytes:
    fresh = dict(row._mapping) | {
        "cmd_id": service.new_id(now_ms), "counter": 0, "switch_counter": 0, "issued_at_ms": now_ms, "idempotency_key": None,
        "state": int(S.ACCEPTED), "reason": "", "result": b"", "state_at_ms": now_ms, "answered_at_ms": None,
    }  # fmt: skip
    states.begin(conn, fresh, "system:reissue")
    service.queue(conn, signer, fresh["cmd_id"], now_ms, "system:reissue")
    return bytes(fresh["cmd_id"])


def queue_due(conn: Connection, signer: Signer, now_ms: int) -> int:
    """Scheduled commands whose time has come go on their way. How many."""
    c = command.c
    due = select(c.cmd_id).where(c.state == int(S.SCHEDULED), c.not_before_ms <= now_ms, c.expires_ms > now_ms)
    ids = [bytes(cmd_id) for cmd_id in conn.execute(due).scalars()]
    for cmd_id in ids:
        service.queue(conn, signer, cmd_id, now_ms, "system:schedule")
    return len(ids)


def expire(conn: Connection, now_ms: int) -> tuple[CommandView, ...]:
    """End what has passed its time without an end."""
    c = command.c
    late = select(c.cmd_id, c.expires_ms).where(c.state.in_(OPEN_STATES), c.expires_ms <= now_ms)
    rows = [(bytes(row.cmd_id), row.expires_ms) for row in conn.execute(late)]
    ids = [cmd_id for cmd_id, end in rows if end + GRACE_MS <= now_ms or not outbox.attempts_of(conn, "command", cmd_id.hex())]
    for cmd_id in ids:
        states.advance(conn, cmd_id, S.EXPIRED, now_ms, "system:expiry", Reason.NO_RECEIPT)
    return tuple(view for cmd_id in ids if (view := states.find(conn, cmd_id)) is not None)



def anything_to_do(conn: Connection, now_ms: int) -> bool:
    """Whether one of the three jobs above would find a command. Reads only."""
    c = command.c
    scheduled = and_(c.state == int(S.SCHEDULED), c.not_before_ms <= now_ms)
    late = and_(c.state.in_(OPEN_STATES), c.expires_ms <= now_ms)
    overtaken = and_(c.state == int(S.REFUSED), c.reason == Reason.OVERTAKEN, c.expires_ms > now_ms)
    return conn.execute(select(c.cmd_id).where(or_(scheduled, late, overtaken)).limit(1)).first() is not None
