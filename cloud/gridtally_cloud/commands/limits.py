"""How many disconnects may leave the house (reliability-security.md section 5). All by clock time, all as a table.

* A staff user: 20 an hour, the next one is refused.
* The fleet: above max(20, 0.5 % of the meters) an hour or max(20, 2 %) a day a command is quarantined and waits for a
  second person. The prepaid rule at the edge has a breaker of its own.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, func, select

from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.store.db import in_turn
from gridtally_cloud.store.tables import command, meter
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.records import dataclass

STAFF_PER_HOUR = 20


@dataclass(frozen=True, slots=True)
class FleetLimit:
    """At most max(`floor`, `permille` of the fleet) disconnects within `span_ms`."""

    span_ms: int
    floor: int
    permille: int


FLEET_LIMITS = (FleetLimit(MS_PER_HOUR, 20, 5), FleetLimit(MS_PER_DAY, 20, 20))


def hold(conn: Connection) -> None:
    """Before the command is written: of two disconnects at once the second counts the first. So the limit is one also with many workers."""
    in_turn(conn, "disconnects")


def judge(conn: Connection, request: CommandRequest, now_ms: int) -> CommandState | None:
    """REFUSED, QUARANTINED, or None when the command may go. The command itself is already counted."""
    if request.type is not CommandType.SWITCH_OPEN:
        return None
    staff = request.requested_by.startswith("staff:")
    if staff and _opens(conn, now_ms - MS_PER_HOUR, request.requested_by) > STAFF_PER_HOUR:
        return CommandState.REFUSED
    fleet = int(conn.execute(select(func.count()).select_from(meter)).scalar_one())
    over = any(_opens(conn, now_ms - x.span_ms, None) > max(x.floor, fleet * x.permille // 1000) for x in FLEET_LIMITS)
    return CommandState.QUARANTINED if over else None


def _opens(conn: Connection, since_ms: int, requested_by: str | None) -> int:
    c = command.c
    where = and_(c.type == int(CommandType.SWITCH_OPEN), c.issued_at_ms > since_ms, c.state != int(CommandState.REFUSED))
    if requested_by is not None:
        where = and_(where, c.requested_by == requested_by)
    return int(conn.execute(select(func.count()).select_from(command).where(where)).scalar_one())
