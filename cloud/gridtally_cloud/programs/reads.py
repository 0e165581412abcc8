"""Schedules as they stand: the stored wish, and the state of the command that carries it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, select

from gridtally_cloud.programs.model import MoneyRow, ScheduleReason, ScheduleState, ScheduleView
from gridtally_cloud.programs.tables import schedule, schedule_posting
from gridtally_cloud.store.tables import command
from gridtally_shared import cbor
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.schedules.document import Action, Programme, Window

C, S = CommandState, ScheduleState
STATES: dict[CommandState, ScheduleState] = {
    C.ACCEPTED: S.PLANNED, C.SCHEDULED: S.PLANNED, C.QUARANTINED: S.PLANNED, C.QUEUED: S.SENT, C.DELIVERED: S.HELD,
    C.EXECUTING: S.RUNNING, C.DONE: S.ENDED, C.CANCELLED: S.CANCELLED, C.REFUSED: S.REFUSED, C.FAILED: S.MISSED,
    C.EXPIRED: S.MISSED,
}  # fmt: skip


def find(conn: Connection, schedule_no: int) -> ScheduleView:
    """Raises RefusedCommand (unknown_schedule)."""
    row = conn.execute(_query().where(schedule.c.schedule_no == schedule_no)).one_or_none()
    if row is None:
        raise RefusedCommand(ScheduleReason.UNKNOWN, f"there is no schedule {schedule_no}")
    return _view(row)


def of_meter(conn: Connection, meter_no: int, after_ms: int = 0) -> tuple[ScheduleView, ...]:
    """Schedules at a supply that end after a time, in the order of their starts."""
    s = schedule.c
    rows = conn.execute(_query().where(s.meter_no == meter_no, s.end_ms > after_ms).order_by(s.start_ms, s.schedule_no))
    return tuple(map(_view, rows))


def of_account(conn: Connection, account_no: int) -> tuple[ScheduleView, ...]:
    """What an account asked for and what is held at its supply, newest start first."""
    s = schedule.c
    mine = (s.account_no == account_no) | (s.requester_no == account_no)
    return tuple(map(_view, conn.execute(_query().where(mine).order_by(s.start_ms.desc(), s.schedule_no.desc()))))


def coming(conn: Connection, account_no: int, now_ms: int, limit: int = 5) -> tuple[ScheduleView, ...]:
    """What runs or comes next for an account, at its supply or at its cost, soonest first."""
    ahead = (v for v in of_account(conn, account_no) if v.is_open and v.end_ms > now_ms)
    return tuple(sorted(ahead, key=lambda v: (v.start_ms, v.schedule_no))[:limit])


def recent(conn: Connection, limit: int = 100) -> tuple[ScheduleView, ...]:
    return tuple(map(_view, conn.execute(_query().order_by(schedule.c.start_ms.desc(), schedule.c.schedule_no.desc()).limit(limit))))


def by_key(conn: Connection, key: str | None) -> ScheduleView | None:
    row = conn.execute(_query().where(schedule.c.idempotency_key == key)).one_or_none() if key else None
    return None if row is None else _view(row)


def money(conn: Connection, schedule_no: int) -> tuple[MoneyRow, ...]:
    p = schedule_posting.c
    rows = conn.execute(select(schedule_posting).where(p.schedule_no == schedule_no).order_by(p.at_ms, p.kind, p.amount_nano))
    return tuple(MoneyRow(r.kind, r.holder, r.amount_nano, r.at_ms, r.reference) for r in rows)


def packed(windows: tuple[Window, ...]) -> bytes:
    return cbor.dumps([[w.weekdays, w.from_minute, w.to_minute] for w in windows])


def _query() -> Select[Any]:
    now = (command.c.state.label("now_state"), command.c.reason.label("now_reason"), command.c.state_at_ms.label("now_ms"))
    return select(schedule, *now).select_from(schedule.outerjoin(command, command.c.cmd_id == schedule.c.cmd_id))


def _view(r: Row[Any]) -> ScheduleView:
    windows = tuple(Window(*w) for w in cbor.loads(bytes(r.windows))) if r.windows else ()
    return ScheduleView(
        r.schedule_no, Programme(r.programme), r.meter_no, r.account_no, r.requester_no, r.title, r.zone, r.start_ms, r.end_ms,
        windows, Action(r.action), r.currency, r.credit_nano, r.credit_wh, STATES[C(r.now_state)], r.now_reason,
        r.now_ms, bytes(r.cmd_id), r.spent_nano, r.spent_wh, r.created_by, r.created_ms,
    )  # fmt: skip
