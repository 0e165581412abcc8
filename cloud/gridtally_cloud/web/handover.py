"""The desk's page where an account changes its way of paying, its meter or its concentrator.

* Each change is shown as sentences first and done with a second click. Nothing is changed by the first one.
* A refusal says whose fault it is and what to do next, in the reader's language; nothing was changed then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gridtally_cloud.billing import service as billing
from gridtally_cloud.billing.deposits import releasable_nano
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.prepay import handover as service
from gridtally_cloud.prepay import replaced
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.web.access import allowed
from gridtally_cloud.web.reads import handover as reads
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import actor, own_account, user, words
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.records import dataclass

handover = Blueprint("handover", __name__, url_prefix="/desk/accounts/<int:account_no>/handover")
NANO_OF_KWH = 10**6
"""A register typed in kWh is read like an amount: nano of a kWh in a Wh."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the second click is about: sentences, and what is done then."""

    sentences: tuple[str, ...]
    do: Callable[[Connection], object]
    done: str


@handover.get("/")
def page(account_no: int) -> str:
    return _page(account_no, {})


@handover.post("/mode")
def mode(account_no: int) -> Response | tuple[str, int]:
    return _act(account_no, "mode", _mode)


@handover.post("/meter")
def meter(account_no: int) -> Response | tuple[str, int]:
    return _act(account_no, "meter", _meter)


@handover.post("/edge")
def edge(account_no: int) -> Response | tuple[str, int]:
    return _act(account_no, "edge", _edge)


def _act(account_no: int, what: str, asked_of: Callable[[Connection, Account, Mapping[str, str]], Asked]) -> Response | tuple[str, int]:
    """First click: the change is tried and taken back, so that what can not be is refused at once. Second click: it is done."""
    confirmed = request.form.get("confirmed") == "yes"
    try:
        with site().db.write() as conn:
            asked = asked_of(conn, own_account(conn, account_no), request.form)
            with conn.begin_nested() as trial:
                asked.do(conn)
                if not confirmed:
                    trial.rollback()
    except RefusedCommand as refused:
        return _page(account_no, {what: words().name_of("handover_reason", str(refused.reason), refused.detail)}), 422
    except ValueError:
        return _page(account_no, {what: words().t("handover_reason.unreadable")}), 422
    if not confirmed:
        return _page(account_no, {}, what, asked), 200
    flash(asked.done, "good")
    return redirect(url_for("desk.account" if allowed("desk.account", user().role) else "handover.page", account_no=account_no), 303)


def _page(account_no: int, problems: Mapping[str, str], what: str = "", asked: Asked | None = None) -> str:
    with site().db.read() as conn:
        found = own_account(conn, account_no)
        return render_template(
            "staff/handover.html", account=found, problems=problems, form=request.form, what=what, asked=asked,
            pending=service.pending_mode(conn, found), ordered=service.newest_order(conn, found), balance=prepay.balance(conn, account_no),
            due_nano=billing.outstanding_nano(conn, account_no), edges=reads.other_edges(conn, found.dcu),
            meters=reads.free_meters(conn, found.dcu),
        )  # fmt: skip


def _mode(conn: Connection, account: Account, form: Mapping[str, str]) -> Asked:
    """Raises ValueError for an amount that can not be read."""
    say = words(account.zone)
    wanted = Mode.POSTPAID if account.mode is Mode.PREPAID else Mode.PREPAID
    named_nano = nano(form.get("deposit", "").strip() or "0")
    deposit_nano = named_nano or releasable_nano(conn, account, site().now_ms)
    due_nano = billing.outstanding_nano(conn, account.account_no)
    sentences = [say.t(f"handover.to_{wanted.value}")]
    if wanted is Mode.PREPAID:
        sentences += [say.t("handover.arrears", amount=say.money(due_nano, account.currency))] if due_nano > 0 else []
        sentences += [say.t("handover.bill_credit", amount=say.money(-due_nano, account.currency))] if due_nano < 0 else []
        sentences += [say.t("handover.deposit_back", amount=say.money(deposit_nano, account.currency))] if deposit_nano else []
    sentences.append(say.t("handover.supply_stays"))
    return Asked(
        tuple(sentences),
        lambda c: service.convert(c, site().payments.signer, account.account_no, wanted, site().now_ms, actor(), named_nano),
        say.t("handover.mode_ordered"),
    )


def _meter(conn: Connection, account: Account, form: Mapping[str, str]) -> Asked:
    """Raises ValueError for a register that can not be read."""
    say, serial = words(account.zone), form.get("serial", "").strip()
    number = replaced.meter_called(conn, serial)
    closing_wh, opening_wh = (_wh(form.get(name, "")) for name in ("closing", "opening"))
    sentences = (
        say.t("handover.meter_from_to", old=account.meter_serial, new=serial),
        say.t("handover.closing_at", kwh=say.kwh(closing_wh, 3)) if closing_wh is not None else say.t("handover.closing_unknown"),
        say.t("handover.opening_at", kwh=say.kwh(opening_wh, 3)) if opening_wh is not None else say.t("handover.opening_unknown"),
        say.t("handover.credit_follows"), say.t("handover.meter_schedules"),
    )
    return Asked(
        sentences, lambda c: replaced.swap_meter(
            c, site().payments.signer, account.account_no, number, closing_wh, opening_wh, site().now_ms, actor()
        ),
        say.t("handover.meter_done", serial=serial),
    )  # fmt: skip


def _edge(conn: Connection, account: Account, form: Mapping[str, str]) -> Asked:
    say, name = words(account.zone), form.get("dcu", "").strip()
    balance = prepay.balance(conn, account.account_no)
    known = say.t("handover.edge_balance", amount=say.money(balance.balance_nano, account.currency), when=say.when(balance.as_of_ms))
    sentences = (
        say.t("handover.edge_from_to", old=account.dcu, new=name),
        known if balance.known else say.t("handover.edge_no_balance"), say.t("handover.edge_gap"), say.t("handover.edge_old"),
        say.t("handover.edge_schedules"),
    )  # fmt: skip
    return Asked(
        sentences, lambda c: replaced.replace_edge(c, site().payments.signer, account.account_no, name, site().now_ms, actor()),
        say.t("handover.edge_done", dcu=name),
    )  # fmt: skip


def _wh(text: str) -> int | None:
    """A register typed in kWh; None where none was read. Raises ValueError."""
    return nano(text.strip()) // NANO_OF_KWH if text.strip() else None
