"""`/api/v1`: load limits, by order and for what is owed on bills (C3-FR32, C3-N5)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from gridtally_cloud.customers.accounts import AccountReason
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.prepay import arrears, control
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, moment, token
from gridtally_cloud.web.site import site
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.money import decimal_text

Answer = tuple[Response, int]
MOST_HOURS = 24 * 90


def limit_load(account_no: int) -> Answer:
    _staff_only()
    raw = body()
    watts = _whole(raw.get("watts"), "watts", 0, 10_000_000)
    until_ms = moment(raw["until"], "until") if raw.get("until") else 0
    with site().db.write() as conn:
        try:
            gseq = control.order(conn, site().payments.signer, account_no, LimitOrder(watts, until_ms, _by()), site().now_ms, _by())
            epoch = account_of(conn, account_no).account_epoch
        except RefusedCommand as refused:
            raise _problem(refused) from None
    return jsonify({"account_no": account_no, "watts": watts, "epoch": epoch, "gseq": gseq}), 202


def limit_for_arrears(account_no: int) -> Answer:
    _staff_only()
    raw = body()
    watts, hours = _whole(raw.get("watts"), "watts", 0, arrears.MOST_W), _whole(raw.get("hours", 72), "hours", 0, MOST_HOURS)
    with site().db.write() as conn:
        try:
            made = arrears.tell(conn, account_no, watts, site().now_ms, _by(), hours * MS_PER_HOUR)
        except RefusedCommand as refused:
            raise _problem(refused) from None
    return jsonify({"limit_no": made.limit_no, "account_no": account_no, "watts": made.watts, "owed": decimal_text(made.owed_nano),
                    "state": made.state.value, "due": utc_text(made.due_ms)}), 202  # fmt: skip


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise Problem(422, "bad-limit", f"{name} is a whole number from {least} to {most}.")


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


def _problem(refused: RefusedCommand) -> Problem:
    status = 404 if refused.reason == AccountReason.UNKNOWN_ACCOUNT else 422
    return Problem(status, str(refused.reason).replace("_", "-"), refused.detail)


def _by() -> str:
    return f"api:{token().name}"
