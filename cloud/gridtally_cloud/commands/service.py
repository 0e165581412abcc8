"""Orders to meters: written, signed and queued in one transaction; ended and told to their sender, always.

* `issue` is idempotent by key. Disconnects are limited: a staff user's 21st in an hour is refused, a wave above the fleet's
  threshold is quarantined until a second person releases or deletes it.
* A command is signed when it is queued: its counter (per DCU and key) and its switch counter (per meter, one order of
  all switch actions) are those of that moment. Scheduled and quarantined ones wait unsigned.
* What was never sent can be cancelled; what is under way can not (the edge may be executing it).

Source: architecture.md section 3; reliability-security.md section 5; safety.md 3; BYPL-3.3; C3-NFR10.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from gridtally_cloud.commands import limits, states
from gridtally_cloud.commands.model import CommandRequest, CommandView, Issued, SenderNotice
from gridtally_cloud.store import outbox
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.tables import command, command_counter, meter, sender_notice, switch_counter
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CONTRACT_VERSION, Command, CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import COMMAND_RULES, CommandState, Reason
from gridtally_shared.signing import Signer, sign1

S = CommandState
SWITCHES = frozenset({CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE})
UNSENT = frozenset({S.ACCEPTED, S.SCHEDULED, S.QUARANTINED})


def new_id(at_ms: int) -> bytes:
    """UUIDv7: time first, so that ids sort by age."""
    raw = bytearray(at_ms.to_bytes(6, "big") + os.urandom(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


def issue(conn: Connection, signer: Signer, request: CommandRequest, now_ms: int) -> Issued:
    """Accept a command. Raises RefusedCommand for a meter without a DCU and for a request that makes no sense; a limit
    gives a command in state REFUSED or QUARANTINED."""
    known = _by_key(conn, request.idempotency_key)
    if known is not None:
        return Issued(known.cmd_id, known.state, known.reason, repeated=True)
    row = _row(conn, request, now_ms)
    states.begin(conn, row | {"state": int(S.ACCEPTED), "reason": ""}, request.requested_by)
    to, reason = _first_step(conn, request, now_ms)
    if to is S.QUEUED:
        queue(conn, signer, row["cmd_id"], now_ms, request.requested_by)
    else:
        states.advance(conn, row["cmd_id"], to, now_ms, "system:commands", reason)
    return Issued(row["cmd_id"], to, reason)


def _first_step(conn: Connection, request: CommandRequest, now_ms: int) -> tuple[CommandState, str]:
    verdict = limits.judge(conn, request, now_ms)
    if verdict is not None:
        return verdict, Reason.RATE_LIMIT
    return (S.SCHEDULED if request.not_before_ms > now_ms else S.QUEUED), ""


def _by_key(conn: Connection, key: str | None) -> CommandView | None:
    if key is None:
        return None
    cmd_id = conn.execute(select(command.c.cmd_id).where(command.c.idempotency_key == key)).scalar_one_or_none()
    return states.find(conn, bytes(cmd_id)) if cmd_id else None


def _row(conn: Connection, request: CommandRequest, now_ms: int) -> dict[str, Any]:
    dcu = conn.execute(select(meter.c.dcu).where(meter.c.meter_no == request.meter_no)).scalar_one_or_none()
    if dcu is None:
        raise RefusedCommand(Reason.UNKNOWN_METER, f"no DCU serves meter {request.meter_no}")
    _check(request)
    safety, priority, ttl_ms = COMMAND_RULES[request.type]
    not_before = max(request.not_before_ms, now_ms)
    expires = min(request.expires_ms or not_before + ttl_ms, not_before + ttl_ms)
    cmd_id = new_id(now_ms)
    return {
        "cmd_id": cmd_id, "dcu": dcu, "meter_no": request.meter_no, "type": int(request.type), "safety": int(safety),
        "priority": priority, "counter": 0, "issued_at_ms": now_ms, "not_before_ms": not_before, "expires_ms": expires,
        "order_id": cmd_id, "from_ms": request.from_ms, "to_ms": request.to_ms, "text": request.text, "cause": request.cause,
        "requested_by": request.requested_by, "idempotency_key": request.idempotency_key, "state_at_ms": now_ms,
    }  # fmt: skip


def _check(request: CommandRequest) -> None:
    reads_span = request.type in (CommandType.READ_INTERVALS, CommandType.READ_EVENTS)
    if reads_span and not 0 < request.from_ms < request.to_ms:
        raise RefusedCommand(Reason.MALFORMED, "say from when to when to read")
    if request.type is CommandType.MESSAGE and not request.text.strip():
        raise RefusedCommand(Reason.MALFORMED, "the message is empty")


# ---- signing and queueing -------------------------------------------------------------------------------------


def queue(conn: Connection, signer: Signer, cmd_id: bytes, now_ms: int, by: str) -> None:
    """Give a command its counters, sign it and put it on the way down."""
    row = conn.execute(select(command).where(command.c.cmd_id == cmd_id)).one()
    counter = _next(conn, command_counter, {"dcu": row.dcu, "key_id": signer.key_id})
    order = _next(conn, switch_counter, {"meter_no": row.meter_no}) if CommandType(row.type) in SWITCHES else 0
    conn.execute(update(command).where(command.c.cmd_id == cmd_id).values(counter=counter, switch_counter=order))
    message = Command(CONTRACT_VERSION, cmd_id, row.dcu, row.meter_no, row.type, row.safety, row.priority, counter,
                      row.issued_at_ms, row.not_before_ms, row.expires_ms, bytes(row.order_id), row.from_ms, row.to_ms, order,
                      row.text, row.cause)  # fmt: skip
    states.advance(conn, cmd_id, S.QUEUED, now_ms, by)
    outbox.put(conn, row.dcu, "command", cmd_id.hex(), sign1(signer, "command", encode(message)), now_ms, row.priority)


def _next(conn: Connection, table: Any, key: dict[str, Any]) -> int:
    """Count up a durable counter and give its new value."""
    insert_new(conn, table, [key | {"value": 0}])
    where = and_(*(table.c[name] == value for name, value in key.items()))
    conn.execute(update(table).where(where).values(value=table.c.value + 1))
    return int(conn.execute(select(table.c.value).where(where)).scalar_one())


def raise_switch_counter(conn: Connection, meter_no: int, seen: int) -> None:
    """The edge used a switch counter of its own (a prepaid cut): ours goes on above it."""
    insert_new(conn, switch_counter, [{"meter_no": meter_no, "value": 0}])
    where = and_(switch_counter.c.meter_no == meter_no, switch_counter.c.value < seen)
    conn.execute(update(switch_counter).where(where).values(value=seen))


# ---- what people do with a command ----------------------------------------------------------------------------


def cancel(conn: Connection, cmd_id: bytes, by: str, now_ms: int) -> None:
    """Take a command back. Raises RefusedCommand when it has left the house or ended."""
    found = _found(conn, cmd_id)
    sent = found.state not in UNSENT and outbox.attempts_of(conn, "command", cmd_id.hex()) > 0
    shown = found.state in (S.DISPLAYED, S.READ)
    if found.ended or (sent and not shown):
        raise RefusedCommand(Reason.TOO_LATE, f"the command is {found.state.name.lower()} and can not be taken back")
    states.advance(conn, cmd_id, S.CANCELLED, now_ms, by, Reason.CANCELLED)


def release(conn: Connection, signer: Signer, cmd_id: bytes, by: str, now_ms: int) -> None:
    """A second person lets a quarantined command go. Raises RefusedCommand for its own sender."""
    found = _found(conn, cmd_id)
    if found.state is not S.QUARANTINED:
        raise RefusedCommand(Reason.TOO_LATE, f"the command is {found.state.name.lower()}, not quarantined")
    if by == found.requested_by:
        raise RefusedCommand(Reason.PROTECTED, "a second person has to release it, not the one who asked")
    queue(conn, signer, cmd_id, now_ms, by)


def reschedule(conn: Connection, cmd_id: bytes, not_before_ms: int, by: str, now_ms: int) -> None:
    """Move a scheduled command; its expiry moves with it. Raises RefusedCommand when it is no longer scheduled."""
    found = _found(conn, cmd_id)
    if found.state is not S.SCHEDULED or not_before_ms <= now_ms:
        raise RefusedCommand(Reason.TOO_LATE, "only a scheduled command can move, and only to a time to come")
    life_ms = found.expires_ms - found.not_before_ms
    values = {"not_before_ms": not_before_ms, "expires_ms": not_before_ms + life_ms}
    conn.execute(update(command).where(command.c.cmd_id == cmd_id).values(**values))
    states.note(conn, cmd_id, S.SCHEDULED, now_ms, by)


def _found(conn: Connection, cmd_id: bytes) -> CommandView:
    found = states.find(conn, cmd_id)
    if found is None:
        raise RefusedCommand(Reason.MALFORMED, "there is no such command")
    return found


# ---- what the sender is told ----------------------------------------------------------------------------------


def notices(conn: Connection, to: str, unseen_only: bool = True, limit: int = 50) -> tuple[SenderNotice, ...]:
    """How the commands of a sender ended, newest first."""
    n = sender_notice.c
    where = and_(n.to == to, n.seen_ms.is_(None)) if unseen_only else n.to == to
    rows = conn.execute(select(sender_notice).where(where).order_by(n.notice_no.desc()).limit(limit))
    return tuple(SenderNotice(r.notice_no, bytes(r.cmd_id), S(r.state), r.reason, r.text, r.at_ms, r.seen_ms is not None)
                 for r in rows)  # fmt: skip


def mark_seen(conn: Connection, to: str, notice_no: int, now_ms: int) -> None:
    n = sender_notice.c
    conn.execute(update(sender_notice).where(n.notice_no == notice_no, n.to == to).values(seen_ms=now_ms))


def open_count(conn: Connection) -> int:
    """Commands that have not ended yet."""
    open_states = [int(s) for s in S if s.value < S.DONE]
    return int(conn.execute(select(func.count()).select_from(command).where(command.c.state.in_(open_states))).scalar_one())
