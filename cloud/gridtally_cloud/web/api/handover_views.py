"""`/api/v1`: an account changes its way of paying, its meter or its concentrator (BYPL-13, BYPL-14, prepayment.md 5.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, jsonify
from sqlalchemy import Connection

from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.accounts import AccountReason
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.prepay import handover, replaced
from gridtally_cloud.prepay.handover import HandoverReason
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, token
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano

Answer = tuple[Response, int]
CLASHES = frozenset({HandoverReason.SAME_MODE, HandoverReason.CHANGE_PENDING, HandoverReason.SAME_METER, HandoverReason.METER_IN_USE,
                     HandoverReason.SAME_EDGE})  # fmt: skip


def convert_account(account_no: int) -> Answer:
    raw = body()
    try:
        mode, deposit_nano = Mode(str(raw.get("mode"))), nano(str(raw.get("deposit") or "0"))
    except ValueError:
        raise Problem(422, "bad-handover", "mode is prepaid or postpaid, deposit a decimal such as \"80.00\".") from None
    return _done(account_no, lambda conn: handover.convert(conn, site().payments.signer, account_no, mode, site().now_ms, _by(),
                                                           deposit_nano))  # fmt: skip


def swap_account_meter(account_no: int) -> Answer:
    raw = body()
    serial, closing_wh, opening_wh = str(raw.get("meter_serial") or ""), _wh(raw.get("closing_wh")), _wh(raw.get("opening_wh"))
    return _done(account_no, lambda conn: replaced.swap_meter(conn, site().payments.signer, account_no, replaced.meter_called(conn, serial),
                                                              closing_wh, opening_wh, site().now_ms, _by()))  # fmt: skip


def replace_account_dcu(account_no: int) -> Answer:
    name = str(body().get("dcu") or "")
    return _done(account_no, lambda conn: replaced.replace_edge(conn, site().payments.signer, account_no, name, site().now_ms, _by()))


def _done(account_no: int, change: Callable[[Connection], object]) -> Answer:
    """Do it; the account as it is ordered to be."""
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")
    with site().db.write() as conn:
        try:
            change(conn)
        except RefusedCommand as refused:
            status = 404 if refused.reason == AccountReason.UNKNOWN_ACCOUNT else 409 if refused.reason in CLASHES else 422
            raise Problem(status, str(refused.reason).replace("_", "-"), refused.detail) from None
        found = accounts.account(conn, account_no)
        wanted = handover.pending_mode(conn, found) or found.mode
    return jsonify({"account_no": account_no, "mode": found.mode.value, "wanted_mode": wanted.value, "meter_no": found.meter_no,
                    "meter_serial": found.meter_serial, "dcu": found.dcu, "epoch": found.account_epoch}), 202  # fmt: skip


def _wh(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise Problem(422, "bad-handover", "closing_wh and opening_wh are whole Wh from zero up, or null where the register was not read.")


def _by() -> str:
    return f"api:{token().name}"
