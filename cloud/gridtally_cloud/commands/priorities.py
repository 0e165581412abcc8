"""How urgent each type of command is on its way down: the table of lifecycle.py, changed where the utility says so (C3-NFR4).

* Lower goes first. Switch commands stay at 10 or below and everything else above: only those are sent again after 45 s.
* A change holds for commands issued from then on, and is logged with who made it.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from gridtally_cloud.programs.tables import command_priority
from gridtally_cloud.store.db import insert_new
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import COMMAND_RULES, Reason

URGENT_MOST, MOST = 10, 99
URGENT = frozenset(kind for kind, (_, priority, _) in COMMAND_RULES.items() if priority <= URGENT_MOST)


def of(conn: Connection, kind: CommandType) -> int:
    found = conn.execute(select(command_priority.c.priority).where(command_priority.c.type == int(kind))).scalar_one_or_none()
    return COMMAND_RULES[kind][1] if found is None else int(found)


def table(conn: Connection) -> dict[CommandType, int]:
    return {kind: of(conn, kind) for kind in CommandType}


def set_priority(conn: Connection, kind: CommandType, priority: int, by: str, now_ms: int) -> None:
    """Raises RefusedCommand for a number outside the range of its type."""
    least, most = (1, URGENT_MOST) if kind in URGENT else (URGENT_MOST + 1, MOST)
    if not least <= priority <= most:
        raise RefusedCommand(Reason.MALFORMED, f"{kind.name.lower()} takes a priority from {least} to {most}, lower goes first")
    conn.execute(delete(command_priority).where(command_priority.c.type == int(kind)))
    insert_new(conn, command_priority, [{"type": int(kind), "priority": priority, "by": by, "at_ms": now_ms}])
