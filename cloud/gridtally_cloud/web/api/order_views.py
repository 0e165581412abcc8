"""`/api/v1`: work orders and cases of no power (C3-A3.1, C3-A3.10, BYPL-13.3, BYPL-13.4)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.accounts import AccountReason
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, token
from gridtally_cloud.web.api.writing import time_or_null
from gridtally_cloud.web.site import site
from gridtally_cloud.workorders import no_power, service
from gridtally_cloud.workorders.service import OrderReason, OrderState, WorkOrder
from gridtally_shared.errors import RefusedCommand

Answer = tuple[Response, int]
STATUS: dict[str, int] = {AccountReason.UNKNOWN_ACCOUNT: 404, OrderReason.UNKNOWN_ORDER: 404, OrderReason.CLOSED: 409}


def report_no_power(account_no: int) -> Answer:
    """A customer's own token reports for its accounts."""
    with site().db.write() as conn:
        try:
            owner = accounts.account(conn, account_no).customer_no
            if token().customer_no not in (None, owner):
                raise RefusedCommand(AccountReason.UNKNOWN_ACCOUNT, f"there is no account {account_no}")
            case = no_power.report(conn, site().payments.signer, account_no, site().now_ms, f"api:{token().name}")
        except RefusedCommand as refused:
            raise _problem(refused) from None
        return jsonify(_order(case)), 202


def orders() -> Answer:
    _staff_only()
    asked = request.args.get("state", "")
    if asked and asked not in [s.value for s in OrderState]:
        raise Problem(400, "bad-state", f"state is one of {', '.join(s.value for s in OrderState)}.")
    with site().db.read() as conn:
        found = service.orders(conn, OrderState(asked) if asked else None)
    return jsonify({"items": [_order(o) for o in found], "next": None}), 200


def work_order(order_no: int) -> Answer:
    _staff_only()
    with site().db.read() as conn:
        try:
            return jsonify(_order(service.order(conn, order_no))), 200
        except RefusedCommand as refused:
            raise _problem(refused) from None


def close_work_order(order_no: int) -> Answer:
    _staff_only()
    raw = body()
    state, result = raw.get("state", "done"), raw.get("result") or {}
    if state not in ("done", "dropped") or not isinstance(result, dict):
        raise Problem(422, "bad-order", "state is done or dropped, result an object with what the report says.")
    with site().db.write() as conn:
        try:
            closed = service.close_order(conn, order_no, site().now_ms, f"api:{token().name}", str(raw.get("note") or ""), _report(result),
                                         OrderState(state))  # fmt: skip
        except RefusedCommand as refused:
            raise _problem(refused) from None
    return jsonify(_order(closed)), 200


def _report(result: dict[str, Any]) -> dict[str, str | int | None]:
    if not all(value is None or isinstance(value, str | int) for value in result.values()) or len(result) > 20:
        raise Problem(422, "bad-order", "result has at most 20 fields, each a text or a whole number.")
    return {str(name)[:40]: value[:200] if isinstance(value, str) else value for name, value in result.items()}


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


def _problem(refused: RefusedCommand) -> Problem:
    return Problem(STATUS.get(str(refused.reason), 422), str(refused.reason).replace("_", "-"), refused.detail)


def _order(o: WorkOrder) -> dict[str, Any]:
    return {
        "order_no": o.order_no, "kind": o.kind.value, "account_no": o.account_no, "meter_no": o.meter_no, "reason": o.reason,
        "detail": o.detail, "state": o.state.value, "opened_by": o.opened_by, "opened_at": utc_text(o.opened_ms),
        "closed_by": o.closed_by, "closed_at": time_or_null(o.closed_ms), "note": o.note, "result": o.result,
    }  # fmt: skip
