"""Money that came: captured once, and on its way to the meter or the bill in the same transaction.

* Only a webhook with a good signature, or a cashier, captures. (gateway, gateway_ref) is unique: a webhook repeated,
  overtaken or doubled under a new event id finds the payment and changes nothing.
* What can not be booked (an order we do not know, another amount or currency than ordered) is kept in `gateway_event` with
  its outcome, for a person to look at; nothing is posted.
* A prepaid payment becomes an instrument, any other a row of the receivables, and both a line of audit.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay import orders
from gridtally_cloud.prepay.gateway import EventType, GatewayEvent, GatewayReason
from gridtally_cloud.prepay.history import payment_view
from gridtally_cloud.prepay.instruments import BILL, CREDIT, Source, issue, payment_reference
from gridtally_cloud.prepay.model import Capture, CaptureOutcome, Order, OrderState, PaymentView
from gridtally_cloud.prepay.orders import PaymentReason
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import gateway_event, payment
from gridtally_cloud.store.db import insert_new, upsert
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand

CASH = "cash"


@dataclass(frozen=True, slots=True)
class Received:
    """Money received, whatever the road."""

    account_no: int
    order_id: str
    bill_no: str
    amount_nano: int
    method: str
    gateway: str
    gateway_ref: str


def handle_webhook(conn: Connection, payments: Payments, body: bytes, signature: str, at_ms: int) -> Capture:
    """One delivery of a webhook. Raises RefusedCommand (no_gateway, signature, malformed): answer those with 400."""
    gateway = payments.gateway
    if gateway is None:
        raise RefusedCommand(GatewayReason.NO_GATEWAY, "no payment gateway is configured (payments.gateway)")
    event = gateway.parse_webhook(body, signature)
    ordered = orders.order_at_gateway(conn, gateway.name, event.gateway_order)
    done = payment_at(conn, gateway.name, event.gateway_ref)
    capture = Capture(CaptureOutcome.REPEATED, ordered, done) if done else _decide(conn, payments, event, ordered, at_ms)
    _log(conn, gateway.name, event, capture, body, at_ms)
    return capture


def _log(conn: Connection, gateway: str, event: GatewayEvent, capture: Capture, body: bytes, at_ms: int) -> None:
    """Keep the event; the first delivery's outcome stands, unless a later one captures."""
    row = {"gateway": gateway, "event_id": event.event_id, "type": event.type.value, "gateway_order": event.gateway_order,
           "outcome": capture.reason or capture.outcome.value, "body": body, "received_ms": at_ms}  # fmt: skip
    if capture.outcome is CaptureOutcome.CAPTURED:
        upsert(conn, gateway_event, row)
    else:
        insert_new(conn, gateway_event, [row])


def _decide(conn: Connection, payments: Payments, event: GatewayEvent, ordered: Order | None, at_ms: int) -> Capture:
    if ordered is None:
        return Capture(CaptureOutcome.IGNORED, reason="unknown_order")
    if event.type is EventType.FAILED:
        return Capture(CaptureOutcome.FAILED, orders.advance(conn, ordered, OrderState.FAILED, at_ms, event.reason))
    if (event.amount_nano, event.currency) != (ordered.amount_nano, ordered.currency):
        return Capture(CaptureOutcome.IGNORED, ordered, reason="amount_differs")
    received = Received(ordered.account_no, ordered.order_id, ordered.bill_no, event.amount_nano, event.method, ordered.gateway,
                        event.gateway_ref)  # fmt: skip
    paid = _book(conn, payments, received, at_ms, "gateway")
    return Capture(CaptureOutcome.CAPTURED, orders.advance(conn, ordered, OrderState.PAID, at_ms), paid)


def pay_at_desk(conn: Connection, payments: Payments, account_no: int, amount_nano: int, reference: str, at_ms: int,
                actor: str, *, method: str = CASH, bill_no: str = "") -> PaymentView:  # fmt: skip
    """Cash or cheque at a desk or pay station. `reference` is the number on the receipt: the same one again is the same
    payment. Raises RefusedCommand (limits, account, reference_used)."""
    done = payment_at(conn, CASH, reference)
    if done is not None:
        if (done.account_no, done.amount_nano) != (account_no, amount_nano):
            raise RefusedCommand(PaymentReason.REFERENCE_USED, f"receipt {reference} is of another payment: check the number")
        return done
    account = account_of(conn, account_no)
    if account.closed_at_ms is not None:
        raise RefusedCommand(PaymentReason.ACCOUNT_CLOSED, f"account {account_no} is closed")
    if bill_no:
        orders.check_bill_amount(conn, payments, account_no, bill_no, amount_nano, account.currency)
    else:
        orders.check_amount(payments, amount_nano, account.currency)
    return _book(conn, payments, Received(account_no, "", bill_no, amount_nano, method, CASH, reference), at_ms, actor)


def payment_at(conn: Connection, gateway: str, gateway_ref: str) -> PaymentView | None:
    """The payment a gateway's reference stands for."""
    t = payment.c
    number = conn.execute(select(t.payment_no).where(t.gateway == gateway, t.gateway_ref == gateway_ref)).scalar_one_or_none()
    return payment_view(conn, number) if number is not None else None


def _book(conn: Connection, payments: Payments, money: Received, at_ms: int, actor: str) -> PaymentView:
    account = account_of(conn, money.account_no)
    purpose = CREDIT if account.is_prepaid and not money.bill_no else BILL
    number = conn.execute(insert(payment).values(
        account_no=money.account_no, order_id=money.order_id, purpose=purpose, bill_no=money.bill_no,
        amount_nano=money.amount_nano, currency=account.currency, method=money.method, gateway=money.gateway,
        gateway_ref=money.gateway_ref, actor=actor, captured_ms=at_ms,
    ).returning(payment.c.payment_no)).scalar_one()  # fmt: skip
    if purpose == BILL:
        receivables.post_payment(conn, account, money.amount_nano, number, at_ms)
    elif account.dcu:
        source = Source(payment_reference(money.gateway, money.gateway_ref), payment_no=number)
        issue(conn, payments.signer, account, InstrumentType.CREDIT, money.amount_nano, source, at_ms)
    record(conn, at_ms, actor, "payment.captured", f"account:{money.account_no}", f"payment {number} by {money.method}")
    return payment_view(conn, number)
