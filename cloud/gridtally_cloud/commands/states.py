"""The one place that moves a command from state to state, logs the step and tells the sender the end."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from gridtally_cloud.commands.model import CommandView, Step
from gridtally_cloud.integrations import webhooks
from gridtally_cloud.store import outbox
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.tables import command, command_log, sender_notice
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.lifecycle import TERMINAL, CommandState, Reason, may_follow
from gridtally_shared.supply_test import SupplyTest

S = CommandState

REASON_TEXTS: dict[str, str] = {
    Reason.PAID: "the household has paid since: there is money in its account at the meter, so it is not cut for want of it",
    Reason.NO_FLOW_LIMIT: "the flow of gas is not limited, it is only switched on and off",
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
    Reason.UNANSWERED: "nobody answered it in its time",
    Reason.NOT_READ_BACK: "the meter did not show it afterwards",
    Reason.WRONG_FORM: "the meter is configured for another form",
    Reason.SUPERSEDED: "the switch was moved by something newer than its time",
    Reason.OVERLAP: "another schedule holds that time at the DCU",
    Reason.RESCHEDULED: "it was moved to another time",
    Reason.ENDED_EARLY: "it was ended before its time",
    Reason.REPLACED: "the meter it was for was replaced; give it again if it is still wanted",
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
    if state == to and reason:
        conn.execute(update(command).where(where).values(reason=reason))
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
        _tell_others(conn, found, at_ms)
        if conn.execute(select(sender_notice.c.notice_no).where(sender_notice.c.cmd_id == cmd_id)).first() is None:
            insert_new(conn, sender_notice, [row])


def _tell_others(conn: Connection, found: CommandView, at_ms: int) -> None:
    """Other systems that want to know; what a test of a supply found is told with it."""
    href = f"/commands/{found.cmd_id.hex()}"
    said: dict[str, webhooks.Value] = {
        "cmd_id": found.cmd_id.hex(), "meter_no": found.meter_no, "type": found.type.name.lower(), "state": found.state.name.lower(),
        "reason": found.reason, "requested_by": found.requested_by,
    }  # fmt: skip
    webhooks.announce(conn, webhooks.Topic.COMMAND_ENDED, found.cmd_id.hex(), at_ms, href, said)
    if found.type is CommandType.TEST_SUPPLY:
        webhooks.announce(conn, webhooks.Topic.SUPPLY_TESTED, found.cmd_id.hex(), at_ms, href, said | test_result(found.result))


def test_result(result: bytes) -> dict[str, webhooks.Value]:
    """What a test of a supply found, by name, with the way over which the meter was asked; empty where no answer can be read."""
    try:
        seen = decode(SupplyTest, result)
    except ContractError:
        return {}
    found: dict[str, webhooks.Value] = {
        "verdict": seen.verdict.value, "connected": seen.connected, "switch": seen.switch, "voltage_mv": seen.voltage_mv,
        "load_side_mv": seen.load_side_mv, "current_ma": seen.current_ma, "power_w": seen.power_w, "serial": seen.serial,
    }  # fmt: skip
    return found | ({"route": asdict(seen.route)} if seen.route else {})


def end_text(kind: CommandType, meter_no: int, state: CommandState, reason: str) -> str:
    """One sentence for the sender: which command, how it ended, why."""
    why = REASON_TEXTS.get(reason, reason)
    return f"{kind.name.lower().replace('_', ' ')} of meter {meter_no}: {STATE_TEXTS[state]}{': ' + why if why else ''}"


_NOTE = insert(command_log)


def note(conn: Connection, cmd_id: bytes, state: CommandState, at_ms: int, by: str, reason: str = "") -> None:
    """Log that somebody said this of the command."""
    row = {"cmd_id": cmd_id, "at_ms": at_ms, "state": int(state), "reason": reason, "by": by}
    conn.execute(_NOTE, row)


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


_FIND = select(*_VIEW).where(command.c.cmd_id == bindparam("of_command"))


def find(conn: Connection, cmd_id: bytes) -> CommandView | None:
    row = conn.execute(_FIND, {"of_command": cmd_id}).first()
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
