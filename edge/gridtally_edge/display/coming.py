"""The schedules of one account's supply: the window that runs, and those that come next. Read-only.

Source: C3-S2.10, C3-S2.15; prepayment.md T28.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import tzinfo

from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.rows import CommandRow, ScheduleRow, one, some
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import AccountConfig, Command
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass
from gridtally_shared.schedules import document
from gridtally_shared.schedules.windows import Span, spans

SEEN_AHEAD_MS = 9 * MS_PER_DAY
MOST_SHOWN = 4
ACTIONS = {document.Action.SUPPLY: "supply", document.Action.OFF: "off"}


@dataclass(frozen=True, slots=True)
class Schedule:
    """One window. `action` is 'supply' or 'off'."""

    programme: str
    action: str
    start_ms: int
    end_ms: int
    is_running: bool


def schedules_of(db: sqlite3.Connection, config: AccountConfig, now_ms: int) -> tuple[Schedule, ...]:
    """Each schedule with its window of now or its next one, the soonest first."""
    clause = "WHERE account_no = ? AND epoch = ? AND stage IN ('waiting', 'running') ORDER BY start_ms LIMIT 50"
    rows = some(db, ScheduleRow, clause, config.account_no, config.account_epoch)
    found = (_shown(row, _window(db, row, zone_of(config.zone), now_ms)) for row in rows)
    return tuple(sorted((s for s in found if s is not None), key=lambda s: (not s.is_running, s.start_ms))[:MOST_SHOWN])


def _shown(row: ScheduleRow, window: Span | None) -> Schedule | None:
    if window is None:
        return None
    action = ACTIONS.get(document.Action(row.action), "supply")
    return Schedule(row.programme, action, window.start_ms, window.end_ms, bool(row.running))


def _window(db: sqlite3.Connection, row: ScheduleRow, zone: tzinfo | None, now_ms: int) -> Span | None:
    """The span of now or the next; of one further away than a week its whole time."""
    command = one(db, CommandRow, row.cmd_id)
    try:
        schedule = document.schedule_from(decode(Command, command.body).detail) if command is not None else None
    except ContractError:
        schedule = None
    if schedule is None or row.end_ms <= now_ms:
        return None
    timely = replace(schedule, end_ms=row.end_ms)
    ahead = spans(timely, now_ms, max(now_ms, row.start_ms) + SEEN_AHEAD_MS, zone)
    return next(iter(ahead), None)
