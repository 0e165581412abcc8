"""Money that came: captured once, and on its way to the meter or the bill in the same transaction.

* Only a webhook with a good signature, or a cashier, captures. (gateway, gateway_ref) is unique: a webhook repeated,
  overtaken or doubled under a new event id finds the payment and changes nothing.
* What can not be booked (an order we do not know, another amount or currency than ordered) is kept in `gateway_event` with
  its outcome, for a person to look at; nothing is posted.
* A prepaid payment becomes an instrument, or goes into the wallet its account shares with others; any other becomes a row of
  the receivables; and all of them a line of audit.
* Whoever books money holds the account's row first: two workers, or two clicks, wait for each other there, and the second one
  finds the payment. On SQLite the write transaction itself does it.
* A webhook that never came is made good from the gateway's own list (`catch_up`).
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay import orders, shared_wallets
from gridtally_cloud.prepay.gateway import EventType, Gateway, GatewayEvent, GatewayReason
from gridtally_cloud.prepay.history import payment_view
from gridtally_cloud.prepay.instruments import BILL, CREDIT, WALLET, Source, credit, payment_reference
from gridtally_cloud.prepay.model import Capture, CaptureOutcome, Order, OrderState, PaymentReason, PaymentView
from gridtally_cloud.prepay.restored import may_issue
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import gateway_event, payment
from gridtally_cloud.store.db import Database, insert_new, upsert
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

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
    capture = _take(conn, payments, gateway, event, at_ms)
    _log(conn, gateway.name, event, capture, body, at_ms)
    return capture


def catch_up(db: Database, payments: Payments, from_ms: int, to_ms: int, at_ms: int) -> int:
    """Book what the gateway says it captured in [from, to) and no webhook told; number booked. Raises LinkDown."""
    gateway = payments.gateway
    if gateway is None:
        return 0
    listed = gateway.list_for_reconciliation(db, from_ms, to_ms)
    with db.read() as conn:
        missed = [e for e in listed if payment_at(conn, gateway.name, e.gateway_ref) is None]
    booked = 0
    for event in missed:
        with db.write() as conn:
            booked += _take(conn, payments, gateway, event, at_ms).outcome is CaptureOutcome.CAPTURED
    return booked


def _take(conn: Connection, payments: Payments, gateway: Gateway, event: GatewayEvent, at_ms: int) -> Capture:
    ordered = orders.order_at_gateway(conn, gateway.name, event.gateway_order, event.order_id)
    if ordered is not None:
        hold(conn, ordered.account_no)
        ordered = orders.order(conn, ordered.order_id)
    done = payment_at(conn, gateway.name, event.gateway_ref)
    return Capture(CaptureOutcome.REPEATED, ordered, done) if done else _decide(conn, payments, event, ordered, at_ms)


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
    """Cash or cheque at a desk. `reference` is the number on the receipt: the same one again is the same payment. Raises
    RefusedCommand (limits, account, reference_used)."""
    return take_money(conn, payments, Received(account_no, "", bill_no, amount_nano, method, CASH, reference), at_ms, actor)


def take_money(conn: Connection, payments: Payments, money: Received, at_ms: int, actor: str) -> PaymentView:
    """Money a person put on the counter; the same `gateway_ref` again is the same payment. Raises RefusedCommand."""
    hold(conn, money.account_no)
    done = payment_at(conn, money.gateway, money.gateway_ref)
    if done is not None:
        if (done.account_no, done.amount_nano) != (money.account_no, money.amount_nano):
            text = f"receipt {money.gateway_ref} is of another payment: check the number"
            raise RefusedCommand(PaymentReason.REFERENCE_USED, text)
        return done
    account = account_of(conn, money.account_no)
    if account.closed_at_ms is not None:
        raise RefusedCommand(PaymentReason.ACCOUNT_CLOSED, f"account {money.account_no} is closed")
    if money.bill_no:
        orders.check_bill_amount(conn, payments, money.account_no, money.bill_no, money.amount_nano, account.currency)
    else:
        orders.check_top_up(conn, payments, account, money.amount_nano, at_ms)
    return _book(conn, payments, money, at_ms, actor)


def payment_at(conn: Connection, gateway: str, gateway_ref: str) -> PaymentView | None:
    """The payment a gateway's reference stands for."""
    t = payment.c
    number = conn.execute(select(t.payment_no).where(t.gateway == gateway, t.gateway_ref == gateway_ref)).scalar_one_or_none()
    return payment_view(conn, number) if number is not None else None


def _book(conn: Connection, payments: Payments, money: Received, at_ms: int, actor: str) -> PaymentView:
    account = account_of(conn, money.account_no)
    wallet_no = shared_wallets.wallet_of(conn, account.account_no) if account.is_prepaid and not money.bill_no else None
    own = CREDIT if account.is_prepaid and not money.bill_no else BILL
    purpose = own if wallet_no is None else WALLET
    number = conn.execute(insert(payment).values(
        account_no=money.account_no, order_id=money.order_id, purpose=purpose, bill_no=money.bill_no,
        amount_nano=money.amount_nano, currency=account.currency, method=money.method, gateway=money.gateway,
        gateway_ref=money.gateway_ref, actor=actor, captured_ms=at_ms,
    ).returning(payment.c.payment_no)).scalar_one()  # fmt: skip
    if purpose == BILL:
        receivables.post_payment(conn, account, money.amount_nano, number, at_ms)
    elif wallet_no is not None:
        shared_wallets.pay_in(conn, wallet_no, money.amount_nano, f"payment|{number}", at_ms, actor)
    elif account.dcu and may_issue(conn, account):
        source = Source(payment_reference(money.gateway, money.gateway_ref), payment_no=number)
        credit(conn, payments.signer, account, money.amount_nano, source, at_ms)
    record(conn, at_ms, actor, "payment.captured", f"account:{money.account_no}", f"payment {number} by {money.method}")
    return payment_view(conn, number)
