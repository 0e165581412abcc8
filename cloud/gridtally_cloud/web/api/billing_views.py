"""`/api/v1` for a billing system: monthly billing reads of meters and groups, and the determinants a bill rests on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response, jsonify, request, url_for
from sqlalchemy import Connection

from gridtally_cloud.billing.determinants import determinants as determinants_of
from gridtally_cloud.billing.model import Reading
from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.model import Account
from gridtally_cloud.programs import billing_reads
from gridtally_cloud.programs.billing_reads import GROUPS, Item, Job, Wanted
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api import idempotency
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, cursor_text, idempotency_key, moment, page, span, token
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.quantities import BY_CODE

Said = tuple[Response, int]
MONTH_DAYS = 31


def create_billing_read() -> Said:
    """The same Idempotency-Key again is the same job."""
    _staff_only()
    raw, key = body(), idempotency_key()
    digest, wanted = idempotency.digest_of(request.path, raw), _wanted(raw)
    with site().db.write() as conn:
        earlier = idempotency.earlier(conn, key, digest)
        try:
            by, signer = f"api:{token().name}", site().payments.signer
            job = billing_reads.find_job(conn, int(earlier)) if earlier else billing_reads.start(conn, signer, wanted, by, site().now_ms)
        except RefusedCommand as refused:
            raise Problem(422, refused.reason.replace("_", "-"), refused.detail) from None
        if not earlier:
            idempotency.remember(conn, key, digest, str(job.job_no), site().now_ms)
    answer = jsonify(_job(job))
    answer.headers["Location"] = url_for("api.billing_read", job_no=job.job_no)
    return answer, 202


def _wanted(raw: dict[str, Any]) -> Wanted:
    meters = raw.get("meters", [])
    if not isinstance(meters, list) or not all(type(no) is int for no in meters):
        raise Problem(422, "bad-meters", "meters is a list of meter numbers.")
    groups = tuple((kind, str(raw[kind])) for kind in GROUPS if raw.get(kind))
    if not meters and not groups:
        raise Problem(422, "no-meters", f"Name meters, or a group: {', '.join(GROUPS)}.")
    return Wanted(moment(raw.get("from"), "from"), moment(raw.get("to"), "to"), tuple(meters), groups)


def billing_read(job_no: int) -> Said:
    _staff_only()
    with site().db.read() as conn:
        return jsonify(_job(_found(conn, job_no))), 200


def billing_read_results(job_no: int) -> Said:
    _staff_only()
    asked = page(1)
    with site().db.read() as conn:
        _found(conn, job_no)
        items = billing_reads.results(conn, job_no, asked.after[0] if asked.after else 0, asked.limit)
    following = cursor_text(items[-1].meter_no) if len(items) == asked.limit else None
    return jsonify({"items": [_item(item) for item in items], "next": following}), 200


def _found(conn: Connection, job_no: int) -> Job:
    try:
        return billing_reads.find_job(conn, job_no)
    except RefusedCommand as refused:
        raise Problem(404, "not-found", refused.detail) from None


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


def _job(job: Job) -> dict[str, Any]:
    return {
        "job_no": job.job_no, "state": "done" if job.is_done else "open", "asked": job.asked, "from": utc_text(job.from_ms),
        "to": utc_text(job.to_ms), "requested_by": job.requested_by, "created_at": utc_text(job.created_ms),
        "counts": {state.value: n for state, n in job.counts.items()},
    }  # fmt: skip


def _item(item: Item) -> dict[str, Any]:
    return {
        "meter_no": item.meter_no, "state": item.state.value, "reason": item.reason, "cmd_id": item.cmd_id.hex() if item.cmd_id else None,
        "state_at": utc_text(item.state_at_ms) if item.state_at_ms else None,
        "values": [{"quantity": BY_CODE[v.quantity].name, "unit": BY_CODE[v.quantity].unit, "exponent": BY_CODE[v.quantity].exponent,
                    "at": utc_text(v.at_ms), "value": v.value, "quality": v.quality} for v in item.values if v.quantity in BY_CODE],
    }  # fmt: skip


# ---- determinants ---------------------------------------------------------------------------------------------


def determinants(account_no: int) -> Said:
    """What a bill of [from, to) rests on; nothing is issued."""
    from_ms, to_ms = span(MONTH_DAYS)
    with site().db.read() as conn:
        _reachable(conn, account_no)
        try:
            found = determinants_of(conn, account_no, from_ms, to_ms)
        except RefusedCommand as refused:
            raise Problem(422, refused.reason.replace("_", "-"), refused.detail) from None
    said = asdict(found) | {"from": utc_text(found.from_ms), "to": utc_text(found.to_ms), "first": _reading(found.first),
                            "last": _reading(found.last)}  # fmt: skip
    return jsonify({name: value for name, value in said.items() if name not in ("from_ms", "to_ms")}), 200


def _reachable(conn: Connection, account_no: int) -> Account:
    try:
        found = accounts.account(conn, account_no)
    except RefusedCommand:
        found = None
    if found is None or token().customer_no not in (None, found.customer_no):
        raise Problem(404, "not-found", f"There is no account {account_no}.")
    return found


def _reading(reading: Reading) -> dict[str, Any]:
    return {"at": utc_text(reading.at_ms), "register_wh": reading.shown_wh, "estimated": reading.estimated,
            "ahead_wh": reading.ahead_wh}


VIEWS = (billing_read, billing_read_results, create_billing_read, determinants)
