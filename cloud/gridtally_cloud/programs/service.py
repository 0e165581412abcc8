"""Schedules: booked where the time is free, carried to the edge as commands, moved, ended early, cancelled.

* Half-open: what ends at ten and what starts at ten may both stand. A clash is refused and names the schedule in the way.
* Programme B needs a supply whose owner allows events of others and a requester who can pay: his account is
  debited and the event funded in the same transaction (money.py).
* The edge gets it a day ahead, or at once when its start is nearer, or when somebody says so.

Source: seed 002 scenarios 2 and 3, lines 338 to 343, 379, 409; C3-S2.*, C3-S3.*, C3-FR14, FR16, FR17, FR30, C3-IE2.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, update

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold, hold_meter
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.prepay.handover import pending_mode
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.programs import money, reads
from gridtally_cloud.programs.model import Booking, ScheduleReason, ScheduleState, ScheduleView, Slot
from gridtally_cloud.programs.tables import schedule
from gridtally_cloud.store.db import in_turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.schedules import document
from gridtally_shared.schedules.document import Programme, Schedule, fault_of
from gridtally_shared.schedules.windows import Span, clash, zone_named
from gridtally_shared.signing import Signer

ANSWERED_WITHIN_MS = 30 * MS_PER_DAY
"""An edge that was offline at the end says later what was used; until then the schedule is not over."""


def book(conn: Connection, signer: Signer, booking: Booking, now_ms: int) -> ScheduleView:
    """Raises RefusedCommand: already_scheduled, account_not_set_up, not_enough_funds, malformed."""
    hold(conn, booking.account_no, booking.requester_no)
    known = reads.by_key(conn, booking.idempotency_key)
    if known is not None:
        return known
    account = account_of(conn, booking.account_no)
    hold_meter(conn, account.meter_no)
    wanted = _schedule_of(conn, booking, account)
    reply = slot(conn, account, wanted, now_ms)
    if not reply.free:
        raise RefusedCommand(reply.reason, reply.text)
    number = _insert(conn, booking, wanted, account, now_ms)
    wanted = replace(wanted, schedule_no=number)
    if wanted.programme == Programme.B:
        money.fund(conn, signer, wanted, now_ms)
    _carry(conn, signer, wanted, account.meter_no, booking.by, now_ms)
    record(conn, now_ms, booking.by, "schedule.booked", f"account:{account.account_no}", f"schedule {number}")
    return _tell_others(conn, reads.find(conn, number), now_ms)


def slot(conn: Connection, account: Account, wanted: Schedule, now_ms: int) -> Slot:
    """Whether the time can be had: free, already scheduled, or the account is not set up for it."""
    if not account.meter_no or not account.dcu:
        return Slot(False, ScheduleReason.NOT_SET_UP, f"account {account.account_no} has no meter that a concentrator serves")
    if not account.is_prepaid:
        return Slot(False, ScheduleReason.NOT_SET_UP, f"account {account.account_no} is not prepaid")
    if pending_mode(conn, account) is not None:
        return Slot(False, ScheduleReason.NOT_SET_UP, f"account {account.account_no} is on its way to regular billing")
    if is_managed(conn, account.account_no):
        return Slot(False, ScheduleReason.NOT_SET_UP, f"account {account.account_no} is managed from here, and only a concentrator keeps "
                    "schedules: give it back to its own first")  # fmt: skip
    if wanted.programme == Programme.B and not money.takes_events(conn, account.account_no):
        return Slot(False, ScheduleReason.NOT_SET_UP, f"account {account.account_no} takes no events of others; its owner allows them")
    if wanted.end_ms <= now_ms:
        return Slot(False, ScheduleReason.TOO_LATE, "the time is over")
    for other in reads.of_meter(conn, account.meter_no, max(wanted.start_ms, now_ms)):
        span = clash(wanted, as_schedule(other)) if other.is_open and other.schedule_no != wanted.schedule_no else None
        if span is not None:
            return Slot(False, ScheduleReason.OVERLAP, _in_the_way(other, span), other)
    return Slot(True)


def cancel(conn: Connection, signer: Signer, schedule_no: int, by: str, now_ms: int) -> ScheduleView:
    """Take a schedule back; one that runs is ended now, and its money goes back when the edge has said what was used."""
    in_turn(conn, f"schedule {schedule_no}")
    found = reads.find(conn, schedule_no)
    if not found.is_open:
        raise RefusedCommand(ScheduleReason.TOO_LATE, f"schedule {schedule_no} is {found.state.value}")
    commanding.cancel(conn, signer, found.cmd_id, by, now_ms)
    record(conn, now_ms, by, "schedule.cancelled", f"account:{found.account_no}", f"schedule {schedule_no}")
    money.settle(conn, signer, reads.find(conn, schedule_no), now_ms)
    return _tell_others(conn, reads.find(conn, schedule_no), now_ms)


def move(conn: Connection, signer: Signer, schedule_no: int, start_ms: int, end_ms: int, by: str, now_ms: int) -> ScheduleView:
    """Another time for a schedule that has not begun; its money stays with it."""
    in_turn(conn, f"schedule {schedule_no}")
    found = reads.find(conn, schedule_no)
    hold(conn, found.account_no, found.requester_no)
    hold_meter(conn, found.meter_no)
    if not found.is_open or found.state is ScheduleState.RUNNING or start_ms <= now_ms:
        raise RefusedCommand(ScheduleReason.TOO_LATE, "only a schedule that has not begun can move, and only to a time to come")
    wanted = replace(as_schedule(found), start_ms=start_ms, end_ms=end_ms)
    _check(wanted)
    reply = slot(conn, account_of(conn, found.account_no), wanted, now_ms)
    if not reply.free:
        raise RefusedCommand(reply.reason, reply.text)
    conn.execute(update(schedule).where(schedule.c.schedule_no == schedule_no).values(start_ms=start_ms, end_ms=end_ms))
    _carry(conn, signer, wanted, found.meter_no, by, now_ms, found.cmd_id)
    record(conn, now_ms, by, "schedule.moved", f"account:{found.account_no}", f"schedule {schedule_no}")
    return _tell_others(conn, reads.find(conn, schedule_no), now_ms)


def send_now(conn: Connection, signer: Signer, schedule_no: int, by: str, now_ms: int) -> ScheduleView:
    """To the edge at once, whatever its start (C3-FR30)."""
    found = reads.find(conn, schedule_no)
    if found.state is ScheduleState.PLANNED:
        commanding.queue(conn, signer, found.cmd_id, now_ms, by)
        _tell_others(conn, reads.find(conn, schedule_no), now_ms)
    return reads.find(conn, schedule_no)


def _tell_others(conn: Connection, view: ScheduleView, now_ms: int) -> ScheduleView:
    """Other systems that want to know (C3-FR31)."""
    ref = f"{view.schedule_no}/{view.state.value}/{view.start_ms}"
    announce(conn, Topic.SCHEDULE_CHANGED, ref, now_ms, f"/schedules/{view.schedule_no}", {
        "schedule_no": view.schedule_no, "programme": view.programme.value, "account_no": view.account_no, "meter_no": view.meter_no,
        "requester_no": view.requester_no, "state": view.state.value, "start_ms": view.start_ms, "end_ms": view.end_ms,
    })  # fmt: skip
    return view


def as_schedule(view: ScheduleView) -> Schedule:
    return Schedule(
        view.schedule_no, view.programme, view.account_no, view.zone, view.start_ms, view.end_ms, view.windows, int(view.action),
        view.currency, view.credit_nano, view.credit_wh, view.requester_no, view.title,
    )  # fmt: skip


def _schedule_of(conn: Connection, booking: Booking, account: Account) -> Schedule:
    requester = booking.requester_no or (account.account_no if booking.programme is Programme.A else 0)
    credit_nano = booking.credit_nano or money.worth_nano(conn, account, booking.credit_wh, booking.start_ms)
    wanted = Schedule(
        0, booking.programme, account.account_no, account.zone, booking.start_ms, booking.end_ms, booking.windows,
        int(booking.action), account.currency, credit_nano, booking.credit_wh, requester, booking.title[:80],
    )  # fmt: skip
    _check(wanted)
    return wanted


def _check(wanted: Schedule) -> None:
    fault = fault_of(wanted)
    try:
        zone_named(wanted.zone)
    except ValueError as error:
        fault = fault or str(error)
    if fault:
        raise RefusedCommand(ScheduleReason.MALFORMED, fault)


def _insert(conn: Connection, booking: Booking, wanted: Schedule, account: Account, now_ms: int) -> int:
    values = {
        "programme": wanted.programme, "meter_no": account.meter_no, "account_no": wanted.account_no,
        "requester_no": wanted.requester_no, "title": wanted.title, "zone": wanted.zone, "start_ms": wanted.start_ms,
        "end_ms": wanted.end_ms, "windows": reads.packed(wanted.windows), "action": wanted.action,
        "currency": wanted.currency, "credit_nano": wanted.credit_nano, "credit_wh": wanted.credit_wh, "state": "open",
        "state_at_ms": now_ms, "created_by": booking.by, "created_ms": now_ms, "idempotency_key": booking.idempotency_key,
    }  # fmt: skip
    return int(conn.execute(insert(schedule).values(values).returning(schedule.c.schedule_no)).scalar_one())


def _carry(conn: Connection, signer: Signer, wanted: Schedule, meter_no: int, by: str, now_ms: int, before: bytes | None = None) -> None:
    """Put the schedule into a command; `before` is the one it was in."""
    detail = document.to_bytes(wanted)
    request = CommandRequest(
        meter_no, CommandType.SCHEDULE, by, f"schedule {wanted.schedule_no}", None, wanted.start_ms,
        wanted.end_ms + ANSWERED_WITHIN_MS, detail=detail,
    )  # fmt: skip
    if before is None:
        cmd_id = commanding.issue(conn, signer, request, now_ms).cmd_id
    else:
        cmd_id = commanding.replace_with(conn, signer, before, request, now_ms)
    conn.execute(update(schedule).where(schedule.c.schedule_no == wanted.schedule_no).values(cmd_id=cmd_id))


def _in_the_way(other: ScheduleView, span: Span) -> str:
    minutes = (span.end_ms - span.start_ms) // 60_000
    when = zone_text(span.start_ms, other.zone)
    return f"schedule {other.schedule_no}{' (' + other.title + ')' if other.title else ''} holds {minutes} minutes of it from {when}"


def zone_text(at_ms: int, zone: str) -> str:
    """Local time, for sentences of the API and the shell."""
    return datetime.fromtimestamp(at_ms // 1000, zone_named(zone)).strftime("%Y-%m-%d %H:%M")
