"""Orders: what a consumer set out to pay, before any money moved.

* The amount is checked against the limits of the currency before the gateway hears of it; the refusal names the amount.
* Kept first, asked second: the order is in the store under our own number before the gateway hears of it, and it is asked outside any
  transaction, so that nobody waits for it. The same order again is the same page there: where it is away, or its answer was lost, whoever
  wants to pay asks again (`place_order`), and nothing is ordered twice. A capture finds the order by our number as well.
* `NEXT` is the whole life of an order. A capture wins over everything: money taken late or after a failed try is money.
"""

from __future__ import annotations

import logging
import secrets
import uuid
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from gridtally_cloud.billing.receivables import due_of_bills
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay import topup_rules
from gridtally_cloud.prepay.gateway import GatewayOrder, GatewayReason
from gridtally_cloud.prepay.model import Order, OrderState
from gridtally_cloud.prepay.model import PaymentReason as PaymentReason
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import payment_order
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import LinkDown, RefusedCommand
from gridtally_shared.money import display

log = logging.getLogger(__name__)

S = OrderState
NEXT: dict[OrderState, frozenset[OrderState]] = {
    S.CREATED: frozenset({S.PAID, S.FAILED, S.EXPIRED}),
    S.FAILED: frozenset({S.PAID, S.EXPIRED}),
    S.EXPIRED: frozenset({S.PAID}),
    S.PAID: frozenset(),
}
EXPIRES_AFTER_MS = 24 * 3_600_000
AWAY = "the payment service does not answer. Nothing was charged. Try again in a few minutes, or pay at the desk."


def new_id(at_ms: int) -> str:
    """A UUIDv7 for `at_ms`."""
    bits = (at_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=bits))


def check_amount(payments: Payments, amount_nano: int, currency: str) -> None:
    """Raises RefusedCommand (payment_too_small, payment_too_large) with the amount that would do."""
    limits = payments.limits_for(currency)
    check_least(amount_nano, limits.minimum_nano, currency)
    if amount_nano > limits.maximum_nano:
        raise RefusedCommand(PaymentReason.TOO_MUCH, f"{display(amount_nano, currency)} is more than the largest single payment, "
                             f"{display(limits.maximum_nano, currency)}. Pay in parts.")  # fmt: skip


def check_least(amount_nano: int, least_nano: int, currency: str) -> None:
    if amount_nano < least_nano:
        raise RefusedCommand(PaymentReason.TOO_LITTLE, f"{display(amount_nano, currency)} is less than the smallest payment, "
                             f"{display(least_nano, currency)}. Pay at least that much.")  # fmt: skip


def check_top_up(conn: Connection, payments: Payments, account: Account, amount_nano: int, at_ms: int) -> None:
    """A top-up against the limits of the currency, the account's policy and what it has to pay at least. Raises RefusedCommand."""
    topup_rules.check(topup_rules.bounds(conn, payments, account, at_ms), amount_nano, account.currency)


def check_bill_amount(conn: Connection, payments: Payments, account_no: int, bill_no: str, amount_nano: int,
                      currency: str) -> None:  # fmt: skip
    """A bill may be paid whatever its size: the smallest payment is for top-ups. Raises RefusedCommand."""
    due = due_of_bills(conn, account_no).get(bill_no)
    if due is None or due.rest_nano <= 0:
        raise RefusedCommand(PaymentReason.NOTHING_TO_PAY, f"nothing is due on {bill_no} of account {account_no}: see its bills")
    check_amount(payments, max(amount_nano, payments.limits_for(currency).minimum_nano) if amount_nano > 0 else 0, currency)


def order_payment(db: Database, payments: Payments, account_no: int, amount_nano: int, at_ms: int, actor: str, *,
                  bill_no: str = "") -> Order:  # fmt: skip
    """Order a payment and have the gateway take it. Raises RefusedCommand."""
    with db.write() as conn:
        new = create_order(conn, payments, account_no, amount_nano, at_ms, actor, bill_no=bill_no)
    return place_order(db, payments, new.order_id, at_ms)


def create_order(conn: Connection, payments: Payments, account_no: int, amount_nano: int, at_ms: int, actor: str, *,
                 bill_no: str = "") -> Order:  # fmt: skip
    """Keep the order of a payment: a top-up, or of a bill where `bill_no` is given. `place_order` has the gateway take it. Raises
    RefusedCommand."""
    account = account_of(conn, account_no)
    if account.closed_at_ms is not None:
        raise RefusedCommand(PaymentReason.ACCOUNT_CLOSED, f"account {account_no} is closed: ask the desk")
    if payments.gateway is None:
        raise RefusedCommand(GatewayReason.NO_GATEWAY, "online payment is not set up here (payments.gateway). Pay at the desk.")
    if bill_no:
        check_bill_amount(conn, payments, account_no, bill_no, amount_nano, account.currency)
    else:
        check_top_up(conn, payments, account, amount_nano, at_ms)
    order_id = new_id(at_ms)
    keep(conn, Order(order_id, account_no, amount_nano, account.currency, S.CREATED, at_ms, payments.gateway.name, order_id, "", bill_no),
         actor)  # fmt: skip
    return order(conn, order_id)


