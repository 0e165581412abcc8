"""Work orders as a page of staff, and the consumer's word that he has no power (C3-A3.1, C3-A3.10, BYPL-13.3)."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from gridtally_cloud.customers.model import Mode
from gridtally_cloud.digits import whole
from gridtally_cloud.exchange import deliveries, validated
from gridtally_cloud.exchange.recipients import DeliveryState
from gridtally_cloud.prepay import migration
from gridtally_cloud.prepay.migration_rows import Wish
from gridtally_cloud.store.days import date_of
from gridtally_cloud.web.results import rows
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import actor, own_account, words
from gridtally_cloud.workorders import no_power, service
from gridtally_cloud.workorders.service import KINDS, OrderKind, OrderState, ReportValue
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand

work = Blueprint("work", __name__, url_prefix="/desk/work")
asking = Blueprint("asking", __name__, url_prefix="/account/<int:account_no>")


@work.get("/")
def page() -> str:
    return _page({})


def _page(problems: dict[int, str]) -> str:
    shown = OrderState(request.args["state"]) if request.args.get("state") in [s.value for s in OrderState] else OrderState.OPEN
    with site().db.read() as conn:
        found = service.orders(conn, shown)
        tests = {o.order_no: no_power.test_of(conn, o) for o in found if o.kind is OrderKind.NO_POWER}
        dead = deliveries.deliveries(conn, state=DeliveryState.DEAD) if shown is OrderState.OPEN else ()
        lacks = validated.missing(conn) if shown is OrderState.OPEN else ()
    days = [(each, date_of(each.day).isoformat()) for each in lacks]
    told = {no: rows(CommandType.TEST_SUPPLY, test.result, words()) for no, test in tests.items() if test is not None}
    return render_template("staff/work.html", orders=found, shown=shown, problems=problems, form=request.form, told=told, tests=tests,
                           dead=dead, lacks=days, report_of={kind: spec.report for kind, spec in KINDS.items()})  # fmt: skip


@work.post("/<int:order_no>/<any(done, dropped, dark):what>")
def close(order_no: int, what: str) -> Response | tuple[str, int]:
    """Done, dropped, or (a case) still no power: people are sent and the case stays open."""
    try:
        with site().db.write() as conn:
            found = service.order(conn, order_no)
            if what == "dark":
                no_power.still_dark(conn, found, site().now_ms, actor())
            else:
                note, state = request.form.get("note", ""), OrderState(what)
                service.close_order(conn, order_no, site().now_ms, actor(), note, _report(found.kind), state)
    except RefusedCommand as refused:
        return _page({order_no: words().name_of("order_problem", str(refused.reason), refused.detail)}), 422
    flash(words().t(f"work.{what}_said", n=order_no), "good")
    return redirect(url_for("work.page"), 303)


def _report(kind: OrderKind) -> dict[str, ReportValue]:
    """What was typed; a register that is no number stays text, and is refused as such."""
    found: dict[str, ReportValue] = {}
    for name, form in KINDS[kind].report.items():
        typed = request.form.get(name, "").strip()
        number = whole(typed) if form == "wh" else None
        found[name] = typed if number is None else number
    return found


@work.post("/deliveries/<int:delivery_no>")
def send_delivery(delivery_no: int) -> Response:
    """A file that nobody took goes once more (ETSI-5.2.3-alt-1c)."""
    try:
        with site().db.write() as conn:
            found = deliveries.send_again(conn, delivery_no, site().now_ms, actor())
    except RefusedCommand:
        flash(words().t("deliveries.again_not", n=delivery_no), "bad")
    else:
        flash(words().t("deliveries.again_said", name=found.name), "good")
    return redirect(url_for("work.page"), 303)


@asking.post("/no-power")
def no_power_here(account_no: int) -> Response:
    with site().db.write() as conn:
        own_account(conn, account_no)
        case = no_power.report(conn, site().payments.signer, account_no, site().now_ms, actor())
    flash(words().t("no_power.taken", n=case.order_no), "good")
    return redirect(url_for("consumer.home", account_no=account_no), 303)


@work.post("/no-power/<int:account_no>")
def no_power_of(account_no: int) -> Response:
    """The desk reports for a customer who called."""
    with site().db.write() as conn:
        own_account(conn, account_no)
        case = no_power.report(conn, site().payments.signer, account_no, site().now_ms, actor())
    flash(words().t("no_power.taken", n=case.order_no), "good")
    return redirect(url_for("work.page"), 303)


@asking.post("/mode")
def other_mode(account_no: int) -> Response:
    """The other way of paying, where the utility lets a consumer ask for it (BYPL-13.1, BYPL-14.1)."""
    say = words()
    with site().db.read() as conn:
        own_account(conn, account_no)
    if not site().settings.consumers_change_mode:
        flash(say.t("paying.not_here"), "bad")
        return redirect(url_for("consumer.profile", account_no=account_no), 303)
    try:
        with site().db.write() as conn:
            account = own_account(conn, account_no)
            wanted = Mode.POSTPAID if account.is_prepaid else Mode.PREPAID
            made = migration.ask(conn, Wish(account_no, wanted), site().now_ms, actor())
    except RefusedCommand as refused:
        flash(say.name_of("handover_reason", str(refused.reason), refused.detail), "bad")
    else:
        flash(say.t("paying.asked", mode=say.name_of("mode", made.wish.to_mode.value)), "good")
    return redirect(url_for("consumer.profile", account_no=account_no), 303)
