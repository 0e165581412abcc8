"""The times of commands, for the figures of C3: asked, handed to the broker, first answered, completed, ended.

* Executed within 60 s: `completed_ms - requested_ms` (or minus `not_before_ms` where it was for later). Alerts: the same of
  MESSAGE, to `delivered_ms`. Re-sent after 45 s: `attempts`. Success: `state` DONE over all that asked for it.
* `completed_ms` is the edge's clock, all others ours.

Source: C3-NFR2, NFR9, NFR10, NFR12; prepayment.md 7 (N2, N7, N8, N10).
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.store.tables import command, outbox_down
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """One command. None: it has not happened."""

    cmd_id: bytes
    meter_no: int
    type: CommandType
    state: CommandState
    reason: str
    requested_ms: int
    not_before_ms: int
    attempts: int
    delivered_ms: int | None
    completed_ms: int | None
    ended_ms: int | None


def timings(conn: Connection, since_ms: int, kinds: tuple[CommandType, ...] = ()) -> tuple[Timing, ...]:
    """Commands issued from `since_ms` on, oldest first."""
    c, o = command.c, outbox_down.c
    sent = conn.execute(select(o.ref, o.attempts).where(o.channel == "command", o.created_ms >= since_ms))
    attempts = {row.ref: row.attempts for row in sent}
    types = [int(kind) for kind in kinds or CommandType]
    rows = conn.execute(select(command).where(c.issued_at_ms >= since_ms, c.type.in_(types)).order_by(c.issued_at_ms, c.cmd_id))
    return tuple(
        Timing(bytes(r.cmd_id), r.meter_no, CommandType(r.type), CommandState(r.state), r.reason, r.issued_at_ms, r.not_before_ms,
               attempts.get(r.cmd_id.hex(), 0), r.delivered_at_ms, r.completed_at_ms, r.ended_at_ms)
        for r in rows
    )  # fmt: skip
