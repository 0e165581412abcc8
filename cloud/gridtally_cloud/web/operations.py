"""The staff's pages: is the fleet well, one meter in full, commands and their life, events, concentrators, API tokens."""

from __future__ import annotations

import secrets

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import Issued
from gridtally_cloud.customers import accounts, price_notices
from gridtally_cloud.customers.service import authenticate
from gridtally_cloud.digits import whole
from gridtally_cloud.meters import loads, settings, upkeep
from gridtally_cloud.meters.settings import SettingView
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.store.days import day_of
from gridtally_cloud.web import overview_chart, results, tokens
from gridtally_cloud.web.consumer import Place, tariff_of, usage_view
from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.orders import KINDS, RESETS, Fields, OrderKind, read_fields, request_of
from gridtally_cloud.web.reads import boxes as box_reads
from gridtally_cloud.web.reads import commands as command_reads
from gridtally_cloud.web.reads import events as event_reads
from gridtally_cloud.web.reads import evidence as evidence_reads
from gridtally_cloud.web.reads import meters as meter_reads
from gridtally_cloud.web.reads import overview as overview_reads
from gridtally_cloud.web.site import site
from gridtally_cloud.web.speech import why_told
from gridtally_cloud.web.visitor import actor, source, user, words
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.meter_settings import packed

operations = Blueprint("operations", __name__, url_prefix="/staff")

OVERVIEW_DAYS = 14
SETTING_TONES = {"active": "good", "verified": "good", "queued": "", "sent": "", "unknown": "", "failed": "bad", "differs": "warn"}
EVENTS_PAGE = 50


@operations.get("/")
def overview() -> str:
    today = day_of(site().now_ms, site().settings.zone)
    with site().db.read() as conn:
        days = overview_reads.completeness(conn, today - OVERVIEW_DAYS, today - 1)
        return render_template(
            "staff/overview.html", fleet=overview_reads.fleet(conn), queues=overview_reads.queues(conn), days=days,
            yesterday=next((d for d in days if d.day == today - 1), None), dcus=overview_reads.dcus(conn),
            events=event_reads.events(conn, urgent_only=True, limit=6), problems=overview_reads.problems(conn),
            poisoned=overview_reads.poisoned(conn), days_svg=overview_chart.days_chart(days, words()),
        )  # fmt: skip


# ---- meters ---------------------------------------------------------------------------------------------------


@operations.get("/meters")
def meters() -> str:
    text, state, dcu = (request.args.get(name, "")[:80] for name in ("q", "state", "dcu"))
    after = request.args.get("after", 0, type=int)
    with site().db.read() as conn:
        rows = meter_reads.meters(conn, text, dcu, state, after)
    following = rows[-1].meter_no if len(rows) == meter_reads.PAGE else 0
    return render_template("staff/meters.html", q=text, state=state, meters=rows, next_after=following)


@operations.get("/meters/<int:meter_no>")
def meter(meter_no: int) -> str:
    return _meter_page(meter_no, {})


def _meter_page(meter_no: int, problems: dict[str, str]) -> str:
    with site().db.read() as conn:
        found = meter_reads.meter_row(conn, meter_no)
        if found is None:
            abort(404)
        g.zone = found.zone
        account = accounts.account(conn, found.account_no) if found.account_no else None
        rows = evidence_reads.evidence(conn, found.account_no) if found.account_no else ()
        tariff = tariff_of(conn, account) if account else None
        return render_template(
            "staff/meter.html", meter=found, upkeep=upkeep.faults(conn, meter_no), latest=meter_reads.latest_values(conn, meter_no),
            why=why_told(conn, account, prepay.balance(conn, account.account_no)) if account else None,
            events=event_reads.events(conn, meter_no=meter_no, limit=10), evidence=rows,
            commands=command_reads.commands(conn, meter_no=meter_no, limit=8), supply_why=evidence_reads.why(found.switch),
            view=usage_view(conn, Place(found.usage_point_no or 0, found.zone, found.installed_ms), tariff, ""),
            switch_names=meter_reads.SWITCH_NAMES, resets=tuple(RESETS), setting_tones=SETTING_TONES,
            settings=[_SettingLine(v, words()) for v in settings.of_meter(conn, meter_no, site().now_ms)],
            usage_endpoint="operations.meter", usage_args={"meter_no": meter_no}, csv_endpoint="", problems=problems,
            form=request.form, key=secrets.token_urlsafe(12),
        )  # fmt: skip


