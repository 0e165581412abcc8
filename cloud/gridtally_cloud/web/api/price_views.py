"""`/api/v1`: who was told of new prices, where they are in force, who has viewed them (ETSI 5.2.12)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from gridtally_cloud.customers.price_notices import Confirmation, confirmations
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import token
from gridtally_cloud.web.api.writing import time_or_null
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand


def tariff_confirmations(tariff_id: str, version: int) -> tuple[Response, int]:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not see other accounts.")
    with site().db.read() as conn:
        try:
            found = confirmations(conn, tariff_id, version)
        except RefusedCommand as refused:
            raise Problem(404, "not-found", refused.detail) from None
    return jsonify({"items": [_item(c) for c in found], "next": None}), 200


def _item(c: Confirmation) -> dict[str, Any]:
    return {
        "account_no": c.account_no, "meter_no": c.meter_no, "meter_serial": c.meter_serial, "dcu": c.dcu,
        "told_at": time_or_null(c.told_ms), "in_force_at": time_or_null(c.in_force_ms), "viewed_at": time_or_null(c.viewed_ms),
        "viewed_on": c.place, "fault": c.fault,
    }  # fmt: skip
