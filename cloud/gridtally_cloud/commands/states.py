"""The one place that moves a command from state to state, logs the step and tells the sender the end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.commands.model import CommandView, Step
from gridtally_cloud.store import outbox
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.tables import command, command_log, sender_notice
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import TERMINAL, CommandState, Reason, may_follow

S = CommandState

REASON_TEXTS: dict[str, str] = {
    Reason.SIGNATURE: "the DCU could not verify our signature; check its command key",
    Reason.NOT_FOR_ME: "the DCU says the command was addressed to another one",
    Reason.OVERTAKEN: "a newer command came first",
    Reason.TOO_LATE: "it was too late to execute it",
    Reason.CLOCK_UNTRUSTED: "the DCU does not trust its clock, and this command needs one",
    Reason.UNKNOWN_METER: "the DCU does not know the meter yet",
    Reason.UNSUPPORTED: "the meter can not do this",
    Reason.WRONG_SERIAL: "another meter answered at that address; nothing was switched",
    Reason.NO_ANSWER: "the meter did not answer",
    Reason.METER_FAULT: "the meter answered nonsense",
    Reason.SWITCH_STUCK: "the switch did not follow; send somebody",
    Reason.RATE_LIMIT: "too many disconnects in this hour; ask a second person or wait",
    Reason.HELD: "a hold on this switch forbids it",
    Reason.PROTECTED: "the customer is protected now",
    Reason.LEASE_ENDED: "the DCU was away too long to be allowed to cut",
    Reason.MALFORMED: "the DCU could not read the command",
    Reason.CANCELLED: "it was cancelled",
    Reason.LOAD_SIDE_LIVE: "the load side is live: a generator or inverter may be running",
    Reason.NO_RECEIPT: "the DCU sent no receipt in time",
}

STATE_TEXTS: dict[CommandState, str] = {
    S.DONE: "done",
    S.REFUSED: "refused",
    S.FAILED: "failed",
    S.EXPIRED: "expired",
    S.CANCELLED: "cancelled",
}


def begin(conn: Connection, row: dict[str, Any], by: str) -> None:
    """Insert a new command in the state its row names."""
    conn.execute(insert(command).values(row))
    note(conn, row["cmd_id"], CommandState(row["state"]), row["state_at_ms"], by, row.get("reason", ""))
    if CommandState(row["state"]) in TERMINAL:
        _end(conn, row["cmd_id"], CommandState(row["state"]), row.get("reason", ""), row["state_at_ms"])


def advance(
    conn: Connection, cmd_id: bytes, to: CommandState, at_ms: int, by: str, reason: str = "", result: bytes = b""
) -> bool:
    """Move a command on where the life cycle allows it. False (and a log row only) where it does not."""
    where = command.c.cmd_id == cmd_id
    state = conn.execute(select(command.c.state).where(where).with_for_update()).scalar_one_or_none()
    if state is None:
        return False
    note(conn, cmd_id, to, at_ms, by, reason)
    if not may_follow(CommandState(state), to):
        return False
    conn.execute(update(command).where(where).values(state=int(to), reason=reason, result=result, state_at_ms=at_ms))
    if to in TERMINAL:
        _end(conn, cmd_id, to, reason, at_ms)
    return True


def _end(conn: Connection, cmd_id: bytes, state: CommandState, reason: str, at_ms: int) -> None:
    outbox.done(conn, "command", cmd_id.hex(), at_ms)
    found = find(conn, cmd_id)
    if found is not None:
        row = {"to": found.requested_by, "cmd_id": cmd_id, "state": int(state), "reason": reason,
               "text": end_text(found.type, found.meter_no, state, reason), "at_ms": at_ms}  # fmt: skip
        if conn.execute(select(sender_notice.c.notice_no).where(sender_notice.c.cmd_id == cmd_id)).first() is None:
            insert_new(conn, sender_notice, [row])


def end_text(kind: CommandType, meter_no: int, state: CommandState, reason: str) -> str:
    """One sentence for the sender: which command, how it ended, why."""
    why = REASON_TEXTS.get(reason, reason)
    return f"{kind.name.lower().replace('_', ' ')} of meter {meter_no}: {STATE_TEXTS[state]}{': ' + why if why else ''}"


def note(conn: Connection, cmd_id: bytes, state: CommandState, at_ms: int, by: str, reason: str = "") -> None:
    """Log that somebody said this of the command."""
    row = {"cmd_id": cmd_id, "at_ms": at_ms, "state": int(state), "reason": reason, "by": by}
    conn.execute(insert(command_log).values(row))


# ---- reading --------------------------------------------------------------------------------------------------

_VIEW = (
    command.c.cmd_id, command.c.dcu, command.c.meter_no, command.c.type, command.c.requested_by, command.c.cause,
    command.c.text, command.c.state, command.c.reason, command.c.result, command.c.issued_at_ms, command.c.not_before_ms,
    command.c.expires_ms, command.c.state_at_ms, command.c.switch_counter, command.c.order_id,
)  # fmt: skip


def _view(row: Any) -> CommandView:
    return CommandView(bytes(row.cmd_id), row.dcu, row.meter_no, CommandType(row.type), row.requested_by, row.cause, row.text,
                       CommandState(row.state), row.reason, bytes(row.result), row.issued_at_ms, row.not_before_ms,
                       row.expires_ms, row.state_at_ms, row.switch_counter, bytes(row.order_id))  # fmt: skip


def find(conn: Connection, cmd_id: bytes) -> CommandView | None:
    row = conn.execute(select(*_VIEW).where(command.c.cmd_id == cmd_id)).first()
    return None if row is None else _view(row)


def of_meter(conn: Connection, meter_no: int, limit: int = 50) -> tuple[CommandView, ...]:
    """Commands of a meter, newest first."""
    query = select(*_VIEW).where(command.c.meter_no == meter_no).order_by(command.c.issued_at_ms.desc()).limit(limit)
    return tuple(_view(row) for row in conn.execute(query))


def recent(conn: Connection, limit: int = 100, state: CommandState | None = None) -> tuple[CommandView, ...]:
    """Newest commands, of one state where it is given."""
    query = select(*_VIEW).order_by(command.c.issued_at_ms.desc()).limit(limit)
    if state is not None:
        query = query.where(command.c.state == int(state))
    return tuple(_view(row) for row in conn.execute(query))


def steps(conn: Connection, cmd_id: bytes) -> tuple[Step, ...]:
    """Everything that was said about a command, also what the life cycle did not accept."""
    log = command_log.c
    rows = conn.execute(select(log.at_ms, log.state, log.reason, log.by).where(log.cmd_id == cmd_id).order_by(log.log_no))
    return tuple(Step(row.at_ms, CommandState(row.state), row.reason, row.by) for row in rows)
