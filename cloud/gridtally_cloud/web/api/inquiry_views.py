"""`/api/v1`: balance inquiries of the retailer of record (seed 003), completeness, and requests for missing data."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

from flask import Response, jsonify, request, url_for
from sqlalchemy import Connection

from gridtally_cloud.billing.model import Bill
from gridtally_cloud.commands import states
from gridtally_cloud.digits import whole
from gridtally_cloud.exchange import given
from gridtally_cloud.inquiry import retailers, service
from gridtally_cloud.inquiry.consumption import Consumption, Part
from gridtally_cloud.inquiry.received import Line, report
from gridtally_cloud.inquiry.requests import DataRequest, Kind, find, follow, recent
from gridtally_cloud.inquiry.service import Answer, Asker, Question, Reason, Refusal
from gridtally_cloud.store.days import EPOCH, date_of, utc_text
from gridtally_cloud.web.api import idempotency
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, cursor_text, idempotency_key, moment, page, token
from gridtally_cloud.web.site import site
from gridtally_shared.money import decimal_text

Said = tuple[Response, int]
STATUS = {Reason.UNKNOWN_POINT: 404, Reason.NOT_OF_RECORD: 403, Reason.DAILY_LIMIT: 429}
KINDS = {kind.value: kind for kind in Kind if kind is not Kind.GAP}
MOST_DAYS = 40


def create_inquiry(usage_point_no: int) -> Said:
    raw, key = body(), idempotency_key()
    digest = idempotency.digest_of(request.path, raw)
    question = _question(usage_point_no, raw)
    with site().db.write() as conn:
        earlier = idempotency.earlier(conn, key, digest)
        opened = find(conn, int(earlier)) if earlier else None
        found = opened or service.ask(conn, site().payments.signer, _asker(conn), question, site().now_ms)
        if opened is None and isinstance(found, DataRequest):
            idempotency.remember(conn, key, digest, str(found.request_no), site().now_ms)
        said = _answered(conn, found) if isinstance(found, DataRequest) else {}
    if isinstance(found, Refusal):
        raise _problem(found)
    answer = jsonify(said)
    answer.headers["Location"] = url_for("api.inquiry", request_no=found.request_no)
    return answer, 202


def inquiry(request_no: int) -> Said:
    with site().db.write() as conn:
        asker = _asker(conn)
        follow(conn, site().now_ms)
        found = find(conn, request_no)
        if found is None or found.kind is Kind.GAP or found.retailer != asker.retailer:
            raise Problem(404, "not-found", f"There is no inquiry {request_no}.")
        refused = service.not_of_record(conn, found.usage_point_no, asker, site().now_ms)
        if refused is not None:
            raise _problem(refused)
        return jsonify(_answered(conn, found)), 200


def _answered(conn: Connection, asked: DataRequest) -> dict[str, Any]:
    """The answer as it is now. What a retailer learns by it is kept, so that it can be told of doubts."""
    answer = service.answer(conn, asked)
    if answer.used and asked.retailer and answer.used.to_ms > answer.used.from_ms:
        taker = given.taker(given.Kind.RETAILER, asked.retailer)
        given.note(conn, taker, [asked.usage_point_no], answer.used.from_ms, answer.used.to_ms, site().now_ms)
    return _inquiry(conn, answer)


def _question(usage_point_no: int, raw: dict[str, Any]) -> Question:
    kind = KINDS.get(str(raw.get("kind", Kind.BALANCE.value)))
    if kind is None:
        raise Problem(422, "bad-kind", f"kind is one of {', '.join(KINDS)}.")
    times = [moment(raw[name], name) if raw.get(name) else 0 for name in ("from", "to")]
    return Question(usage_point_no, kind, *times)


def _asker(conn: Connection) -> Asker:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not ask this; the customer's own pages and API show the balance.")
    return Asker(retailers.of_token(conn, token().token_no), f"api:{token().name}")


def _problem(refused: Refusal) -> Problem:
    retry_s = max(1, (refused.opens_ms - site().now_ms) // 1000) if refused.opens_ms else 0
    return Problem(STATUS.get(refused.reason, 422), refused.reason.value.replace("_", "-"), refused.detail, retry_s)


def _inquiry(conn: Connection, found: Answer) -> dict[str, Any]:
    r, account, used = found.request, found.account, found.used
    return _request(r) | {
        "usage_point_no": r.usage_point_no, "retailer": r.retailer, "account_no": account.account_no if account else None,
        "consumption": _consumption(used) if used else None, "bill": _bill(found.bill) if found.bill else None,
        "bill_fault": found.bill_fault, "power": _power(conn, r),
    }  # fmt: skip


def _request(r: DataRequest) -> dict[str, Any]:
    return {
        "request_no": r.request_no, "kind": r.kind.value, "meter_no": r.meter_no, "state": r.state.value, "reason": r.reason,
        "from": utc_text(r.from_ms), "to": utc_text(r.to_ms), "lacking": r.lacking, "filled": r.filled, "asked_at": utc_text(r.asked_ms),
        "state_at": utc_text(r.state_at_ms), "cmd_id": r.cmd_id.hex() if r.cmd_id else None,
    }  # fmt: skip


def _consumption(used: Consumption) -> dict[str, Any]:
    return {
        "from": utc_text(used.from_ms), "to": utc_text(used.to_ms), "wh": used.wh, "missing": used.missing,
        "posted_to": utc_text(used.posted_to_ms), "posted_at": utc_text(used.posted_ms) if used.posted_ms else None,
        "not_covered_from": utc_text(used.to_ms) if used.to_ms < used.now_ms else None, "parts": [_part(part) for part in used.parts],
        "intervals": [{"start": utc_text(row.start_ms), "seconds": row.period_s, "wh": row.wh, "label": row.label.value,
                       "estimated": row.estimated, "quality": row.quality} for row in used.rows],
        "doubtful_days": [utc_text(ms) for ms in used.doubtful],
    }  # fmt: skip


def _part(part: Part) -> dict[str, Any]:
    return {"label": part.label.value, "from": utc_text(part.from_ms), "to": utc_text(part.to_ms), "wh": part.wh,
            "measured": part.measured, "estimated": part.estimated, "missing": part.missing}  # fmt: skip


def _bill(bill: Bill) -> dict[str, Any]:
    return {
        "provisional": True, "currency": bill.party.currency, "from": utc_text(bill.from_ms), "to": utc_text(bill.to_ms),
        "opening": decimal_text(bill.opening_shown_nano), "total": decimal_text(bill.closing_shown_nano), "energy_wh": bill.used_wh,
        "tariff": bill.party.tariff_name,
        "lines": [{"kind": x.kind.value, "name": x.reference, "quantity": x.quantity, "unit": x.unit, "amount": decimal_text(x.shown_nano)}
                  for x in bill.lines],
    }  # fmt: skip


def _power(conn: Connection, r: DataRequest) -> dict[str, Any] | None:
    """What the test of the supply found."""
    view = states.find(conn, r.cmd_id) if r.kind is Kind.POWER_STATUS and r.cmd_id else None
    return (states.test_result(view.result) or None) if view and view.result else None


# ---- completeness ---------------------------------------------------------------------------------------------


def completeness() -> Said:
    """By local day; `ranges` is what was never measured."""
    _staff_only()
    now_ms = site().now_ms
    first = _day("from", now_ms // 86_400_000 - 1)
    last = _day("to", first)
    if not first <= last < first + MOST_DAYS:
        raise Problem(400, "bad-span", f"to is a day from `from` on, at most {MOST_DAYS - 1} days later.")
    asked = request.args.get("meter_no", "")
    meter_no = whole(asked)
    if asked and meter_no is None:
        raise Problem(400, "bad-meter", "meter_no is a number.")
    with site().db.read() as conn:
        lines = report(conn, first, last, now_ms, meter_no)
    return jsonify({"items": [_line(line) for line in lines], "next": None}), 200


def data_requests() -> Said:
    """Newest first."""
    _staff_only()
    asked = page(1)
    with site().db.read() as conn:
        rows = recent(conn, asked.limit, before=asked.after[0] if asked.after else 0)
    following = cursor_text(rows[-1].request_no) if len(rows) == asked.limit else None
    return jsonify({"items": [_request(r) for r in rows], "next": following}), 200


def _line(line: Line) -> dict[str, Any]:
    counted = asdict(line.counted)
    gaps, late_ms = line.counted.gaps, line.counted.late_ms
    ranges = [{"from": utc_text(g.from_ms), "to": utc_text(g.to_ms), "intervals": g.n, "estimated": g.estimated} for g in gaps]
    return {name: counted[name] for name in ("expected", "received", "estimated", "missing", "late")} | {
        "day": date_of(line.day).isoformat(), "meter_no": line.meter_no, "meter_serial": line.serial, "channel_no": line.channel_no,
        "quantity": line.quantity, "late_at": utc_text(late_ms) if late_ms is not None else None, "ranges": ranges,
    }  # fmt: skip


def _day(name: str, default: int) -> int:
    try:
        return (date.fromisoformat(request.args[name]) - EPOCH).days if name in request.args else default
    except ValueError:
        raise Problem(400, "bad-day", f"{name} is a local day such as 2026-11-21.") from None


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not see the fleet.")
