"""Schedules and changes of commands in `/api/v1`: ask for a slot's booking, see it, move it, end it (C3-FR31, C3-FR32)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, url_for

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.customers import accounts as account_service
from gridtally_cloud.programs import reads, service
from gridtally_cloud.programs.model import Booking, ScheduleReason, ScheduleView
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api import writing
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, idempotency_key, moment, token
from gridtally_cloud.web.reads import commands as command_reads
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.schedules.document import Action, Programme, Window

Answer = tuple[Response, int]
CLASHES = frozenset({ScheduleReason.OVERLAP, ScheduleReason.TOO_LATE})


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


def _problem(refused: RefusedCommand) -> Problem:
    status = 409 if refused.reason in CLASHES else 404 if refused.reason == ScheduleReason.UNKNOWN else 422
    return Problem(status, str(refused.reason).replace("_", "-"), refused.detail or str(refused.reason))


def account_schedules(account_no: int) -> Answer:
    _staff_only()
    with site().db.read() as conn:
        items = [_schedule(view) for view in reads.of_account(conn, account_no)]
    return jsonify({"items": items, "next": None}), 200


def create_schedule(account_no: int) -> Answer:
    _staff_only()
    raw, key = body(), idempotency_key()
    with site().db.write() as conn:
        try:
            account_service.account(conn, account_no)
            view = service.book(conn, site().payments.signer, _booking(account_no, raw, key), site().now_ms)
        except RefusedCommand as refused:
            raise _problem(refused) from None
    answer = jsonify(_schedule(view))
    answer.headers["Location"] = url_for("api.schedule", schedule_no=view.schedule_no)
    return answer, 202


def schedule(schedule_no: int) -> Answer:
    _staff_only()
    with site().db.read() as conn:
        try:
            return jsonify(_schedule(reads.find(conn, schedule_no))), 200
        except RefusedCommand as refused:
            raise _problem(refused) from None


def cancel_schedule(schedule_no: int) -> Answer:
    return _change(lambda conn: service.cancel(conn, site().payments.signer, schedule_no, _by(), site().now_ms))


def send_schedule(schedule_no: int) -> Answer:
    return _change(lambda conn: service.send_now(conn, site().payments.signer, schedule_no, _by(), site().now_ms))


def move_schedule(schedule_no: int) -> Answer:
    raw = body()
    start_ms, end_ms = moment(raw.get("start"), "start"), moment(raw.get("end"), "end")
    return _change(lambda conn: service.move(conn, site().payments.signer, schedule_no, start_ms, end_ms, _by(), site().now_ms))


def cancel_command(cmd_id: str) -> Answer:
    return _change_command(cmd_id, lambda conn, wanted: commanding.cancel(conn, site().payments.signer, wanted, _by(), site().now_ms))


def move_command(cmd_id: str) -> Answer:
    at_ms = moment(body().get("not_before"), "not_before")
    return _change_command(
        cmd_id, lambda conn, wanted: commanding.reschedule(conn, site().payments.signer, wanted, at_ms, _by(), site().now_ms)
    )


def _change(change: Any) -> Answer:
    _staff_only()
    with site().db.write() as conn:
        try:
            return jsonify(_schedule(change(conn))), 202
        except RefusedCommand as refused:
            raise _problem(refused) from None


def _change_command(cmd_id: str, change: Any) -> Answer:
    """The command as it stands; where another took its place, that one."""
    _staff_only()
    with site().db.write() as conn:
        found = command_reads.command_row(conn, cmd_id)
        if found is None:
            raise Problem(404, "not-found", f"There is no command {cmd_id}.")
        try:
            moved = change(conn, bytes.fromhex(found.cmd_id))
        except RefusedCommand as refused:
            raise Problem(409, str(refused.reason).replace("_", "-"), refused.detail or str(refused.reason)) from None
        now = command_reads.command_row(conn, moved.hex() if isinstance(moved, bytes) else cmd_id)
        if now is None:
            raise Problem(404, "not-found", f"There is no command {cmd_id}.")
        return jsonify(writing.command(now, command_reads.command_steps(conn, now.cmd_id))), 202


def _by() -> str:
    return f"api:{token().name}"


def _booking(account_no: int, raw: dict[str, Any], key: str) -> Booking:
    try:
        windows = tuple(Window(int(w["weekdays"]), int(w["from_minute"]), int(w["to_minute"])) for w in raw.get("windows") or ())
        return Booking(
            Programme(str(raw.get("programme", "A"))), account_no, moment(raw.get("start"), "start"), moment(raw.get("end"), "end"),
            _by(), windows, Action[str(raw.get("action", "supply")).upper()], int(raw.get("requester_no") or 0),
            nano(str(raw["credit"])) if raw.get("credit") else 0, int(raw.get("credit_wh") or 0), str(raw.get("title") or ""), key,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError):
        text = "programme is A or B, action supply or off, windows a list of weekdays, from_minute, to_minute, credit a decimal."
        raise Problem(422, "bad-schedule", text) from None


def _schedule(v: ScheduleView) -> dict[str, Any]:
    spent = None if v.spent_nano is None else decimal_text(v.spent_nano)
    windows = [{"weekdays": w.weekdays, "from_minute": w.from_minute, "to_minute": w.to_minute} for w in v.windows]
    return {
        "schedule_no": v.schedule_no, "programme": v.programme.value, "account_no": v.account_no, "meter_no": v.meter_no,
        "requester_no": v.requester_no, "title": v.title, "zone": v.zone, "start": utc_text(v.start_ms), "end": utc_text(v.end_ms),
        "windows": windows, "action": v.action.name.lower(), "currency": v.currency, "credit": decimal_text(v.credit_nano),
        "credit_wh": v.credit_wh, "state": v.state.value, "reason": v.reason, "state_at": utc_text(v.state_at_ms),
        "cmd_id": v.cmd_id.hex(), "spent": spent, "spent_wh": v.spent_wh,
    }  # fmt: skip
