"""`/api/v1`: requests to prepay, as another program brings them: account, name, address, time frame, credentials (C3-IE1, IE6)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, url_for

from gridtally_cloud.customers import identity
from gridtally_cloud.customers.accounts import AccountReason
from gridtally_cloud.prepay import enrolment as service
from gridtally_cloud.prepay.enrolment import EnrolReason, Request, Wish
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, idempotency_key, moment, token
from gridtally_cloud.web.api.writing import time_or_null
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, nano

Answer = tuple[Response, int]
STATUS: dict[str, int] = {AccountReason.UNKNOWN_ACCOUNT: 404, EnrolReason.UNKNOWN_REQUEST: 404, EnrolReason.OPEN_REQUEST: 409,
          EnrolReason.NOTHING_CONFIRMED: 409, EnrolReason.WRONG_IDENTITY: 403}  # fmt: skip
REQUIRED = ("name", "address", "from", "programme", "option", "credentials")


def prepay_requests(account_no: int) -> Answer:
    _staff_only()
    with site().db.read() as conn:
        return jsonify({"items": [_request(r) for r in service.requests(conn, account_no)], "next": None}), 200


def create_prepay_request(account_no: int) -> Answer:
    _staff_only()
    raw, key = body(), idempotency_key()
    missing = next((name for name in REQUIRED if not raw.get(name)), "")
    if missing:
        raise Problem(422, "missing-field", f"{missing}: missing; a request to prepay has {', '.join(REQUIRED)}, and may have to, amount, "
                      "method, deposit.")  # fmt: skip
    wish = _wish(account_no, raw, _credential(account_no, raw), key)
    with site().db.write() as conn:
        try:
            made = service.ask(conn, wish, site().now_ms, _by())
        except RefusedCommand as refused:
            raise _problem(refused) from None
    answer = jsonify(_request(made))
    answer.headers["Location"] = url_for("api.prepay_requests", account_no=account_no)
    return answer, 202


def acknowledge_prepay_request(request_no: int) -> Answer:
    _staff_only()
    with site().db.write() as conn:
        try:
            return jsonify(_request(service.acknowledge(conn, request_no, site().now_ms, _by()))), 200
        except RefusedCommand as refused:
            raise _problem(refused) from None


def _credential(account_no: int, raw: dict[str, Any]) -> str:
    """The identity check the credentials stand for; it is on record whether they are right or not."""
    given = raw["credentials"] if isinstance(raw["credentials"], dict) else {}
    answers = {"name": str(raw["name"]), "address": str(raw["address"])} | {k: str(given[k]) for k in identity.SECRETS if given.get(k)}
    with site().db.write() as conn:
        try:
            seen = identity.confirm(conn, account_no, answers, _by(), site().real.now_ms())
        except RefusedCommand as refused:
            raise _problem(refused) from None
    if not seen.good:
        raise Problem(403, "wrong-identity", f"Too many wrong answers: try again in {seen.wait_s} s." if seen.wait_s else
                      f"Name, address and credentials ({', '.join(identity.SECRETS)}) are not those of account {account_no}.")  # fmt: skip
    return f"check {seen.check_no}"


def _wish(account_no: int, raw: dict[str, Any], credential: str, key: str) -> Wish:
    try:
        amount_nano, deposit_nano = (nano(str(raw.get(name) or "0")) for name in ("amount", "deposit"))
    except ValueError:
        raise Problem(422, "bad-amount", "amount and deposit are decimals such as \"80.00\".") from None
    return Wish(
        account_no, str(raw["name"]), str(raw["address"]), moment(raw["from"], "from"), moment(raw["to"], "to") if raw.get("to") else None,
        str(raw["programme"]), str(raw["option"]), "api", credential, amount_nano, str(raw.get("method") or ""), deposit_nano, key,
    )  # fmt: skip


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


def _by() -> str:
    return f"api:{token().name}"


def _problem(refused: RefusedCommand) -> Problem:
    return Problem(STATUS.get(str(refused.reason), 422), str(refused.reason).replace("_", "-"), refused.detail)


def _request(r: Request) -> dict[str, Any]:
    w = r.wish
    return {
        "request_no": r.request_no, "account_no": w.account_no, "name": w.name, "address": w.address, "from": utc_text(w.from_ms),
        "to": time_or_null(w.to_ms), "programme": w.programme, "option": w.option, "policy_id": r.policy_id,
        "policy_version": r.policy_version, "amount": decimal_text(w.amount_nano), "method": w.method, "source": w.source,
        "state": r.state.value, "reason": r.reason, "state_at": utc_text(r.state_ms), "asked_by": r.asked_by,
        "acknowledged_by": r.acknowledged_by, "acknowledged_at": time_or_null(r.acknowledged_ms),
    }  # fmt: skip
