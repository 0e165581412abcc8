"""Making an edit, deciding on one, taking one back: each in one transaction with the day judged again and a row in the audit.

* An edit is of one channel and a range on its grid, in days that are closed. It has a person, a reason, and may have a note and a ticket.
* Where an issued bill covers some of the range, another person has to approve it, and again to take it back.
* What was measured is never touched: the edit is kept beside it, and what stands is a further version.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import date_of, day_of, slots_of
from gridtally_cloud.store.intervals import ChannelRef, Slot, Slots, channel_ref, days_slots, hold_points, pack
from gridtally_cloud.store.orders import PENDING
from gridtally_cloud.vee.beside import check_values
from gridtally_cloud.vee.documents import day_named
from gridtally_cloud.vee.doubts import tell
from gridtally_cloud.vee.edits import Edit, EditReason, EditState, Step, advance, edit_of
from gridtally_cloud.vee.held import around, with_history
from gridtally_cloud.vee.repair import repair
from gridtally_cloud.vee.restated import bills_of
from gridtally_cloud.vee.run import run_again, status_of
from gridtally_cloud.vee.tables import vee_edit
from gridtally_cloud.vee.tools import Piece, Tool, Values, edited
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.records import dataclass

MAY_EDIT = (Role.OPERATIONS.value, Role.ADMIN.value)


class Reason(StrEnum):
    """Why an edit is made. Values are stored: never renamed."""

    METER_FAULT = "meter_fault"
    WRONG_CONSTANT = "wrong_constant"
    COMMUNICATION = "communication"
    SITE_VISIT = "site_visit"
    AGREED = "agreed"
    CONFIRMED = "confirmed"
    MISTAKE = "mistake"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants of a range: `argument` is the value, total, factor or day of the tool."""

    channel_no: int
    from_ms: int
    to_ms: int
    tool: Tool
    argument: str
    reason: Reason
    made_by: str
    note: str = ""
    ticket: str = ""


def make(conn: Connection, asked: Asked, now_ms: int) -> Edit:
    """Apply an edit, or propose it where the range is billed. Raises RefusedCommand, and ConfigError for a range or argument."""
    _check_person(conn, asked.made_by)
    hold_points(conn, [asked.channel_no])
    ref, period_s = channel_ref(conn, asked.channel_no)
    days, starts = _range(conn, asked, ref, period_s)
    measured, stands = (days_slots(conn, asked.channel_no, list(days), estimates=e) for e in (False, True))
    basis = measured if asked.tool is Tool.VERIFY else stands
    old = [basis[at].value if at in basis else None for at in starts]
    values = edited(asked.tool, _piece(conn, asked, ref, period_s, starts, old), asked.argument)
    bills = bills_of(conn, asked.channel_no, asked.from_ms, asked.to_ms)
    blob, quality = pack({at: Slot(v, 0) for at, v in zip(starts, values, strict=True)}, starts[0], period_s, len(starts))
    row = {
        "shard": SHARD, "channel_no": asked.channel_no, "from_ms": asked.from_ms, "to_ms": asked.to_ms, "period_s": period_s,
        "n": len(starts), "blob": blob, "quality": quality, "measured": pack(measured, starts[0], period_s, len(starts))[0],
        "tool": asked.tool.value, "reason": asked.reason.value, "note": asked.note, "ticket": asked.ticket,
        "old_total": sum(v or 0 for v in old), "new_total": sum(values), "bills": " ".join(bills),
        "state": (EditState.PROPOSED if bills else EditState.APPLIED).value, "made_by": asked.made_by, "made_ms": now_ms,
    }  # fmt: skip
    number = conn.execute(insert(vee_edit).values(row).returning(vee_edit.c.edit_no)).scalar_one()
    made = find(conn, number)
    _record(conn, made, asked.made_by, "vee.edit_proposed" if bills else "vee.edited", now_ms)
    if not bills:
        run_again(conn, asked.channel_no, days, now_ms)
        tell(conn, made, None, now_ms)
    return made


def decide(conn: Connection, edit_no: int, step: Step, person: str, now_ms: int) -> Edit:
    """Approve, refuse or take back. Raises RefusedCommand where the state or the person does not allow it."""
    _check_person(conn, person)
    found = _held(conn, edit_no)
    if step is Step.UNDO and found.bills:
        step = Step.ASK_UNDO
    state = advance(found.state, step)
    asked_by = found.decided_by if found.state is EditState.LEAVING else found.made_by
    if step is Step.APPROVE and person == asked_by:
        raise RefusedCommand(EditReason.SAME_PERSON, f"{person} asked for it; another person has to approve, because it is billed")
    values = {"state": state.value, "decided_by": person, "decided_ms": now_ms}
    conn.execute(update(vee_edit).where(vee_edit.c.edit_no == edit_no).values(**values))
    _record(conn, found, person, f"vee.edit_{state.value}", now_ms)
    ref, _ = channel_ref(conn, found.channel_no)
    run_again(conn, found.channel_no, _days(found.from_ms, found.to_ms, ref.zone), now_ms)
    decided = find(conn, edit_no)
    tell(conn, decided, found.state, now_ms)
    return decided


