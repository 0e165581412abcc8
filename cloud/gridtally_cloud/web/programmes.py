"""The desk's page of schedules: what is planned, what runs, and a form to book one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gridtally_cloud.customers import accounts
from gridtally_cloud.prepay.estimate import estimate
from gridtally_cloud.programs import reads, service
from gridtally_cloud.programs.model import Booking, ScheduleView
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import actor, words
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import display, nano
from gridtally_shared.schedules.document import Action, Programme
from gridtally_shared.schedules.windows import zone_named

programmes = Blueprint("programmes", __name__, url_prefix="/desk/schedules")
TONES = {"running": "good", "held": "good", "sent": "wait", "planned": "wait", "refused": "bad", "missed": "bad"}


@programmes.get("/")
def page() -> str:
    return _page({})


@programmes.post("/")
def book() -> Response | tuple[str, int]:
    """Book it, or (`what` = estimate) say what it would take."""
    form = request.form
    try:
        with site().db.write() as conn:
            wish = _wish(conn, form)
            if form.get("what") == "estimate":
                return _page({"estimate": _estimate(conn, wish)}), 200
            view = service.book(conn, site().payments.signer, wish, site().now_ms)
    except RefusedCommand as refused:
        return _page({"orders": words().name_of("schedule_reason", str(refused.reason), "") + ": " + refused.detail}), 422
    except ValueError:
        return _page({"orders": words().t("schedule.unreadable")}), 422
    flash(words().t("schedule.booked", n=view.schedule_no), "good")
    return redirect(url_for("programmes.page"), 303)


@programmes.post("/<int:schedule_no>/<any(cancel, send):what>")
def change(schedule_no: int, what: str) -> Response:
    act = {"cancel": service.cancel, "send": service.send_now}[what]
    try:
        with site().db.write() as conn:
            act(conn, site().payments.signer, schedule_no, actor(), site().now_ms)
    except RefusedCommand as refused:
        flash(refused.detail, "bad")
    return redirect(url_for("programmes.page"), 303)


def _page(said: Mapping[str, str]) -> str:
    with site().db.read() as conn:
        rows = reads.recent(conn)
        money = {v.schedule_no: reads.money(conn, v.schedule_no) for v in rows if v.programme is Programme.B}
    return render_template("staff/schedules.html", schedules=rows, money_of=money, tones=TONES, said=said, form=request.form,
                           key=secrets.token_hex(8), spent=_spent)  # fmt: skip


def _spent(view: ScheduleView) -> str:
    return "" if view.spent_nano is None else display(view.spent_nano, view.currency)


def _wish(conn: Connection, form: Mapping[str, str]) -> Booking:
    """Raises ValueError for what can not be read, RefusedCommand for an account that does not exist."""
    account = accounts.account(conn, int(form.get("account", "")))
    start_ms, end_ms = (_moment_ms(form.get(name, ""), account.zone) for name in ("start", "end"))
    programme = Programme(form.get("programme", "A"))
    return Booking(
        programme, account.account_no, start_ms, end_ms, actor(), action=Action(int(form.get("action", "1"))),
        requester_no=int(form.get("requester") or 0), credit_nano=nano(form.get("credit") or "0"),
        title=form.get("title", "").strip(), idempotency_key=f"form:{actor()}:{form['key'][:32]}" if form.get("key") else None,
    )  # fmt: skip


def _estimate(conn: Connection, wish: Booking) -> str:
    found = estimate(conn, wish.account_no, wish.start_ms, wish.end_ms, site().now_ms)
    return words().t("schedule.estimate_is", amount=display(found.amount_nano, found.currency), wh=f"{found.wh / 1000:.1f}",
                     n=found.basis.known_hours)  # fmt: skip


def _moment_ms(text: str, zone: str) -> int:
    """A `datetime-local` of the supply's zone."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone_named(zone)).timestamp()) * 1000
