"""`/api/v1`: a consumer moves between bills and prepayment, as CIS or billing asks, or the consumer where he may (BYPL-13, BYPL-14)."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, url_for

from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.accounts import AccountReason
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.prepay import migration as service
from gridtally_cloud.prepay import migration_rows as rows
from gridtally_cloud.prepay.handover import HandoverReason
from gridtally_cloud.prepay.migration_rows import Migration, MigrationReason, Profile, Wish
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, idempotency_key, token
from gridtally_cloud.web.api.writing import time_or_null
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, nano

Answer = tuple[Response, int]
STATUS: dict[str, int] = {AccountReason.UNKNOWN_ACCOUNT: 404, MigrationReason.UNKNOWN_MIGRATION: 404, MigrationReason.OPEN_MIGRATION: 409,
                          HandoverReason.SAME_MODE: 409, HandoverReason.CHANGE_PENDING: 409}  # fmt: skip
BAD = "mode is prepaid or postpaid; profile may have policy_id, tariff_id and low_balance; deposit and low_balance are decimals."


def migrations(account_no: int) -> Answer:
    _own(account_no)
    with site().db.read() as conn:
        return jsonify({"items": [_migration(m) for m in rows.migrations(conn, account_no)], "next": None}), 200


def migration(migration_no: int) -> Answer:
    with site().db.read() as conn:
        try:
            found = rows.migration(conn, migration_no)
        except RefusedCommand as refused:
            raise _problem(refused) from None
    _own(found.wish.account_no)
    return jsonify(_migration(found)), 200


def create_migration(account_no: int) -> Answer:
    raw, key = body(), idempotency_key()
    _own(account_no)
    wish = _wish(account_no, raw, key)
    if token().customer_no is not None:
        _check_customer(wish)
    with site().db.write() as conn:
        try:
            made = service.ask(conn, wish, site().now_ms, f"api:{token().name}")
        except RefusedCommand as refused:
            raise _problem(refused) from None
    answer = jsonify(_migration(made))
    answer.headers["Location"] = url_for("api.migration", migration_no=made.migration_no)
    return answer, 202


def _check_customer(wish: Wish) -> None:
    """A consumer may ask where the utility allows it; the profile stays the utility's."""
    if not site().settings.consumers_change_mode:
        raise Problem(403, "not-for-customers", "Here the utility changes the way of paying: ask its desk.")
    if wish.profile != Profile() or wish.deposit_nano:
        raise Problem(403, "not-for-customers", "A customer's token asks for the mode only; profile and deposit are the utility's.")


def _own(account_no: int) -> None:
    with site().db.read() as conn:
        try:
            owner = accounts.account(conn, account_no).customer_no
        except RefusedCommand as refused:
            raise _problem(refused) from None
    if token().customer_no not in (None, owner):
        raise Problem(404, "not-found", f"There is no account {account_no}.")


def _wish(account_no: int, raw: dict[str, Any], key: str) -> Wish:
    profile = raw.get("profile") or {}
    try:
        low = profile.get("low_balance")
        found = Profile(str(profile.get("policy_id") or ""), str(profile.get("tariff_id") or ""), None if low is None else nano(str(low)))
        return Wish(account_no, Mode(str(raw.get("mode"))), found, nano(str(raw.get("deposit") or "0")), key)
    except (ValueError, AttributeError):
        raise Problem(422, "bad-migration", BAD) from None


def _problem(refused: RefusedCommand) -> Problem:
    return Problem(STATUS.get(str(refused.reason), 422), str(refused.reason).replace("_", "-"), refused.detail)


def _migration(m: Migration) -> dict[str, Any]:
    low_nano = m.wish.profile.low_balance_nano
    return {
        "migration_no": m.migration_no, "account_no": m.wish.account_no, "mode": m.wish.to_mode.value,
        "profile": {"policy_id": m.wish.profile.policy_id, "tariff_id": m.wish.profile.tariff_id,
                    "low_balance": None if low_nano is None else decimal_text(low_nano)},
        "deposit": decimal_text(m.wish.deposit_nano), "state": m.state.value, "reason": m.reason, "order_no": m.order_no,
        "asked_by": m.asked_by, "asked_at": utc_text(m.asked_ms), "state_at": utc_text(m.state_ms),
        "changed_at": time_or_null(m.changed_ms), "register_wh": m.changed_wh,
        "carried": None if m.balance_nano is None else decimal_text(m.balance_nano),
    }  # fmt: skip