def _held(conn: Connection, edit_no: int) -> Edit:
    """The edit as it is now, with its usage point held: two persons decide one after the other."""
    hold_points(conn, [find(conn, edit_no).channel_no])
    return find(conn, edit_no)


def find(conn: Connection, edit_no: int) -> Edit:
    """Raises RefusedCommand for a number that no edit has."""
    row: Any = conn.execute(select(vee_edit).where(vee_edit.c.edit_no == edit_no)).one_or_none()
    if row is None:
        raise RefusedCommand(EditReason.UNKNOWN_EDIT, f"there is no edit {edit_no}")
    return edit_of(row)


def _check_person(conn: Connection, login: str) -> None:
    u = app_user.c
    who = conn.execute(select(u.login).where(u.login == login, u.active, u.role.in_(MAY_EDIT))).first()
    if who is None:
        text = f"{login!r} is nobody of operations or administration; name the login of the person who answers for it"
        raise RefusedCommand(EditReason.UNKNOWN_PERSON, text)


def _range(conn: Connection, asked: Asked, ref: ChannelRef, period_s: int) -> tuple[range, range]:
    """(local days, starts of the intervals). Raises for a range that is none, off the grid, or in days that are not closed."""
    period_ms = period_s * 1000
    if asked.from_ms >= asked.to_ms or asked.from_ms % period_ms or asked.to_ms % period_ms:
        raise RefusedCommand(EditReason.NO_RANGE, f"a range begins before it ends, and both are on the grid of {period_s // 60} minutes")
    days = _days(asked.from_ms, asked.to_ms, ref.zone)
    for day in days:
        if status_of(conn, day, asked.channel_no) in ("raw", PENDING):
            text = f"{date_of(day).isoformat()} of channel {asked.channel_no} was not judged yet; wait until the day is closed"
            raise RefusedCommand(EditReason.NOT_CLOSED, text)
    return days, range(asked.from_ms, asked.to_ms, period_ms)


def _days(from_ms: int, to_ms: int, zone: str) -> range:
    return range(day_of(from_ms, zone), day_of(to_ms - 1, zone) + 1)


def _piece(conn: Connection, asked: Asked, ref: ChannelRef, period_s: int, starts: range, old: Values) -> Piece:
    """What the tool is given to work with."""
    period_ms = period_s * 1000
    edges = [starts[0] - period_ms, starts[-1] + period_ms]
    held = days_slots(conn, asked.channel_no, [day_of(at, ref.zone) for at in edges]) if asked.tool is Tool.LINE else {}
    before, after = (held[at].value if at in held else None for at in edges)
    model: Values = ()
    if asked.tool is Tool.COPY:
        model = _from_day(conn, asked, ref, period_s, starts)
    elif asked.tool is Tool.ESTIMATE:
        model = _estimated(conn, asked, ref, starts)
    return Piece(old, before, after, model)


def _from_day(conn: Connection, asked: Asked, ref: ChannelRef, period_s: int, starts: range) -> Values:
    """The values of the same local times of another day."""
    source = slots_of(day_named("day", asked.argument), ref.zone, period_s)
    slots: Slots = days_slots(conn, asked.channel_no, [source.day], estimates=True)
    target = slots_of(day_of(starts[0], ref.zone), ref.zone, period_s)
    if len(_days(asked.from_ms, asked.to_ms, ref.zone)) != 1 or source.n != target.n:
        raise ConfigError("day", asked.argument, "copy within one day, and from one that has as many intervals")
    places = [source.start_ms + (at - target.start_ms) for at in starts]
    return [slots[at].value if at in slots else None for at in places]


def _estimated(conn: Connection, asked: Asked, ref: ChannelRef, starts: range) -> Values:
    """What VEE would put there, had nothing been measured."""
    wanted = frozenset(starts)
    found: dict[int, int] = {}
    for day in _days(asked.from_ms, asked.to_ms, ref.zone):
        near = around(conn, day, asked.channel_no, wanted)
        whole, unfit = with_history(conn, near, day)
        done = repair(whole.stretch, near.known, check_values(conn, near.usage_point_no, asked.channel_no, day), unfit)
        found |= {whole.stretch.start_of(e.index): e.value for e in done.estimates if whole.first <= e.index < whole.after}
    return [found.get(at) for at in starts]


def _record(conn: Connection, edit: Edit, person: str, action: str, now_ms: int) -> None:
    billed = f", bills {' '.join(edit.bills)}" if edit.bills else ""
    detail = f"edit {edit.edit_no}: {edit.tool.value}, {edit.reason}, {edit.old_total} to {edit.new_total}{billed}"
    record(conn, now_ms, person, action, f"channel:{edit.channel_no}", detail)
