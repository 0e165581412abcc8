"""What a time ahead will cost, in `/api/v1`."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from gridtally_cloud.customers import accounts
from gridtally_cloud.prepay.estimate import Estimate, cycle_end_ms
from gridtally_cloud.prepay.estimate import estimate as estimated
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import moment, token
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text
from gridtally_shared.tariff.lines import quantity_text


def estimate(account_no: int) -> tuple[Response, int]:
    now_ms = site().now_ms
    with site().db.read() as conn:
        try:
            owner = accounts.account(conn, account_no).customer_no
            if token().customer_no not in (None, owner):
                raise Problem(404, "not-found", f"There is no account {account_no}.")
            from_ms = moment(request.args["from"], "from") if "from" in request.args else now_ms
            to_ms = moment(request.args["to"], "to") if "to" in request.args else cycle_end_ms(conn, account_no, now_ms)
            return jsonify(_json(estimated(conn, account_no, from_ms, to_ms, now_ms))), 200
        except RefusedCommand as refused:
            status = 404 if refused.reason == "unknown_account" else 422
            raise Problem(status, refused.reason.replace("_", "-"), refused.detail) from None


def _json(found: Estimate) -> dict[str, Any]:
    return {
        "account_no": found.account_no, "currency": found.currency, "from": utc_text(found.from_ms), "to": utc_text(found.to_ms),
        "energy_wh": found.wh, "amount": decimal_text(found.amount_nano),
        "lines": [{"code": x.code, "quantity": quantity_text(x), "amount": decimal_text(x.amount_nano)} for x in found.lines],
        "basis_from": utc_text(found.basis.from_ms), "basis_to": utc_text(found.basis.to_ms), "known_hours": found.basis.known_hours,
        "filled_hours": found.basis.filled_hours, "to_pay": None if found.pay_nano is None else decimal_text(found.pay_nano),
    }  # fmt: skip
