"""The customer representative's pages: find an account, see what the customer sees and what was ordered, take cash."""

from __future__ import annotations

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from gridtally_cloud.billing import service as billing
from gridtally_cloud.customers import accounts
from gridtally_cloud.person.erasing import erased_ms
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.web.amounts import typed_amount
from gridtally_cloud.web.consumer import own_bill, pdf_response
from gridtally_cloud.web.reads import commands as command_reads
from gridtally_cloud.web.site import site
from gridtally_cloud.web.speech import why_told
from gridtally_cloud.web.visitor import actor, own_account, words
from gridtally_cloud.workorders import no_power
from gridtally_shared.errors import RefusedCommand

desk = Blueprint("desk", __name__, url_prefix="/desk")

COMMANDS_SHOWN = 6
FIELD_OF = {"payment_too_small": "amount", "payment_too_large": "amount", "payment_not_a_multiple": "amount",
            "reference_used": "reference"}



def accounts_page() -> str:
    text = request.args.get("q", "")[:80]
    with site().db.read() as conn:
        return render_template("staff/accounts.html", q=text, accounts=accounts.find_accounts(conn, text))


@desk.get("/accounts/<int:account_no>")
def account(account_no: int) -> str:
    return _account_page(account_no, {})


def _account_page(account_no: int, problems: dict[str, str]) -> str:
    with site().db.read() as conn:
        found = own_account(conn, account_no)
        balance = prepay.balance(conn, account_no)
        return render_template(
            "staff/account.html", account=found, customer=accounts.customer(conn, found.customer_no), balance=balance,
            lines=prepay.ledger_lines(conn, account_no, 30), payments=prepay.payments(conn, account_no, 12),
            commands=command_reads.commands(conn, meter_no=found.meter_no, limit=COMMANDS_SHOWN),
            bills=billing.list_bills(conn, account_no), due_nano=billing.outstanding_nano(conn, account_no),
            no_power_case=no_power.open_case(conn, account_no), why=why_told(conn, found, balance), problems=problems, form=request.form,
            erased_ms=erased_ms(conn, found.customer_no),
        )  # fmt: skip


@desk.post("/accounts/<int:account_no>/credit")
def credit(account_no: int) -> BaseResponse | tuple[str, int]:
    problems = _credit(account_no, request.form.get("amount", ""), request.form.get("reference", "").strip()[:40])
    if problems:
        return _account_page(account_no, problems), 422
    return redirect(url_for("desk.account", account_no=account_no))


def _credit(account_no: int, amount: str, reference: str) -> dict[str, str]:
    """Problems by field; none when the money is booked."""
    with site().db.write() as conn:
        found = own_account(conn, account_no)
        say = words(found.zone)
        typed = typed_amount("other", amount, found.currency)
        if typed.problem:
            return {"amount": say.t(f"amount.{typed.problem}")}
        if not reference:
            return {"reference": say.t("desk.reference_missing")}
        try:
            amount_nano, now_ms = typed.amount_nano or 0, site().now_ms
            paid = prepay.pay_at_desk(conn, site().payments, account_no, amount_nano, reference, now_ms, actor())
        except RefusedCommand as refused:
            return {FIELD_OF.get(refused.reason, "amount"): refused.detail}
    flash(say.t("desk.booked", amount=say.money(paid.amount_nano, paid.currency), no=paid.payment_no), "good")
    return {}


@desk.get("/accounts/<int:account_no>/bills/<bill_no>.pdf")
def bill_pdf(account_no: int, bill_no: str) -> Response:
    with site().db.read() as conn:
        own_account(conn, account_no)
        found = own_bill(conn, account_no, bill_no)
    return pdf_response(found)


desk.add_url_rule("/", "accounts", accounts_page)
