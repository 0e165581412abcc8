"""Commands and their steps, as rows to show. Sending is `gridtally_cloud.commands`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from gridtally_cloud.store.tables import command, command_log, meter
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import TERMINAL, CommandState
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class CommandRow:
    """`cmd_id` is hex. `result` is what the edge sent with its receipt, undecoded."""

    cmd_id: str
    dcu: str
    meter_no: int
    serial: str
    type: CommandType
    state: CommandState
    reason: str
    text: str
    cause: str
    requested_by: str
    issued_at_ms: int
    expires_ms: int
    state_at_ms: int
    from_ms: int
    to_ms: int
    result: bytes

    @property
    def is_open(self) -> bool:
        return self.state not in TERMINAL


@dataclass(frozen=True, slots=True)
class CommandStep:
    at_ms: int
    state: CommandState
    reason: str
    by: str


def _query() -> Any:
    return select(*command.c, meter.c.serial).select_from(command.outerjoin(meter, meter.c.meter_no == command.c.meter_no))


def _row(r: Row[Any]) -> CommandRow:
    return CommandRow(
        r.cmd_id.hex(), r.dcu, r.meter_no, r.serial or "", CommandType(r.type), CommandState(r.state), r.reason, r.text,
        r.cause, r.requested_by, r.issued_at_ms, r.expires_ms, r.state_at_ms, r.from_ms, r.to_ms, r.result,
    )  # fmt: skip


def commands(
    conn: Connection, *, meter_no: int | None = None, open_only: bool = False, limit: int = 50
) -> tuple[CommandRow, ...]:
    """Newest first."""
    query = _query()
    if meter_no is not None:
        query = query.where(command.c.meter_no == meter_no)
    if open_only:
        query = query.where(command.c.state.not_in([int(s) for s in TERMINAL]))
    query = query.order_by(command.c.issued_at_ms.desc(), command.c.cmd_id.desc())
    return tuple(_row(r) for r in conn.execute(query.limit(limit)))


def command_row(conn: Connection, cmd_id: str) -> CommandRow | None:
    """By its id in hex; None for anything that is not one of ours."""
    try:
        wanted = bytes.fromhex(cmd_id)
    except ValueError:
        return None
    row = conn.execute(_query().where(command.c.cmd_id == wanted)).one_or_none()
    return _row(row) if row else None


def command_steps(conn: Connection, cmd_id: str) -> tuple[CommandStep, ...]:
    """What happened to a command, in order."""
    rows = conn.execute(
        select(command_log).where(command_log.c.cmd_id == bytes.fromhex(cmd_id)).order_by(command_log.c.log_no)
    )
    return tuple(CommandStep(r.at_ms, CommandState(r.state), r.reason, r.by) for r in rows)
