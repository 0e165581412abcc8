"""The answers of `/api/v1`: authorise, read, call one function, write. Routes come from the table of operations.

A customer's own token reaches that customer's accounts and their meters; anything else is 404, as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for
from sqlalchemy import Connection
from werkzeug.exceptions import HTTPException

from gridtally_cloud.billing import service as billing
from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.commands.service import limit_detail, token_detail
from gridtally_cloud.customers import accounts as account_service
from gridtally_cloud.customers.model import Account
from gridtally_cloud.exchange import given
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.gateway import GatewayReason
from gridtally_cloud.web.api import (
    billing_views,
    enrolment_views,
    estimate_views,
    grid_views,
    handover_views,
    idempotency,
    inquiry_views,
    limit_views,
    meter_views,
    migration_views,
    order_views,
    price_views,
    recipient_views,
    schedule_views,
    station_views,
    webhook_views,
    writing,
)
from gridtally_cloud.web.api.openapi import BASE, document
from gridtally_cloud.web.api.operations import OPERATIONS, Operation
from gridtally_cloud.web.api.problems import Problem, of_http, of_problem
from gridtally_cloud.web.api.reading import authorise, body, cursor_text, direction, idempotency_key, moment, page, span, token
from gridtally_cloud.web.orders import KINDS, MAX_TEXT, OrderKind
from gridtally_cloud.web.reads import commands as command_reads
from gridtally_cloud.web.reads import daily as daily_reads
from gridtally_cloud.web.reads import events as event_reads
from gridtally_cloud.web.reads import meters as meter_reads
from gridtally_cloud.web.reads import usage as usage_reads
from gridtally_cloud.web.security import csrf
from gridtally_cloud.web.site import site
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import MOST_LIMIT_W
from gridtally_shared.meter_settings import ResetKind, Setting
from gridtally_shared.meter_settings_json import BadSetting, kind_named
from gridtally_shared.money import nano

api = Blueprint("api", __name__, url_prefix=BASE)
csrf.exempt(api)

MAX_REFERENCE = 40
GATEWAY_AGAIN_S = 30
GIVEN_AGAIN_MS = 30 * MS_PER_DAY


def _json(value: Any, status: int = 200) -> tuple[Response, int]:
    return jsonify(value), status


def _list(items: list[dict[str, Any]], following: str | None) -> tuple[Response, int]:
    return _json({"items": items, "next": following})


# ---- who may see what -----------------------------------------------------------------------------------------


def _own_accounts(conn: Connection) -> tuple[Account, ...]:
    """The accounts a token reaches."""
    own = token().customer_no
    return tuple(a for a in account_service.all_accounts(conn) if own is None or a.customer_no == own)


def _account(conn: Connection, account_no: int) -> Account:
    try:
        found = account_service.account(conn, account_no)
    except RefusedCommand:
        raise Problem(404, "not-found", f"There is no account {account_no}.") from None
    if token().customer_no not in (None, found.customer_no):
        raise Problem(404, "not-found", f"There is no account {account_no}.")
    return found


def _meter(conn: Connection, meter_no: int) -> meter_reads.MeterRow:
    found = meter_reads.meter_row(conn, meter_no)
    if found is None or (token().customer_no is not None and meter_no not in {a.meter_no for a in _own_accounts(conn)}):
        raise Problem(404, "not-found", f"There is no meter {meter_no}.")
    return found


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


# ---- meters and values ----------------------------------------------------------------------------------------


def openapi() -> tuple[Response, int]:
    return _json(document())


def meters() -> tuple[Response, int]:
    asked = page(1)
    with site().db.read() as conn:
        if token().customer_no is not None:
            own = sorted({a.meter_no for a in _own_accounts(conn)})
            return _list([writing.meter(_meter(conn, no)) for no in own], None)
        rows = meter_reads.meters(conn, after=asked.after[0] if asked.after else 0, limit=asked.limit)
    return _list([writing.meter(m) for m in rows], cursor_text(rows[-1].meter_no) if len(rows) == asked.limit else None)


def meter(meter_no: int) -> tuple[Response, int]:
    with site().db.read() as conn:
        return _json(writing.meter(_meter(conn, meter_no)))


def readings(meter_no: int) -> tuple[Response, int]:
    (from_ms, to_ms), asked = span(), page(2)
    with site().db.read() as conn:
        _meter(conn, meter_no)
        after = (asked.after[0], asked.after[1]) if asked.after else None
        rows = meter_reads.samples(conn, meter_no, from_ms, to_ms, after, asked.limit)
    full = len(rows) == asked.limit
    return _list([writing.reading(r) for r in rows], cursor_text(rows[-1].at_ms, rows[-1].code) if full else None)


def daily(meter_no: int) -> tuple[Response, int]:
    from_ms, to_ms = span(30)
    with site().db.read() as conn:
        found = _meter(conn, meter_no)
        records = daily_reads.records(conn, meter_no, found.zone, from_ms, to_ms)
    return _list([writing.daily(r) for r in records], None)


def intervals(meter_no: int) -> tuple[Response, int]:
    (from_ms, to_ms), asked, way = span(), page(1), direction()
    start_ms = max(from_ms, asked.after[0]) if asked.after else from_ms
    with site().db.read() as conn:
        found = _meter(conn, meter_no)
        step_ms = found.interval_s * 1000
        end_ms = min(to_ms, start_ms + asked.limit * step_ms)
        rows = usage_reads.in_direction(conn, found.usage_point_no or 0, start_ms, end_ms, way)
        happened = event_reads.names_by_interval(conn, meter_no, rows)
    if rows and found.usage_point_no:
        _note_given(found.usage_point_no, start_ms, end_ms)
    return _list([writing.interval(r, happened.get(r.start_ms, ())) for r in rows], cursor_text(end_ms) if end_ms < to_ms else None)


def _note_given(usage_point_no: int, from_ms: int, to_ms: int) -> None:
    """Who fetches a range is named when it is doubted. In whole days (UTC), so that one who asks each minute writes once a day; what is
    fetched again a month later is noted anew, for it is kept from the last time on."""
    taker = given.taker(given.Kind.TOKEN, token().name)
    from_ms, to_ms = from_ms // MS_PER_DAY * MS_PER_DAY, -(-to_ms // MS_PER_DAY) * MS_PER_DAY
    with site().db.read() as conn:
        if given.is_noted(conn, taker, usage_point_no, from_ms, to_ms, site().now_ms - GIVEN_AGAIN_MS):
            return
    with site().db.write() as conn:
        given.note(conn, taker, [usage_point_no], from_ms, to_ms, site().now_ms)


def meter_events(meter_no: int) -> tuple[Response, int]:
    with site().db.read() as conn:
        _meter(conn, meter_no)
    return _events(meter_no)


def events() -> tuple[Response, int]:
    _staff_only()
    return _events(None)


def account_events(account_no: int) -> tuple[Response, int]:
    """The log of an account: of every meter it had, while it was its."""
    with site().db.read() as conn:
        found = _account(conn, account_no)
    return _events(None, found)


def _events(meter_no: int | None, of: Account | None = None) -> tuple[Response, int]:
    (from_ms, to_ms), asked = span(30), page(2)
    before = (asked.after[0], asked.after[1]) if asked.after else None
    if of is not None:
        from_ms, to_ms = max(from_ms, of.opened_at_ms), min(to_ms, of.closed_at_ms or to_ms)
    with site().db.read() as conn:
        rows = event_reads.events(
            conn, meter_no=meter_no, before=before, from_ms=from_ms, to_ms=to_ms, limit=asked.limit,
            usage_point_no=of.usage_point_no if of else None,
        )  # fmt: skip
    full = len(rows) == asked.limit
    return _list([writing.event(e) for e in rows], cursor_text(rows[-1].at_ms, rows[-1].event_no) if full else None)


# ---- commands -------------------------------------------------------------------------------------------------


def create_command(meter_no: int) -> tuple[Response, int]:
    _staff_only()
    wanted = _request(meter_no, body(), idempotency_key())
    with site().db.write() as conn:
        _meter(conn, meter_no)
        try:
            issued = commanding.issue(conn, site().payments.signer, wanted, site().now_ms)
        except RefusedCommand as refused:
            raise Problem(422, refused.reason.replace("_", "-"), refused.detail or refused.reason) from None
        found = _command(conn, issued.cmd_id.hex())
        if (found.meter_no, found.type) != (meter_no, wanted.type):
            raise Problem(409, "key-reused", "This Idempotency-Key was used for another command: send a new key.")
        answer, status = _json(writing.command(found, command_reads.command_steps(conn, found.cmd_id)), 202)
    answer.headers["Location"] = url_for("api.command", cmd_id=found.cmd_id)
    return answer, status


def _request(meter_no: int, raw: dict[str, Any], key: str) -> CommandRequest:
    kind = KINDS.get(str(raw.get("type", "")))
    if kind is None:
        raise Problem(422, "unknown-type", f"type is one of {', '.join(KINDS)}.")
    text, times = str(raw.get("text") or ""), {name: _moment(raw, name) for name in ("from", "to", "not_before")}
    if len(text) > MAX_TEXT:
        raise Problem(422, "text-too-long", f"A message has at most {MAX_TEXT} characters.")
    return CommandRequest(meter_no, kind.type, f"api:{token().name}", str(raw.get("reason") or "api request")[:MAX_TEXT], key,
                          times["not_before"], 0, times["from"] if kind.span else 0, times["to"] if kind.span else 0,
                          text if kind.type is CommandType.MESSAGE else "", _asked(raw) if kind.settings else (),
                          _reset(raw) if kind.reset else 0, detail=_detail(kind, raw))  # fmt: skip


def _detail(kind: OrderKind, raw: dict[str, Any]) -> bytes | None:
    if kind.limit:
        return _limit(raw)
    return _token(raw) if kind.token else None


def _limit(raw: dict[str, Any]) -> bytes:
    watts = raw.get("limit_w")
    if type(watts) is not int or not 0 <= watts <= MOST_LIMIT_W:
        raise Problem(422, "bad-limit", f"limit_w is a whole number of watts up to {MOST_LIMIT_W}; 0 lifts the limit.")
    return limit_detail(watts, _moment(raw, "until"), str(raw.get("reason") or "")[:MAX_TEXT])


def _token(raw: dict[str, Any]) -> bytes:
    try:
        return token_detail(str(raw.get("token", "")))
    except RefusedCommand as refused:
        raise Problem(422, "bad-token", refused.detail) from None


def _asked(raw: dict[str, Any]) -> tuple[Setting, ...]:
    names = raw.get("settings")
    if not isinstance(names, list) or not names:
        raise Problem(422, "no-settings", 'settings is a list of names, for example ["demand_period"].')
    try:
        return tuple(Setting(kind_named(str(name))) for name in names)
    except BadSetting as bad:
        raise Problem(422, "bad-setting", str(bad)) from None


def _reset(raw: dict[str, Any]) -> int:
    try:
        return int(ResetKind[str(raw.get("reset", "")).upper()])
    except KeyError:
        known = ", ".join(k.name.lower() for k in ResetKind)
        raise Problem(422, "unknown-reset", f"reset is one of {known}.") from None


def _moment(raw: dict[str, Any], name: str) -> int:
    return moment(raw[name], name) if raw.get(name) else 0


def _command(conn: Connection, cmd_id: str) -> command_reads.CommandRow:
    found = command_reads.command_row(conn, cmd_id)
    if found is None:
        raise Problem(404, "not-found", "There is no such command.")
    return found


def meter_commands(meter_no: int) -> tuple[Response, int]:
    _staff_only()
    with site().db.read() as conn:
        _meter(conn, meter_no)
        rows = command_reads.commands(conn, meter_no=meter_no)
        return _list([writing.command(row, command_reads.command_steps(conn, row.cmd_id)) for row in rows], None)


def command(cmd_id: str) -> tuple[Response, int]:
    _staff_only()
    with site().db.read() as conn:
        found = _command(conn, cmd_id)
        return _json(writing.command(found, command_reads.command_steps(conn, found.cmd_id)))


# ---- accounts, bills, orders ----------------------------------------------------------------------------------


def accounts() -> tuple[Response, int]:
    asked = page(1)
    after = asked.after[0] if asked.after else 0
    with site().db.read() as conn:
        rows = [a for a in _own_accounts(conn) if a.account_no > after][: asked.limit]
    return _list([writing.account(a) for a in rows], cursor_text(rows[-1].account_no) if len(rows) == asked.limit else None)


def account(account_no: int) -> tuple[Response, int]:
    with site().db.read() as conn:
        return _json(writing.account(_account(conn, account_no)))


def balance(account_no: int) -> tuple[Response, int]:
    with site().db.read() as conn:
        _account(conn, account_no)
        return _json(writing.balance(prepay.balance(conn, account_no), billing.outstanding_nano(conn, account_no)))


def ledger(account_no: int) -> tuple[Response, int]:
    asked = page(2)
    before = (asked.after[0], asked.after[1]) if asked.after else None
    with site().db.read() as conn:
        _account(conn, account_no)
        rows = prepay.ledger_lines(conn, account_no, asked.limit, before)
    full = len(rows) == asked.limit
    return _list([writing.ledger_line(x) for x in rows], cursor_text(rows[-1].epoch, rows[-1].seq) if full else None)


def bills(account_no: int) -> tuple[Response, int]:
    asked = page(1)
    first = asked.after[0] if asked.after else 0
    with site().db.read() as conn:
        _account(conn, account_no)
        rows = billing.list_bills(conn, account_no)
    shown = rows[first : first + asked.limit]
    following = first + asked.limit
    return _list([writing.bill(b) for b in shown], cursor_text(following) if following < len(rows) else None)


def create_payment(account_no: int) -> tuple[Response, int]:
    """Pay stations: staff tokens only, a customer can not credit himself."""
    _staff_only()
    raw = body()
    amount_nano, reference = _amount(raw), str(raw.get("reference") or "").strip()
    if not 1 <= len(reference) <= MAX_REFERENCE:
        raise Problem(422, "bad-reference", f"reference is the receipt's number, 1 to {MAX_REFERENCE} characters.")
    with site().db.write() as conn:
        _account(conn, account_no)
        try:
            by, now_ms = f"api:{token().name}", site().now_ms
            paid = prepay.pay_at_desk(conn, site().payments, account_no, amount_nano, reference, now_ms, by)
        except RefusedCommand as refused:
            raise Problem(422, refused.reason.replace("_", "-"), refused.detail) from None
    return _json(writing.payment(paid), 201)


def _amount(raw: dict[str, Any]) -> int:
    try:
        return nano(str(raw.get("amount")))
    except ValueError as error:
        raise Problem(422, "bad-amount", str(error)) from None


def create_order(account_no: int) -> tuple[Response, int]:
    raw, key = body(), idempotency_key()
    digest = idempotency.digest_of(request.path, raw)
    amount_nano = _amount(raw)
    with site().db.write() as conn:
        _account(conn, account_no)
        done = idempotency.earlier(conn, key, digest)
        made = prepay.order(conn, done) if done else None
        by, now_ms = f"api:{token().name}", site().now_ms
        try:
            made = made or prepay.create_order(conn, site().payments, account_no, amount_nano, now_ms, by)
        except RefusedCommand as refused:
            raise Problem(422, refused.reason.replace("_", "-"), refused.detail) from None
        if done is None:
            idempotency.remember(conn, key, digest, made.order_id, site().now_ms)
    try:
        made = prepay.place_order(site().db, site().payments, made.order_id, now_ms)
    except RefusedCommand as refused:
        away = refused.reason == GatewayReason.AWAY
        detail = f"{refused.detail} The same Idempotency-Key goes on with the same order." if away else refused.detail
        raise Problem(503 if away else 422, refused.reason.replace("_", "-"), detail, GATEWAY_AGAIN_S if away else 0) from None
    answer, status = _json(writing.order(made, None), 201)
    answer.headers["Location"] = url_for("api.order", account_no=account_no, order_id=made.order_id)
    return answer, status


def order(account_no: int, order_id: str) -> tuple[Response, int]:
    with site().db.read() as conn:
        _account(conn, account_no)
        try:
            found = prepay.order(conn, order_id)
        except RefusedCommand:
            found = None
        if found is None or found.account_no != account_no:
            raise Problem(404, "not-found", "There is no such order.")
        return _json(writing.order(found, prepay.payment_of_order(conn, order_id)))


# ---- routes ---------------------------------------------------------------------------------------------------

VIEWS: dict[str, Callable[..., tuple[Response, int]]] = {
    view.__name__: view
    for view in (
        meter_views.meter_settings, meter_views.write_settings, meter_views.create_campaign, meter_views.campaign,
        meter_views.meter_places, meter_views.topology_now, meter_views.event_groups, meter_views.chronic_failures,
        meter_views.load_violations, meter_views.power_quality,
        daily,
        openapi, meters, meter, readings, intervals, meter_events, events, account_events, create_command, command, accounts, account,
        schedule_views.cancel_command, schedule_views.move_command, schedule_views.account_schedules, schedule_views.create_schedule,
        handover_views.convert_account, handover_views.swap_account_meter, handover_views.replace_account_dcu,
        schedule_views.schedule, schedule_views.cancel_schedule, schedule_views.move_schedule, schedule_views.send_schedule,
        balance, ledger, bills, create_payment, create_order, order, station_views.station_account, station_views.station_quote,
        station_views.station_pay, station_views.station_receipt, station_views.station_reverse, station_views.station_day,
        station_views.station_close, estimate_views.estimate, enrolment_views.prepay_requests, enrolment_views.create_prepay_request,
        price_views.tariff_confirmations, enrolment_views.acknowledge_prepay_request,
        migration_views.migrations, migration_views.migration, migration_views.create_migration,
        order_views.report_no_power, order_views.orders, order_views.work_order, order_views.close_work_order, webhook_views.webhooks,
        webhook_views.create_webhook, webhook_views.end_webhook, webhook_views.webhook_notices, webhook_views.send_notice_again,
        inquiry_views.create_inquiry, inquiry_views.inquiry, inquiry_views.completeness, inquiry_views.data_requests,
        meter_commands, limit_views.limit_for_arrears, limit_views.limit_load,
        recipient_views.all_recipients, recipient_views.create_recipient, recipient_views.end_recipient,
        recipient_views.create_recipient_schedule, recipient_views.request_data, recipient_views.recipient_deliveries,
        recipient_views.recipient_errors, recipient_views.send_delivery_again,
        grid_views.grid_transformers, grid_views.grid_readings, grid_views.grid_power_quality, grid_views.grid_load,
        grid_views.grid_export,
        *billing_views.VIEWS,
    )
}  # fmt: skip


def _guarded(operation: Operation) -> Callable[..., tuple[Response, int]]:
    view = VIEWS[operation.name]

    def answer(**path: Any) -> tuple[Response, int]:
        if operation.scope:
            authorise(operation.scope)
        return view(**path)

    return answer


for _operation in OPERATIONS:
    api.add_url_rule(_operation.path, _operation.name, _guarded(_operation), methods=[_operation.method])


@api.errorhandler(Problem)
def on_problem(problem: Problem) -> Response:
    return of_problem(problem)


@api.errorhandler(HTTPException)
def on_http_error(error: HTTPException) -> Response:
    return of_http(error)
