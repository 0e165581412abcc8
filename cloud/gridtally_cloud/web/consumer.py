"""The consumer's pages: balance, use, bills, recharge, profile. Every page is about one account of the visitor's own."""

from __future__ import annotations

import csv
import io

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response as BaseResponse

from gridtally_cloud.billing import service as billing
from gridtally_cloud.billing.model import BillView
from gridtally_cloud.customers import accounts, sessions, tariffs
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.digits import whole
from gridtally_cloud.prepay import migration_rows, topup_rules
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.charging import cost_of_day_nano, price_now, prices_coming
from gridtally_cloud.prepay.estimate import Estimate, cycle_end_ms, estimate
from gridtally_cloud.prepay.gateway import GatewayReason
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.managed_run import accept_emergency
from gridtally_cloud.prepay.minimum import least_payment
from gridtally_cloud.prepay.model import BalanceView, Order, OrderState
from gridtally_cloud.prepay.resend import code_to_type, level_of
from gridtally_cloud.prepay.time_left import time_left_of
from gridtally_cloud.programs.reads import coming
from gridtally_cloud.store.days import day_of, utc_text
from gridtally_cloud.web import usage as use
from gridtally_cloud.web.amounts import Typed, quick_choices, typed_amount
from gridtally_cloud.web.forecast import Forecast, forecast
from gridtally_cloud.web.letters import letters_of
from gridtally_cloud.web.programmes import TONES
from gridtally_cloud.web.reads import usage as usage_reads
from gridtally_cloud.web.reads.evidence import emergency_of
from gridtally_cloud.web.site import site
from gridtally_cloud.web.speech import why_told
from gridtally_cloud.web.visitor import actor, own_account, user, visitor, words
from gridtally_cloud.workorders import no_power
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import SYMBOLS, decimal_text
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.prices import Coming
from gridtally_shared.tariff.quote import Quote
from gridtally_shared.usage_days import DAYS

consumer = Blueprint("consumer", __name__, url_prefix="/account/<int:account_no>")

WEEK_DAYS = 7
HISTORY_PAGE = 50


def tariff_of(conn: Connection, account: Account) -> Quote | None:
    """The tariff in force for an account, at the price of its slab; None where its tariff has no version yet."""
    try:
        versions = tariffs.versions_of(conn, account.tariff_id)
        return price_now(conn, account, site().now_ms) or tariffs.tariff_at(versions, site().now_ms, account.zone)
    except RefusedCommand:
        return None


# ---- home -----------------------------------------------------------------------------------------------------


@consumer.get("/")
def home(account_no: int) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        balance = prepay.balance(conn, account_no)
        tariff = tariff_of(conn, account)
        week, today_wh, outlook = _recent(conn, account, tariff, balance)
        return render_template(
            "consumer/home.html", account=account, balance=balance, week=week, today_wh=today_wh, forecast=outlook,
            tariff=tariff, cost_nano=cost_of_day_nano(conn, account, site().now_ms) if account.is_prepaid else None,
            payments=prepay.payments(conn, account_no, 3), letters=letters_of(conn, account_no, 5), coming_prices=_coming(conn, account),
            emergency=emergency_of(conn, account, site().now_ms), is_managed=is_managed(conn, account_no),
            due_nano=billing.outstanding_nano(conn, account_no), why=why_told(conn, account, balance),
            schedules=coming(conn, account_no, site().now_ms), tones=TONES, no_power_case=no_power.open_case(conn, account_no),
        )  # fmt: skip


@consumer.post("/emergency")
def emergency(account_no: int) -> BaseResponse:
    """Take up the emergency credit of an account the MDM runs; one a concentrator runs takes it up at its display."""
    with site().db.write() as conn:
        own_account(conn, account_no)
        taken = is_managed(conn, account_no) and accept_emergency(conn, site().payments.signer, account_no, site().now_ms)
        if taken:
            record(conn, site().now_ms, actor(), "account.emergency", f"account:{account_no}", "emergency credit taken up in the portal")
    flash(words().t("emergency.taken" if taken else "emergency.not_now"), "good" if taken else "bad")
    return redirect(url_for("consumer.home", account_no=account_no), 303)