def place_order(db: Database, payments: Payments, order_id: str, at_ms: int) -> Order:
    """The order with the page it is paid on; the gateway is asked where it has not said. Raises RefusedCommand (unknown_order,
    no_gateway; gateway_away: ask again later, nothing is ordered twice; or what the gateway says)."""
    with db.read() as conn:
        found = order(conn, order_id)
    if found.pay_path or found.state is not S.CREATED:
        return found
    gateway = payments.gateway
    if gateway is None or gateway.name != found.gateway:
        raise RefusedCommand(GatewayReason.NO_GATEWAY, "online payment is not set up here as it was. Start the payment again.")
    try:
        placed = gateway.create_order(db, order_id, found.amount_nano, found.currency, found.created_at_ms)
    except (LinkDown, OSError) as fault:
        log.warning("the payment gateway does not answer", extra={"gateway": gateway.name, "fault": str(fault)})
        raise RefusedCommand(GatewayReason.AWAY, AWAY) from None
    except RefusedCommand as refused:
        with db.write() as conn:
            advance(conn, order(conn, order_id), S.FAILED, at_ms, str(refused.reason))
        raise
    with db.write() as conn:
        place(conn, order_id, placed)
        return order(conn, order_id)


def keep(conn: Connection, new: Order, actor: str) -> None:
    """Write the row of an order; `place` it where the gateway has taken it."""
    conn.execute(insert(payment_order).values(
        order_id=new.order_id, account_no=new.account_no, bill_no=new.bill_no, amount_nano=new.amount_nano, currency=new.currency,
        state=new.state.value, gateway=new.gateway, gateway_order=new.gateway_order, pay_path=new.pay_path, actor=actor,
        created_ms=new.created_at_ms, state_ms=new.created_at_ms,
    ))  # fmt: skip


def order(conn: Connection, order_id: str) -> Order:
    """Raises RefusedCommand (unknown_order)."""
    row = conn.execute(select(payment_order).where(payment_order.c.order_id == order_id)).one_or_none()
    if row is None:
        raise RefusedCommand(PaymentReason.UNKNOWN_ORDER, "there is no such payment order: start the payment again")
    return _order(row)


def place(conn: Connection, order_id: str, placed: GatewayOrder) -> None:
    """What the gateway calls an order that was kept before it was asked."""
    mine = update(payment_order).where(payment_order.c.order_id == order_id)
    conn.execute(mine.values(gateway_order=placed.gateway_order, pay_path=placed.pay_path))


def order_at_gateway(conn: Connection, gateway: str, gateway_order: str, order_id: str = "") -> Order | None:
    """By the gateway's number; by ours, which it says back, where it has not told its own yet."""
    t = payment_order.c
    named = or_(t.gateway_order == gateway_order, and_(t.order_id == order_id, t.gateway_order == t.order_id))
    row = conn.execute(select(payment_order).where(t.gateway == gateway, named)).one_or_none()
    return _order(row) if row else None


def advance(conn: Connection, current: Order, state: OrderState, at_ms: int, reason: str = "") -> Order:
    """The order in its next state, or unchanged where the table does not allow the step."""
    if state not in NEXT[current.state]:
        return current
    mine = payment_order.c.order_id == current.order_id
    conn.execute(update(payment_order).where(mine).values(state=state.value, reason=reason, state_ms=at_ms))
    return order(conn, current.order_id)


def expire_orders(conn: Connection, at_ms: int) -> int:
    """Close orders nobody paid within a day; number closed. A capture that comes later is still taken."""
    t = payment_order.c
    old = update(payment_order).where(t.state.in_([S.CREATED.value, S.FAILED.value]), t.created_ms < at_ms - EXPIRES_AFTER_MS)
    return conn.execute(old.values(state=S.EXPIRED.value, state_ms=at_ms)).rowcount


def _order(row: Row[Any]) -> Order:
    return Order(row.order_id, row.account_no, row.amount_nano, row.currency, OrderState(row.state), row.created_ms, row.gateway,
                 row.gateway_order, row.pay_path, row.bill_no, row.reason)  # fmt: skip
