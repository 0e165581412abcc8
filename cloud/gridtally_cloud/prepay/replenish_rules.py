"""What a consumer agreed to: which stored method may be charged, when, how much, and how much in a month.

* A rule needs an explicit consent; its wording, who gave it and when are kept, every change is a line of audit.
* `active` charges; `stopped` had a failure and waits for the consumer; `off` was switched off.
* A method is a token at the gateway. A removed one is never charged again, and its rule stops.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay import orders
from gridtally_cloud.prepay.gateway import GatewayReason, StoredMethod
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import payment_method, replenish_rule
from gridtally_cloud.store.db import upsert
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import display
from gridtally_shared.records import dataclass

CONSENT = "auto-replenish-1"
"""The wording of web/i18n `replenish.consent`; another wording gets another name."""


class RuleState(StrEnum):
    ACTIVE = "active"
    STOPPED = "stopped"
    OFF = "off"


class RuleReason(StrEnum):
    NO_CONSENT = "no_consent"
    NOT_PREPAID = "not_prepaid"
    BAD_THRESHOLD = "bad_threshold"
    CAP_TOO_SMALL = "cap_too_small"


@dataclass(frozen=True, slots=True)
class Method:
    method_no: int
    account_no: int
    gateway: str
    label: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a consumer asks for. `consent`: the box was ticked."""

    method_no: int
    threshold_nano: int
    amount_nano: int
    month_cap_nano: int
    consent: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """`reason`: why it stopped."""

    account_no: int
    method_no: int
    threshold_nano: int
    amount_nano: int
    month_cap_nano: int
    state: RuleState
    reason: str
    consent: str
    consent_by: str
    consent_at_ms: int


def keep_method(conn: Connection, payments: Payments, account_no: int, stored: StoredMethod, at_ms: int, actor: str) -> Method:
    """Note what the gateway stored for an account. Raises RefusedCommand (no_gateway)."""
    if payments.gateway is None:
        raise RefusedCommand(GatewayReason.NO_GATEWAY, "no payment gateway is configured (payments.gateway): nothing can be stored")
    row = conn.execute(insert(payment_method).values(
        account_no=account_no, gateway=payments.gateway.name, token=stored.token, label=stored.label, actor=actor, created_ms=at_ms,
    ).returning(payment_method)).one()  # fmt: skip
    record(conn, at_ms, actor, "method.stored", f"account:{account_no}", stored.label)
    return _method(row)


def methods(conn: Connection, account_no: int) -> tuple[Method, ...]:
    """Stored methods that can be charged, newest first."""
    m = payment_method.c
    live = select(payment_method).where(m.account_no == account_no, m.removed_ms.is_(None)).order_by(m.method_no.desc())
    return tuple(_method(r) for r in conn.execute(live))


def remove_method(conn: Connection, account_no: int, method_no: int, at_ms: int, actor: str) -> None:
    """Never charge it again; the rule that used it stops."""
    m, r = payment_method.c, replenish_rule.c
    mine = update(payment_method).where(m.method_no == method_no, m.account_no == account_no, m.removed_ms.is_(None))
    if conn.execute(mine.values(removed_ms=at_ms)).rowcount:
        record(conn, at_ms, actor, "method.removed", f"account:{account_no}", str(method_no))
        if conn.execute(select(r.account_no).where(r.account_no == account_no, r.method_no == method_no)).first():
            stop(conn, account_no, "method_removed", at_ms)


def rule_of(conn: Connection, account_no: int) -> Rule | None:
    row = conn.execute(select(replenish_rule).where(replenish_rule.c.account_no == account_no)).one_or_none()
    return _rule(row) if row else None


def agree(conn: Connection, payments: Payments, account_no: int, wish: Wish, at_ms: int, actor: str) -> Rule:
    """Begin or change auto-replenish. Raises RefusedCommand (RuleReason, no_gateway, unknown_method, limits, account_closed)."""
    account = account_of(conn, account_no)
    if account.closed_at_ms is not None:
        raise RefusedCommand(orders.PaymentReason.ACCOUNT_CLOSED, f"account {account_no} is closed")
    if not account.is_prepaid:
        raise RefusedCommand(RuleReason.NOT_PREPAID, f"account {account_no} pays by bill: there is no balance to replenish")
    if wish.method_no not in {m.method_no for m in methods(conn, account_no)}:
        raise RefusedCommand(GatewayReason.UNKNOWN_METHOD, "choose one of the stored methods of payment, or store one first")
    if not wish.consent:
        raise RefusedCommand(RuleReason.NO_CONSENT, "tick the box: without your consent nothing is charged")
    if wish.threshold_nano < 0:
        raise RefusedCommand(RuleReason.BAD_THRESHOLD, "the threshold is zero or more")
    orders.check_amount(payments, wish.amount_nano, account.currency)
    if wish.month_cap_nano < wish.amount_nano:
        least = display(wish.amount_nano, account.currency)
        raise RefusedCommand(RuleReason.CAP_TOO_SMALL, f"the most in a month must allow one payment, {least}")
    upsert(conn, replenish_rule, {
        "account_no": account_no, "method_no": wish.method_no, "threshold_nano": wish.threshold_nano, "amount_nano": wish.amount_nano,
        "month_cap_nano": wish.month_cap_nano, "state": RuleState.ACTIVE.value, "reason": "", "consent": CONSENT, "consent_by": actor,
        "consent_ms": at_ms, "changed_ms": at_ms,
    })  # fmt: skip
    record(conn, at_ms, actor, "replenish.agreed", f"account:{account_no}", f"{CONSENT}: {wish}")
    return _rule(conn.execute(select(replenish_rule).where(replenish_rule.c.account_no == account_no)).one())


def switch_off(conn: Connection, account_no: int, at_ms: int, actor: str) -> None:
    if _set_state(conn, account_no, RuleState.OFF, "", at_ms):
        record(conn, at_ms, actor, "replenish.off", f"account:{account_no}")


def stop(conn: Connection, account_no: int, reason: str, at_ms: int) -> None:
    """After a failure: nothing is charged until the consumer agrees again."""
    if _set_state(conn, account_no, RuleState.STOPPED, reason, at_ms):
        record(conn, at_ms, "auto-replenish", "replenish.stopped", f"account:{account_no}", reason)


def _set_state(conn: Connection, account_no: int, state: RuleState, reason: str, at_ms: int) -> bool:
    mine = update(replenish_rule).where(replenish_rule.c.account_no == account_no, replenish_rule.c.state != RuleState.OFF.value)
    return conn.execute(mine.values(state=state.value, reason=reason, changed_ms=at_ms)).rowcount > 0


def _method(row: Row[Any]) -> Method:
    return Method(row.method_no, row.account_no, row.gateway, row.label, row.created_ms)


def _rule(row: Row[Any]) -> Rule:
    return Rule(row.account_no, row.method_no, row.threshold_nano, row.amount_nano, row.month_cap_nano, RuleState(row.state), row.reason,
                row.consent, row.consent_by, row.consent_ms)  # fmt: skip