class _SettingLine:
    """A setting as a line of the page."""

    def __init__(self, view: SettingView, language: Language) -> None:
        self.kind, self.state, self.reason = view.kind, view.state, view.reason
        self.wanted_text, self.reported_text = (
            results.setting_text(packed(record), language) if record else "" for record in (view.wanted, view.reported)
        )


# ---- commands -------------------------------------------------------------------------------------------------


@operations.post("/meters/<int:meter_no>/commands")
def command(meter_no: int) -> Response | tuple[str, int]:
    kind = KINDS.get(request.form.get("kind", ""))
    with site().db.read() as conn:
        found = meter_reads.meter_row(conn, meter_no)
    if found is None or kind is None:
        abort(404 if found is None else 400)
    fields = read_fields(kind, request.form, found.zone)
    problems = {name: words().t(key) for name, key in fields.problems.items()} or _confirm(kind)
    issued = None if problems else _issue(kind, fields, meter_no)
    if isinstance(issued, Issued):
        return redirect(url_for("operations.command_page", cmd_id=issued.cmd_id.hex()), 303)
    return _meter_page(meter_no, problems or {"orders": issued or ""}), 422


def _confirm(kind: OrderKind) -> dict[str, str]:
    """Ask the password again where the kind needs it; the lock-out counts here as at the login."""
    if not kind.password:
        return {}
    result = authenticate(site().db, user().login, request.form.get("password", ""), source(), site().real.now_ms())
    if result.user is not None:
        return {}
    if result.retry_after_s:
        return {"password": words().t("auth.locked", n=-(-result.retry_after_s // 60))}
    return {"password": words().t("command.password_wrong")}


def _issue(kind: OrderKind, fields: Fields, meter_no: int) -> Issued | str:
    """The command's receipt, or why it was not taken."""
    wanted = request_of(kind, fields, meter_no, actor(), request.form.get("key", "")[:64])
    try:
        with site().db.write() as conn:
            return commanding.issue(conn, site().payments.signer, wanted, site().now_ms)
    except RefusedCommand as refused:
        return words().name_of("reason", refused.reason, refused.detail)


@operations.get("/commands")
def commands() -> str:
    open_only = bool(request.args.get("open"))
    with site().db.read() as conn:
        rows = command_reads.commands(conn, open_only=open_only, limit=100)
    return render_template("staff/commands.html", commands=rows, open_only=open_only)


@operations.get("/commands/<cmd_id>")
def command_page(cmd_id: str) -> str:
    with site().db.read() as conn:
        found = command_reads.command_row(conn, cmd_id)
        if found is None:
            abort(404)
        steps = command_reads.command_steps(conn, cmd_id)
    shown = results.rows(found.type, found.result, words())
    quarantined = found.state is CommandState.QUARANTINED
    return render_template("staff/command.html", command=found, steps=steps, result=shown, quarantined=quarantined,
                           refresh_s=5 if found.is_open and not quarantined else 0)  # fmt: skip


@operations.post("/commands/<cmd_id>/cancel")
def cancel(cmd_id: str) -> Response:
    return _act(cmd_id, release=False)


@operations.post("/commands/<cmd_id>/release")
def release(cmd_id: str) -> Response:
    return _act(cmd_id, release=True)


def _act(cmd_id: str, release: bool) -> Response:
    """Take a command back, or let a quarantined one go as the second person."""
    with site().db.write() as conn:
        found = command_reads.command_row(conn, cmd_id)
        if found is None:
            abort(404)
        wanted = bytes.fromhex(found.cmd_id)
        try:
            if release:
                commanding.release(conn, site().payments.signer, wanted, actor(), site().now_ms)
            else:
                commanding.cancel(conn, site().payments.signer, wanted, actor(), site().now_ms)
        except RefusedCommand as refused:
            flash(refused.detail, "bad")
    return redirect(url_for("operations.command_page", cmd_id=found.cmd_id))


# ---- events, concentrators, tokens ----------------------------------------------------------------------------


@operations.get("/events")
def events() -> str:
    urgent = bool(request.args.get("urgent"))
    with site().db.read() as conn:
        rows = event_reads.events(conn, urgent_only=urgent, before=_before(), limit=EVENTS_PAGE)
    return render_template("staff/events.html", events=rows, urgent=urgent, older=_older(rows))


@operations.get("/load")
def load() -> str:
    """Who took more than the limit of his supply (BYPL-9.1)."""
    with site().db.read() as conn:
        rows = loads.violations(conn, 0, site().now_ms + MS_PER_DAY, _before(), EVENTS_PAGE)
    return render_template("staff/load.html", rows=rows, older=_older(rows))


@operations.get("/prices")
def prices() -> str:
    """Where new prices are in force and who has viewed the message; of one version, whom it is missing from (ETSI 5.2.12)."""
    tariff_id, number = request.args.get("tariff", ""), request.args.get("version", "")
    with site().db.read() as conn:
        known = price_notices.versions(conn)
        chosen = next((v for v in known if (v.tariff_id, str(v.version)) == (tariff_id, number)), None)
        found = price_notices.confirmations(conn, chosen.tariff_id, chosen.version) if chosen else ()
    return render_template("staff/prices.html", versions=known, chosen=chosen, missing=[c for c in found if c.is_missing])


def _before() -> tuple[int, int] | None:
    """Where the page before this one ended: time and number of its last event."""
    at, _, number = request.args.get("before", "").partition("-")
    at_ms, event_no = whole(at), whole(number)
    return (at_ms, event_no) if at_ms is not None and event_no is not None else None


def _older(rows: tuple[event_reads.EventRow, ...] | tuple[loads.Violation, ...]) -> str:
    return f"{rows[-1].at_ms}-{rows[-1].event_no}" if len(rows) == EVENTS_PAGE else ""


@operations.get("/dcus")
def dcus() -> str:
    with site().db.read() as conn:
        return render_template("staff/dcus.html", dcus=overview_reads.dcus(conn), inventory=box_reads.boxes(conn),
                               proposals=overview_reads.proposals(conn))  # fmt: skip



def tokens_page() -> str | tuple[str, int]:
    """List API tokens; a new one is shown this once."""
    fresh, problem = "", ""
    if request.method == "POST":
        fresh, problem = _make_token()
    with site().db.read() as conn:
        rows = tokens.list_tokens(conn)
    page = render_template("staff/tokens.html", tokens=rows, scopes=tokens.SCOPES, fresh=fresh, form=request.form,
                           problems={"name": problem} if problem else {})  # fmt: skip
    return (page, 422) if problem else page


def _make_token() -> tuple[str, str]:
    """(token, '') or ('', why not)."""
    name = request.form.get("name", "").strip()[:60]
    scopes = tuple(s for s in request.form.getlist("scope") if s in tokens.SCOPES)
    if not name or not scopes:
        return "", words().t("tokens.need")
    with site().db.write() as conn:
        return tokens.create_token(conn, name, scopes, site().real.now_ms(), actor()), ""


@operations.post("/tokens/<int:token_no>/revoke")
def revoke_token(token_no: int) -> Response:
    with site().db.write() as conn:
        tokens.revoke_token(conn, token_no, site().real.now_ms(), actor())
    return redirect(url_for("operations.tokens"))


operations.add_url_rule("/tokens", "tokens", tokens_page, methods=["GET", "POST"])