def _coming(conn: Connection, account: Account) -> tuple[Coming, ...]:
    try:
        return prices_coming(conn, account, site().now_ms)
    except RefusedCommand:  # its tariff has no version yet
        return ()


def _recent(conn: Connection, account: Account, tariff: Quote | None, seen: BalanceView) -> tuple[use.UsageView, int, Forecast]:
    """The last days as a chart, the use of today, and how long the balance lasts."""
    today = day_of(site().now_ms, account.zone)
    totals = usage_reads.day_totals(conn, account.usage_point_no, today - DAYS, today)
    span = use.week(today - WEEK_DAYS + 1, today, account.zone, account.opened_at_ms)
    rows = usage_reads.intervals(conn, account.usage_point_no, span.from_ms, span.to_ms)
    link = url_for("consumer.usage", account_no=account.account_no, span="day", at="{at}")
    week = use.week_view(rows, span, tariff, words(), site().now_ms, _braces(link))
    today_wh = sum(t.wh for t in totals if t.day == today)
    left = time_left_of(conn, account.account_no)
    return week, today_wh, forecast(seen.balance_nano, seen.as_of_ms, tariff, left, totals, today)


def _braces(link: str) -> str:
    return link.replace("%7Bat%7D", "{at}")


# ---- use ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A usage point as its charts need it: `since_ms` is when its supply began."""

    usage_point_no: int
    zone: str
    since_ms: int


def usage_view(conn: Connection, place: Place, tariff: Quote | None, link: str) -> use.UsageView:
    """What the address (span, at, unit) asks for, as the usage card shows it."""
    now_ms, say, usage_point_no = site().now_ms, words(place.zone), place.usage_point_no
    span = use.window(request.args.get("span", "day"), request.args.get("at", ""), now_ms, place.zone, place.since_ms)
    if span.span == "year":
        totals = usage_reads.day_totals(conn, usage_point_no, span.first_no, span.last_no)
        parts, counts = use.year_parts(totals, span, say, now_ms), use.counts_of_days(totals)
    else:
        rows = usage_reads.intervals(conn, usage_point_no, span.from_ms, span.to_ms)
        counts, by_day = use.counts_of(rows, now_ms, place.since_ms), span.span == "day"
        parts = use.day_parts(rows, say, now_ms, place.since_ms) if by_day else use.month_parts(rows, span, say, now_ms)
    return use.view(span, request.args.get("unit", "kwh"), parts, counts, tariff, say, now_ms, link)


@consumer.get("/usage")
def usage(account_no: int) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        finer = {"year": "month", "month": "day"}.get(request.args.get("span", "day"), "")
        unit = request.args.get("unit", "kwh")
        link = _braces(url_for("consumer.usage", account_no=account_no, span=finer, at="{at}", unit=unit)) if finer else ""
        place = Place(account.usage_point_no, account.zone, account.opened_at_ms)
        view = usage_view(conn, place, tariff_of(conn, account), link)
    return render_template("consumer/usage.html", account=account, view=view, usage_endpoint="consumer.usage",
                           csv_endpoint="consumer.usage_csv", usage_args={"account_no": account_no},
                           currency_name=SYMBOLS.get(account.currency, account.currency))  # fmt: skip


