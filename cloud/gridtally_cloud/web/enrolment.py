"""Pages of enrolment: a household asks to prepay or books an event; the desk proves who asks, asks for them, and acknowledges.

* The desk's form opens only after an identity check of the same person at the desk that still holds (customers/identity.py).
* Times are typed in the zone of the supply. A refusal says what to do next, beside the form; what was typed stays there.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gridtally_cloud.customers import identity, outgoing
from gridtally_cloud.customers.accounts import AccountReason
from gridtally_cloud.customers.accounts import customer as customer_of
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay import enrolment as service
from gridtally_cloud.prepay.enrolment import Wish
from gridtally_cloud.prepay.offers import offers
from gridtally_cloud.programs import reads as schedule_reads
from gridtally_cloud.programs import service as scheduling
from gridtally_cloud.programs.model import Booking, ScheduleReason
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import actor, own_account, user, words
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import Programme
from gridtally_shared.schedules.windows import zone_named

prepaying = Blueprint("prepaying", __name__, url_prefix="/account/<int:account_no>/prepay")
enrolling = Blueprint("enrolling", __name__, url_prefix="/desk/accounts/<int:account_no>/enrol")

METHODS = ("card", "netbanking", "wallet", "cash")
SHOWN = 10
Answer = Response | str | tuple[str, int]


# ---- the household ------------------------------------------------------------------------------------------------


@prepaying.get("/")
def page(account_no: int) -> str:
    return _portal(account_no, {})


@prepaying.post("/")
def ask(account_no: int) -> Answer:
    problem = _ask(account_no, "portal", f"session:{user().login}")
    return (_portal(account_no, {"ask": problem}), 422) if problem else redirect(url_for("prepaying.page", account_no=account_no), 303)


@prepaying.post("/event")
def event(account_no: int) -> Answer:
    """Supply for a time of the household's own choosing, at its own place or at another's that takes events (programmes A and B)."""
    try:
        with site().db.write() as conn:
            wish = _event(own_account(conn, account_no), request.form)
            made = scheduling.book(conn, site().payments.signer, wish, site().now_ms)
    except RefusedCommand as refused:
        reason = ScheduleReason.NOT_SET_UP if refused.reason == AccountReason.UNKNOWN_ACCOUNT else refused.reason
        return _portal(account_no, {"event": words().name_of("schedule_reason", str(reason), refused.detail)}), 422
    except ValueError:
        return _portal(account_no, {"event": words().t("enrol.unreadable")}), 422
    flash(words().t("schedule.booked", n=made.schedule_no), "good")
    return redirect(url_for("prepaying.page", account_no=account_no), 303)


@prepaying.post("/contact")
def contact(account_no: int) -> Response:
    """By which channels the household wants to be told."""
    with site().db.write() as conn:
        own_account(conn, account_no)
        for channel in outgoing.CHOSEN:
            outgoing.choose(conn, account_no, channel, channel.value in request.form, site().now_ms, actor())
    flash(words().t("enrol.contact_kept"), "good")
    return redirect(url_for("prepaying.page", account_no=account_no), 303)


def _portal(account_no: int, problems: Mapping[str, str]) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        return render_template(
            "consumer/prepay.html", account=account, customer=customer_of(conn, account.customer_no), problems=problems, form=request.form,
            offers=offers(conn, account, site().now_ms), requests=service.requests(conn, account_no, SHOWN), methods=METHODS,
            schedules=schedule_reads.of_account(conn, account_no)[:SHOWN], key=secrets.token_hex(8), local_now=_local(account),
            choices=outgoing.choices(conn, account_no),
        )  # fmt: skip


# ---- the desk -----------------------------------------------------------------------------------------------------


@enrolling.get("/")
def desk_page(account_no: int) -> str:
    return _desk(account_no, {})


@enrolling.post("/identity")
def check(account_no: int) -> Answer:
    """The answers of the person who asks. They are not kept."""
    answers = {name: request.form.get(name, "")[:120] for name in (*identity.ALWAYS, *identity.SECRETS)}
    with site().db.write() as conn:
        own_account(conn, account_no)
        seen = identity.confirm(conn, account_no, answers, actor(), site().real.now_ms())
    if not seen.good:
        say = words()
        wrong = say.t("enrol.locked", span=say.duration(seen.wait_s * 1000)) if seen.wait_s else say.t("enrol.wrong")
        return _desk(account_no, {"identity": wrong}), 422
    return redirect(url_for("enrolling.desk_page", account_no=account_no), 303)


@enrolling.post("/")
def desk_ask(account_no: int) -> Answer:
    with site().db.read() as conn:
        number = identity.confirmed(conn, account_no, actor(), site().real.now_ms())
    problem = _ask(account_no, "desk", f"check {number}") if number else words().t("enrol.first_identity")
    return (_desk(account_no, {"ask": problem}), 422) if problem else redirect(url_for("enrolling.desk_page", account_no=account_no), 303)


@enrolling.post("/<int:request_no>/acknowledge")
def acknowledge(account_no: int, request_no: int) -> Response:
    try:
        with site().db.write() as conn:
            own_account(conn, account_no)
            service.acknowledge(conn, request_no, site().now_ms, actor())
    except RefusedCommand as refused:
        flash(_refusal(refused), "bad")
    return redirect(url_for("enrolling.desk_page", account_no=account_no), 303)


def _desk(account_no: int, problems: Mapping[str, str]) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        return render_template(
            "staff/enrol.html", account=account, problems=problems, form=request.form, methods=METHODS, key=secrets.token_hex(8),
            known=identity.confirmed(conn, account_no, actor(), site().real.now_ms()), offers=offers(conn, account, site().now_ms),
            requests=service.requests(conn, account_no, SHOWN), messages=outgoing.messages_of(conn, account_no, SHOWN),
            local_now=_local(account),
        )  # fmt: skip


# ---- forms --------------------------------------------------------------------------------------------------------


def _ask(account_no: int, source: str, credential: str) -> str:
    """What is wrong, in a sentence; '' when the request is taken in."""
    try:
        with site().db.write() as conn:
            wish = _wish(conn, account_no, request.form, source, credential)
            made = service.ask(conn, wish, site().now_ms, actor())
    except RefusedCommand as refused:
        return _refusal(refused)
    except ValueError:
        return words().t("enrol.unreadable")
    flash(words().t("enrol.asked", no=made.request_no), "good")
    return ""


def _refusal(refused: RefusedCommand) -> str:
    sentence = words().name_of("enrol_reason", str(refused.reason), refused.detail)
    field = refused.detail.partition(":")[0]
    return sentence.replace("{field}", words().name_of("enrol_field", field, field))


def _wish(conn: Connection, account_no: int, form: Mapping[str, str], source: str, credential: str) -> Wish:
    """Raises ValueError for what can not be read."""
    account = own_account(conn, account_no)
    programme, _, option = form.get("option", "").partition(":")
    begins, ends = form.get("from", ""), form.get("to", "")
    return Wish(
        account_no, form.get("name", "")[:120], form.get("address", "")[:200], _moment_ms(begins, account) if begins else 0,
        _moment_ms(ends, account) if ends else None, programme, option, source, credential, nano(form.get("amount", "").strip() or "0"),
        form.get("method", "") if form.get("method", "") in METHODS else "",
        nano(form.get("deposit", "").strip() or "0") if source == "desk" else 0,
        f"{source}:{actor()}:{form['key'][:32]}" if form.get("key") else None,
    )  # fmt: skip


def _event(account: Account, form: Mapping[str, str]) -> Booking:
    """Raises ValueError for what can not be read."""
    place = form.get("place", "").strip()
    is_own = not place or int(place) == account.account_no
    start_ms, end_ms = (_moment_ms(form.get(name, ""), account) for name in ("start", "end"))
    return Booking(
        Programme.A if is_own else Programme.B, account.account_no if is_own else int(place), start_ms, end_ms, actor(),
        requester_no=account.account_no, credit_nano=nano(form.get("credit", "").strip() or "0"), title=form.get("title", "").strip(),
        idempotency_key=f"portal:{actor()}:{form['key'][:32]}" if form.get("key") else None,
    )  # fmt: skip


def _moment_ms(text: str, account: Account) -> int:
    """A `datetime-local` of the supply's zone."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone_named(account.zone)).timestamp()) * 1000


def _local(account: Account) -> str:
    return datetime.fromtimestamp(site().now_ms // 1000, zone_named(account.zone)).strftime("%Y-%m-%dT%H:%M")
