"""Money given back: decided and booked here first, then asked of the gateway.

* A refund of a prepaid payment is a negative instrument; where the credit is used up already it becomes a debt, never a
  rewritten past (prepayment.md 5.3). Money the edge refused goes back without one: the meter never had it.
* Booked with one row in the caller's transaction; `send_refunds` then calls the gateway, outside any transaction, and notes its reference.
  A crash between the two repeats the call under the same key, which gives nothing more, and never loses the booking.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay import shared_wallets
from gridtally_cloud.prepay.capture import CASH
from gridtally_cloud.prepay.history import payment_view
from gridtally_cloud.prepay.instruments import WALLET, Source, issue
from gridtally_cloud.prepay.model import PaymentView
from gridtally_cloud.prepay.orders import PaymentReason
from gridtally_cloud.prepay.refused import RefusedReason, is_refused, unsettled
from gridtally_cloud.prepay.restored import check_may_issue
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import payment, refund
from gridtally_cloud.store.db import Database
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import display


def refund_payment(conn: Connection, payments: Payments, payment_no: int, amount_nano: int, at_ms: int,
                   actor: str) -> PaymentView:  # fmt: skip
    """Give back all or part of a payment. Raises RefusedCommand (unknown_payment, refund_too_large)."""
    hold(conn, payment_view(conn, payment_no).account_no)
    paid = payment_view(conn, payment_no)
    rest_nano = paid.amount_nano - paid.refunded_nano
    if not 0 < amount_nano <= rest_nano:
        most = display(rest_nano, paid.currency)
        raise RefusedCommand(PaymentReason.REFUND_TOO_LARGE, f"at most {most} of payment {payment_no} can be given back")
    refused = is_refused(conn, payment_no)
    if refused and amount_nano != rest_nano:
        text = f"the meter refused payment {payment_no}: give it back whole, or send it again with 'gridtally-mdm instrument reissue'"
        raise RefusedCommand(PaymentReason.REFUND_TOO_LARGE, text)
    cash_ref = f"{CASH}-{payment_no}-{paid.refunded_nano}" if paid.gateway == CASH else ""
    number = conn.execute(insert(refund).values(payment_no=payment_no, amount_nano=amount_nano, gateway_ref=cash_ref, actor=actor,
                                                at_ms=at_ms).returning(refund.c.refund_no)).scalar_one()  # fmt: skip
    account = account_of(conn, paid.account_no)
    if conn.execute(select(payment.c.purpose).where(payment.c.payment_no == payment_no)).scalar_one() == WALLET:
        shared_wallets.give_back(conn, payment_no, number, amount_nano, at_ms)
    elif refused:
        pass  # the meter never had it
    elif paid.instrument is None:
        receivables.post_refund(conn, account, amount_nano, payment_no, at_ms)
    else:
        check_may_issue(conn, account)
        source = Source(f"refund|{number}", payment_no=payment_no, refund_no=number)
        issue(conn, payments.signer, account, InstrumentType.REFUND, -amount_nano, source, at_ms)
    record(conn, at_ms, actor, "payment.refunded", f"account:{paid.account_no}", f"payment {payment_no}, refund {number}")
    return payment_view(conn, payment_no)


def give_back_refused(conn: Connection, payments: Payments, account_no: int, gseq: int, at_ms: int, actor: str) -> PaymentView:
    """Give the whole of a payment back that the edge refused. Raises RefusedCommand (not_refused)."""
    hold(conn, account_no)
    money = next((m for m in unsettled(conn, account_no) if m.gseq == gseq and m.amount_nano > 0), None)
    if money is None:
        text = f"instrument {gseq} of account {account_no} holds no refused money: see 'gridtally-mdm instrument refused'"
        raise RefusedCommand(RefusedReason.NOT_REFUSED, text)
    paid = payment_view(conn, money.payment_no)
    return refund_payment(conn, payments, money.payment_no, paid.amount_nano - paid.refunded_nano, at_ms, actor)


def send_refunds(db: Database, payments: Payments, at_ms: int) -> int:
    """Ask the gateway for the refunds booked but not yet sent; number sent. Raises LinkDown when it is away."""
    gateway = payments.gateway
    if gateway is None:
        return 0
    with db.read() as conn:
        joined = select(refund, payment.c.gateway_ref.label("paid_ref"), payment.c.currency).join(payment)
        due = conn.execute(joined.where(refund.c.gateway_ref == "", payment.c.gateway == gateway.name)).all()
    for row in due:
        reference = gateway.refund(db, f"refund|{row.refund_no}", row.paid_ref, row.amount_nano, row.currency, row.at_ms)
        with db.write() as conn:
            conn.execute(update(refund).where(refund.c.refund_no == row.refund_no).values(gateway_ref=reference))
    return len(due)
