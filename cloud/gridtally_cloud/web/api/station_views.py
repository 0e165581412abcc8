"""Pay stations in `/api/v1`: an agent's counter asks, quotes, books, takes back and closes its day.

* One operator, one token with the scope `station:write`; all it sees and changes is its own.
* Every call is counted before it is answered, also one that is then refused; too many are answered 429 with the time to wait.
* A refusal is a problem with a sentence the operator can read out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from flask import Response, jsonify, request

from gridtally_cloud.prepay import paystation
from gridtally_cloud.prepay import station_day as days
from gridtally_cloud.prepay.model import PaymentReason
from gridtally_cloud.prepay.paystation import Quote, Receipt
from gridtally_cloud.prepay.resend import code_to_type
from gridtally_cloud.prepay.station_day import Station, StationReason
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, token
from gridtally_cloud.web.api.writing import time_or_null
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, nano

Answer = tuple[Response, int]

STATUS: dict[str, int] = {
    StationReason.NOT_FOUND: 404,
    "unknown_account": 404,
    PaymentReason.UNKNOWN_PAYMENT: 404,
    PaymentReason.REFERENCE_USED: 409,
    StationReason.TOO_LATE: 409,
    StationReason.DAY_CLOSED: 409,
    StationReason.REFUNDED: 409,
    StationReason.CREDIT_USED: 409,
}
"""Status of a refusal; 422 for all others."""


def station_account(name: str) -> Answer:
    station = _station("lookup")
    _count(station, "miss", only_look=True)
    try:
        with site().db.read() as conn:
            return jsonify(_quote(paystation.find(conn, site().payments, name, site().now_ms))), 200
    except RefusedCommand as refused:
        _count(station, "miss")
        raise _problem(refused) from None


def station_quote() -> Answer:
    _station("lookup")
    raw = body()
    with _refusals(), site().db.read() as conn:
        return jsonify(_quote(paystation.quote(conn, site().payments, _account_no(raw), _amount(raw), site().now_ms))), 200


def station_pay() -> Answer:
    station, raw = _station("pay"), body()
    key = request.headers.get("Idempotency-Key", "").strip()
    account_no, amount_nano, method = _account_no(raw), _amount(raw), str(raw.get("method") or "cash")
    with _refusals(), site().db.write() as conn:
        paid = paystation.pay(conn, site().payments, station, account_no, amount_nano, key, site().now_ms, method=method)
        return jsonify(_receipt(paid, code_to_type(conn, paid.payment.instrument))), 201


def station_receipt(payment_no: int) -> Answer:
    station = _station("lookup")
    with _refusals(), site().db.read() as conn:
        found = paystation.receipt(conn, station, payment_no)
        return jsonify(_receipt(found, code_to_type(conn, found.payment.instrument))), 200


def station_reverse(payment_no: int) -> Answer:
    station, reason = _station("reverse"), str(body().get("reason") or "").strip()
    if not reason:
        raise Problem(422, "reason-missing", "Say why, in a sentence: the office reads it.")
    with _refusals(), site().db.write() as conn:
        return jsonify(_receipt(paystation.reverse(conn, site().payments, station, payment_no, reason, site().now_ms), "")), 200


def station_day(name: str) -> Answer:
    station = _station("day")
    with site().db.read() as conn:
        file = days.day_file(conn, station, _day(name))
        if request.args.get("format") == "csv":
            headers = {"Content-Disposition": f'attachment; filename="station-{station.token_no}-{name}.csv"'}
            return Response(file, mimetype="text/csv", headers=headers), 200
        return jsonify(_totals(name, file, days.is_closed(conn, station, name), days.totals(conn, station, name))), 200


def station_close(name: str) -> Answer:
    station = _station("day")
    with _refusals(), site().db.write() as conn:
        file = days.close_day(conn, station, _day(name), site().now_ms)
        return jsonify(_totals(name, file, True, days.totals(conn, station, name))), 200


# ---- who asks, and how often ----------------------------------------------------------------------------------


def _station(kind: str) -> Station:
    """The station behind the token, its call counted."""
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token is no pay station.")
    found = Station(token().token_no, token().name, site().settings.zone)
    _count(found, kind)
    return found


def _count(station: Station, kind: str, only_look: bool = False) -> None:
    real_ms = site().real.now_ms()
    with site().db.write(counts=False) as conn:
        if only_look:
            wait_s = 60 if days.is_guessing(conn, station.token_no, real_ms) else 0
        else:
            wait_s = days.wait_s(conn, station.token_no, kind, real_ms)
    if wait_s:
        raise Problem(429, "too-many-calls", f"Too many calls in this minute: try again in {wait_s} seconds.", wait_s)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except RefusedCommand as refused:
        raise _problem(refused) from None


def _problem(refused: RefusedCommand) -> Problem:
    return Problem(STATUS.get(refused.reason, 422), refused.reason.replace("_", "-"), refused.detail)


# ---- reading and writing --------------------------------------------------------------------------------------


def _account_no(raw: dict[str, Any]) -> int:
    number = raw.get("account_no")
    if type(number) is not int:
        raise Problem(422, "bad-account", "account_no is the number of the account, as the look-up gave it.")
    return number


def _amount(raw: dict[str, Any]) -> int:
    try:
        return nano(str(raw.get("amount")))
    except ValueError as error:
        raise Problem(422, "bad-amount", str(error)) from None


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Problem(404, "bad-day", "A business day is written such as 2026-11-22.") from None


def _quote(q: Quote) -> dict[str, Any]:
    return {
        "account_no": q.account_no, "name": q.masked_name, "meter_serial": q.meter_serial,
        "mode": "prepaid" if q.prepaid else "postpaid", "currency": q.currency, "least": decimal_text(q.least_nano),
        "most": decimal_text(q.most_nano), "reconnect": decimal_text(q.reconnect_nano) if q.reconnect_nano else None,
        "owed": decimal_text(q.owed_nano), "amount": decimal_text(q.amount_nano) if q.amount_nano else None, "restores": q.restores,
    }  # fmt: skip


def _receipt(r: Receipt, code: str) -> dict[str, Any]:
    paid, credit = r.payment, r.payment.instrument
    return {
        "payment_no": paid.payment_no, "account_no": paid.account_no, "name": r.masked_name, "amount": decimal_text(paid.amount_nano),
        "currency": paid.currency, "method": paid.method, "at": utc_text(paid.captured_at_ms), "station": r.station, "day": r.day,
        "reversed_at": time_or_null(r.reversed_at_ms), "credit": credit.state.value if credit else None,
        "applied_seq": credit.applied_seq if credit else None, "code": code or None,
    }  # fmt: skip


def _totals(day: str, file: str, closed: bool, totals: tuple[days.Total, ...]) -> dict[str, Any]:
    rows = [{"currency": t.currency, "payments": t.payments, "taken": decimal_text(t.taken_nano), "reversals": t.reversals,
             "returned": decimal_text(t.returned_nano), "owed": decimal_text(t.owed_nano)} for t in totals]  # fmt: skip
    return {"day": day, "closed": closed, "totals": rows, "sha256": hashlib.sha256(file.encode()).hexdigest()}
