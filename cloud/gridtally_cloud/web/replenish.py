"""The consumer's auto-replenish page: the rule, the consent, the stored methods, and what was charged."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay import replenish_rules as rules
from gridtally_cloud.prepay.replenish import attempts
from gridtally_cloud.prepay.replenish_rules import Wish
from gridtally_cloud.prepay.trial_gateway import CHOICES, TrialGateway
from gridtally_cloud.web.amounts import typed_amount
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import actor, own_account, words
from gridtally_shared.errors import RefusedCommand

replenish = Blueprint("replenish", __name__, url_prefix="/account/<int:account_no>/replenish")

AMOUNTS = ("threshold", "amount", "month_cap")
FIELD_OF = {"payment_too_small": "amount", "payment_too_large": "amount", "cap_too_small": "month_cap", "no_consent": "consent",
            "unknown_method": "method", "bad_threshold": "threshold"}  # fmt: skip
SHOWN = 6


@replenish.route("/", methods=["GET", "POST"])
def page(account_no: int) -> Response | str | tuple[str, int]:
    with site().db.read() as conn:
        account = _prepaid(conn, account_no)
    if request.method != "POST":
        return _page(account, {})
    problems = _agree(account)
    if problems:
        return _page(account, problems), 422
    flash(words().t("replenish.agreed"), "good")
    return redirect(url_for("replenish.page", account_no=account_no))


@replenish.post("/off")
def off(account_no: int) -> Response:
    with site().db.write() as conn:
        _prepaid(conn, account_no)
        rules.switch_off(conn, account_no, site().now_ms, actor())
    flash(words().t("replenish.is_off"), "good")
    return redirect(url_for("replenish.page", account_no=account_no))


@replenish.post("/method")
def store(account_no: int) -> Response:
    """Keep a method at the test gateway; another gateway does this on pages of its own."""
    gateway = site().payments.gateway
    if not isinstance(gateway, TrialGateway):
        abort(404)
    with site().db.write() as conn:
        _prepaid(conn, account_no)
        try:
            kept = gateway.store_method(conn, request.form.get("choice", ""), site().now_ms)
        except RefusedCommand:
            abort(400)
        rules.keep_method(conn, site().payments, account_no, kept, site().now_ms, actor())
    return redirect(url_for("replenish.page", account_no=account_no))


@replenish.post("/method/<int:method_no>/remove")
def remove(account_no: int, method_no: int) -> Response:
    with site().db.write() as conn:
        _prepaid(conn, account_no)
        rules.remove_method(conn, account_no, method_no, site().now_ms, actor())
    return redirect(url_for("replenish.page", account_no=account_no))


def _prepaid(conn: Connection, account_no: int) -> Account:
    account = own_account(conn, account_no)
    if not account.is_prepaid:
        abort(404)
    return account


def _agree(account: Account) -> dict[str, str]:
    """Problems by field; none when the rule holds."""
    say = words(account.zone)
    typed = {name: typed_amount("other", request.form.get(name, ""), account.currency) for name in AMOUNTS}
    problems = {name: say.t(f"amount.{one.problem}") for name, one in typed.items() if one.problem}
    if problems:
        return problems
    method = request.form.get("method", "")
    threshold_nano, amount_nano, cap_nano = (typed[name].amount_nano or 0 for name in AMOUNTS)
    number = int(method) if method.isdecimal() and len(method) < 19 else 0
    wish = Wish(number, threshold_nano, amount_nano, cap_nano, "consent" in request.form)
    try:
        with site().db.write() as conn:
            rules.agree(conn, site().payments, account.account_no, wish, site().now_ms, actor())
    except RefusedCommand as refused:
        return {FIELD_OF.get(refused.reason, "amount"): say.name_of("replenish_refused", refused.reason, refused.detail)}
    return {}


def _page(account: Account, problems: dict[str, str]) -> str:
    with site().db.read() as conn:
        gateway = site().payments.gateway
        return render_template(
            "consumer/replenish.html", account=account, rule=rules.rule_of(conn, account.account_no), problems=problems,
            methods=rules.methods(conn, account.account_no), attempts=attempts(conn, account.account_no, SHOWN), form=request.form,
            choices=CHOICES if isinstance(gateway, TrialGateway) else (),
        )  # fmt: skip