@consumer.get("/usage.csv")
def usage_csv(account_no: int) -> Response:
    """Every stored interval of the span: start (UTC), seconds, Wh, quality, cost."""
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        span = use.window(request.args.get("span", "day"), request.args.get("at", ""), site().now_ms, account.zone)
        rows = usage_reads.intervals(conn, account.usage_point_no, span.from_ms, min(span.to_ms, site().now_ms))
        text = interval_csv(rows, tariff_of(conn, account))
    name = f"gridtally-{account_no}-{span.at}.csv"
    return Response(text, mimetype="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def interval_csv(rows: tuple[usage_reads.Interval, ...], tariff: Quote | None) -> str:
    """A CSV with exact values: no rounding, decimal points, times in UTC."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(["start_utc", "seconds", "wh", "quality", "cost", "currency"])
    for row in rows:
        cost = use.cost_nano(row.wh, tariff) if row.wh is not None else None
        quality = "missing" if row.wh is None else "estimated" if row.estimated else "measured"
        table.writerow([utc_text(row.start_ms), row.period_s, "" if row.wh is None else row.wh, quality,
                        "" if cost is None else decimal_text(cost), tariff.currency if tariff else ""])  # fmt: skip
    return out.getvalue()


# ---- bills ----------------------------------------------------------------------------------------------------


@consumer.get("/bills")
def bills(account_no: int) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        return render_template("consumer/bills.html", account=account, bills=billing.list_bills(conn, account_no))


def own_bill(conn: Connection, account_no: int, bill_no: str) -> BillView:
    """A bill of this account; 404 for any other."""
    try:
        found = billing.bill(conn, bill_no)
    except RefusedCommand:
        abort(404)
    if found.bill.party.account_no != account_no:
        abort(404)
    return found


@consumer.get("/bills/<bill_no>")
def bill(account_no: int, bill_no: str) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        found, due_nano = own_bill(conn, account_no, bill_no), billing.outstanding_nano(conn, account_no)
    page = billing.render_context(found, words().code)
    svg = use.days_chart("bill", page.chart_title, [(d.day, d.used_wh) for d in found.bill.days], words())
    return render_template("consumer/bill.html", account=account, view=found, page=page, bars_svg=svg, due_nano=due_nano)


@consumer.get("/bills/<bill_no>.pdf")
def bill_pdf(account_no: int, bill_no: str) -> Response:
    with site().db.read() as conn:
        own_account(conn, account_no)
        found = own_bill(conn, account_no, bill_no)
    return pdf_response(found)


def pdf_response(found: BillView) -> Response:
    body = billing.render_pdf(found, words().code)
    headers = {"Content-Disposition": f'attachment; filename="{found.bill_no}.pdf"'}
    return Response(body, mimetype="application/pdf", headers=headers)


@consumer.post("/bills/<bill_no>/pay")
def pay_bill(account_no: int, bill_no: str) -> BaseResponse:
    with site().db.write() as conn:
        own_account(conn, account_no)
        found = own_bill(conn, account_no, bill_no)
        try:
            due, now_ms = found.due_nano, site().now_ms
            order = prepay.create_order(conn, site().payments, account_no, due, now_ms, actor(), bill_no=bill_no)
        except RefusedCommand as refused:
            flash(words().name_of("refused", refused.reason, refused.detail), "bad")
            return redirect(url_for("consumer.bill", account_no=account_no, bill_no=bill_no))
    return _to_gateway(order)


def _to_gateway(order: Order) -> BaseResponse:
    """The page where it is paid; where the gateway does not answer, that of the order, which says so and asks again."""
    where = url_for("consumer.receipt", account_no=order.account_no, order_id=order.order_id)
    try:
        return redirect(prepay.place_order(site().db, site().payments, order.order_id, site().now_ms).pay_path or where, 303)
    except RefusedCommand as refused:
        if refused.reason != GatewayReason.AWAY:
            flash(words().name_of("refused", refused.reason, refused.detail), "bad")
        return redirect(where, 303)


# ---- recharge -------------------------------------------------------------------------------------------------


@consumer.route("/recharge", methods=["GET", "POST"])
def recharge(account_no: int) -> BaseResponse | str | tuple[str, int]:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        if not account.is_prepaid:
            abort(404)
    if request.method != "POST":
        return _recharge_form(account, Typed("", quick_choices(account.currency)[1], None, ""))
    typed = typed_amount(request.form.get("choice", ""), request.form.get("amount", ""), account.currency)
    if typed.problem:
        return _recharge_form(account, typed, words().t(f"amount.{typed.problem}")), 422
    ordered = _order(account, typed.amount_nano or 0)
    if isinstance(ordered, Order):
        return _to_gateway(ordered)
    return _recharge_form(account, typed, ordered), 422


def _order(account: Account, amount_nano: int) -> Order | str:
    """The order, or why there is none in the consumer's words."""
    say = words(account.zone)
    with site().db.read() as conn:
        found = topup_rules.bounds(conn, site().payments, account, site().now_ms)
    bounds = {name: say.money(nano, account.currency) for name, nano in
              (("least", found.least_nano), ("most", found.most_nano), ("step", found.multiple_nano))}  # fmt: skip
    texts = {"payment_too_small": say.t("recharge.too_small", least=bounds["least"]),
             "payment_too_large": say.t("recharge.too_large", most=bounds["most"]),
             "payment_not_a_multiple": say.t("recharge.not_a_multiple", step=bounds["step"])}  # fmt: skip
    try:
        with site().db.write() as conn:
            return prepay.create_order(conn, site().payments, account.account_no, amount_nano, site().now_ms, actor())
    except RefusedCommand as refused:
        return texts.get(refused.reason) or say.name_of("refused", refused.reason, refused.detail)


def _recharge_form(account: Account, typed: Typed, problem: str = "") -> str:
    with site().db.read() as conn:
        limits = topup_rules.bounds(conn, site().payments, account, site().now_ms)
        balance = prepay.balance(conn, account.account_no)
        least = least_payment(conn, site().payments, account, site().now_ms)
        expected = _expected(conn, account)
    return render_template(
        "consumer/recharge.html", account=account, expected=expected, balance=balance, choices=quick_choices(account.currency),
        chosen=typed.choice,
        typed=typed.text, problems={"amount": problem} if problem else {}, least=least,
        least_nano=limits.least_nano, most_nano=limits.most_nano, symbol=SYMBOLS.get(account.currency, account.currency),
    )  # fmt: skip


def _expected(conn: Connection, account: Account) -> Estimate | None:
    """What the time to the end of the bill cycle will take (C3-S1.3); None where too little is known of the use."""
    try:
        return estimate(conn, account.account_no, site().now_ms, cycle_end_ms(conn, account.account_no, site().now_ms), site().now_ms)
    except RefusedCommand:
        return None


@consumer.post("/orders/<order_id>/pay")
def pay_order(account_no: int, order_id: str) -> BaseResponse:
    """The gateway is asked once more for the page of the same order."""
    with site().db.read() as conn:
        own_account(conn, account_no)
        order = _own_order(conn, account_no, order_id)
    return _to_gateway(order)


def _own_order(conn: Connection, account_no: int, order_id: str) -> Order:
    try:
        found = prepay.order(conn, order_id)
    except RefusedCommand:
        abort(404)
    return found if found.account_no == account_no else abort(404)


@consumer.get("/orders/<order_id>")
def receipt(account_no: int, order_id: str) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        order = _own_order(conn, account_no, order_id)
        payment = prepay.payment_of_order(conn, order_id)
        credit = payment.instrument if payment else None
        waits = credit is not None and credit.applied_at_ms is None
        late = level_of(site().now_ms - credit.issued_at_ms) if credit and waits else ""
        return render_template("consumer/receipt.html", account=account, order=order, payment=payment, late=late,
                               away=order.state is OrderState.CREATED and not order.pay_path,
                               code=code_to_type(conn, credit) if late else "",
                               balance=prepay.balance(conn, account_no), refresh_s=5 if waits else 0)  # fmt: skip


@consumer.get("/history")
def history(account_no: int) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        lines = prepay.ledger_lines(conn, account_no, HISTORY_PAGE, _before(request.args.get("before", "")))
        older = f"{lines[-1].epoch}-{lines[-1].seq}" if len(lines) == HISTORY_PAGE else ""
        return render_template("consumer/history.html", account=account, lines=lines, older=older)


def _before(text: str) -> tuple[int, int] | None:
    first, _, second = text.partition("-")
    epoch, seq = whole(first), whole(second)
    return (epoch, seq) if epoch is not None and seq is not None else None


# ---- profile --------------------------------------------------------------------------------------------------


@consumer.get("/profile")
def profile(account_no: int) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        found = visitor().session
        return render_template(
            "consumer/profile.html", account=account, accounts=accounts.list_accounts_for(conn, user()),
            customer=accounts.customer(conn, account.customer_no), session_no=found.session_no if found else 0,
            sessions=sessions.list_sessions(conn, user().user_id, site().real.now_ms()),
            moving=migration_rows.moving(conn, account_no), may_change_mode=site().settings.consumers_change_mode,
        )  # fmt: skip


@consumer.post("/profile/end-sessions")
def end_sessions(account_no: int) -> BaseResponse:
    with site().db.write() as conn:
        own_account(conn, account_no)
        ended = sessions.end_sessions(conn, user().user_id, site().real.now_ms(), visitor().token)
    flash(words().t("profile.ended", n=ended), "good")
    return redirect(url_for("consumer.profile", account_no=account_no))
