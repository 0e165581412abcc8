"""Pay stations: an agent's counter that posts in real time (seed 002 C3-BR3).

* A station is one API token with the scope `station:write`; one operator, one token. What it books is the operator's alone.
* Look-up by exact account number or meter serial; the name comes masked, and no balance: enough to ask "is it this home?".
* `pay` with the station's own key: the same key again is the same payment, for whatever reason it was sent again.
* A reversal takes the whole payment back: its own, within half an hour, before the close of the day, while the credit is not
  used up. What the edge has used meanwhile becomes a debt, as with any refund.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import minimum, orders, topup_rules
from gridtally_cloud.prepay.capture import Received, payment_at, take_money
from gridtally_cloud.prepay.history import payment_view
from gridtally_cloud.prepay.model import PaymentReason, PaymentView
from gridtally_cloud.prepay.refunds import refund_payment
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.station_day import Station, StationReason, is_closed, open_day, take_turn
from gridtally_cloud.prepay.tables import refund, station_payment
from gridtally_cloud.prepay.wallet import balance
from gridtally_cloud.store.tables import meter
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

GATEWAY = "station"
METHODS = ("cash", "card", "cheque")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}")
REVERSE_WITHIN_MS = 30 * 60_000

R = StationReason


@dataclass(frozen=True, slots=True)
class Quote:
    """What an operator may show a payer. `reconnect_nano`: what brings the supply back, 0 where it is not cut; `owed_nano`: open
    bills. `amount_nano` 0: nothing was asked yet; `restores`: the amount brings the supply back."""

    account_no: int
    masked_name: str
    meter_serial: str
    prepaid: bool
    currency: str
    least_nano: int
    most_nano: int
    reconnect_nano: int
    owed_nano: int
    amount_nano: int = 0

    @property
    def restores(self) -> bool:
        return 0 < self.reconnect_nano <= self.amount_nano


@dataclass(frozen=True, slots=True)
class Receipt:
    """A payment as the station prints it. `reversed_at_ms`: it was taken back."""

    payment: PaymentView
    masked_name: str
    station: str
    day: str
    reversed_at_ms: int | None


def masked(name: str) -> str:
    """"Asha Devi Rao" as "A••• D••• R•••": to be recognised, not to be read."""
    return " ".join(f"{word[0]}•••" for word in name.split())


# ---- before paying --------------------------------------------------------------------------------------------


def find(conn: Connection, payments: Payments, number: str, at_ms: int) -> Quote:
    """The account of an exact account number or meter serial. Raises RefusedCommand (not_found)."""
    a, text = account_table.c, number.strip()
    exact = or_(meter.c.serial == text, a.account_no == int(text)) if text.isdecimal() and len(text) < 19 else meter.c.serial == text
    query = select(a.account_no).join(meter, meter.c.meter_no == a.meter_no).where(exact, a.closed_ms.is_(None))
    found = conn.execute(query.limit(2)).scalars().all()
    if len(found) != 1:
        raise RefusedCommand(R.NOT_FOUND, "no open account has this account number or meter serial: read it from the bill or the meter")
    return _quote(conn, payments, account_of(conn, found[0]), 0, at_ms)


def quote(conn: Connection, payments: Payments, account_no: int, amount_nano: int, at_ms: int) -> Quote:
    """What an amount would do, refused as the payment would be. Raises RefusedCommand (limits, unknown_account, account_closed)."""
    account = account_of(conn, account_no)
    if account.closed_at_ms is not None:
        raise RefusedCommand(PaymentReason.ACCOUNT_CLOSED, f"account {account_no} is closed")
    orders.check_top_up(conn, payments, account, amount_nano, at_ms)
    return _quote(conn, payments, account, amount_nano, at_ms)


def _quote(conn: Connection, payments: Payments, account: Account, amount_nano: int, at_ms: int) -> Quote:
    limits = topup_rules.bounds(conn, payments, account, at_ms)
    least = minimum.least_payment(conn, payments, account, at_ms) if account.is_prepaid else None
    owed_nano = max(0, receivables.outstanding_nano(conn, account.account_no))
    return Quote(account.account_no, masked(account.customer_name), account.meter_serial, account.is_prepaid, account.currency,
                 limits.least_nano, limits.most_nano, least.reconnect_nano if least else 0,
                 owed_nano, amount_nano)  # fmt: skip


# ---- paying and taking back -----------------------------------------------------------------------------------


def pay(conn: Connection, payments: Payments, station: Station, account_no: int, amount_nano: int, key: str, at_ms: int, *,
        method: str = "cash") -> Receipt:  # fmt: skip
    """Book money now; the credit leaves with this transaction. Raises RefusedCommand (limits, account_closed, reference_used)."""
    if method not in METHODS:
        raise RefusedCommand(R.UNKNOWN_METHOD, f"method is one of {', '.join(METHODS)}")
    if not KEY.fullmatch(key):
        raise RefusedCommand(R.BAD_KEY, "send a key of 1 to 80 letters, digits and . _ : - that is new for each payment")
    take_turn(conn, station)
    reference = f"{station.token_no}/{key}"
    again = payment_at(conn, GATEWAY, reference) is not None
    paid = take_money(conn, payments, Received(account_no, "", "", amount_nano, method, GATEWAY, reference), at_ms, station.actor)
    if not again:
        row = {"payment_no": paid.payment_no, "token_no": station.token_no, "key": key, "day": open_day(conn, station, at_ms),
               "at_ms": at_ms}  # fmt: skip
        conn.execute(insert(station_payment).values(row))
    return receipt(conn, station, paid.payment_no)


def receipt(conn: Connection, station: Station, payment_no: int) -> Receipt:
    """One of the station's own payments. Raises RefusedCommand (unknown_payment)."""
    return _receipt(conn, station, _own(conn, station, payment_no))


def reverse(conn: Connection, payments: Payments, station: Station, payment_no: int, reason: str, at_ms: int) -> Receipt:
    """Take a whole payment back; again is the same reversal. Raises RefusedCommand (unknown_payment, StationReason)."""
    take_turn(conn, station)
    row, paid = _own(conn, station, payment_no), payment_view(conn, payment_no)
    if row.reversed_ms is not None:
        return _receipt(conn, station, row)
    hold(conn, paid.account_no)
    paid = payment_view(conn, payment_no)
    _check_reversal(conn, station, row, paid, at_ms)
    refund_payment(conn, payments, payment_no, paid.amount_nano, at_ms, station.actor)
    newest = select(refund.c.refund_no).where(refund.c.payment_no == payment_no).order_by(refund.c.refund_no.desc()).limit(1)
    number = conn.execute(newest).scalar_one()
    conn.execute(update(refund).where(refund.c.refund_no == number).values(gateway_ref=f"{GATEWAY}/{paid.gateway_ref}"))
    conn.execute(update(station_payment).where(station_payment.c.payment_no == payment_no).values(
        reversed_ms=at_ms, reversal_day=row.day, reversal_reason=reason[:160], refund_no=number))  # fmt: skip
    record(conn, at_ms, station.actor, "station.reversed", f"account:{paid.account_no}", f"payment {payment_no}: {reason[:160]}")
    return receipt(conn, station, payment_no)


def _check_reversal(conn: Connection, station: Station, row: Row[Any], paid: PaymentView, at_ms: int) -> None:
    rules = (
        (paid.refunded_nano > 0, R.REFUNDED, "money of this payment was given back already: ask the office"),
        (is_closed(conn, station, row.day), R.DAY_CLOSED, f"the day {row.day} is closed: ask the office for a refund"),
        (at_ms - row.at_ms > REVERSE_WITHIN_MS, R.TOO_LATE, "more than 30 minutes ago: ask the office for a refund"),
        (paid.instrument is not None and _left_nano(conn, paid.account_no) < paid.amount_nano, R.CREDIT_USED,
         "part of the credit is used at the meter already: ask the office for a refund"),
    )  # fmt: skip
    for broken, why, text in rules:
        if broken:
            raise RefusedCommand(why, text)


def _left_nano(conn: Connection, account_no: int) -> int:
    view = balance(conn, account_no)
    return view.balance_nano + view.pending_nano


def _own(conn: Connection, station: Station, payment_no: int) -> Row[Any]:
    s = station_payment.c
    mine = select(station_payment).where(s.payment_no == payment_no, s.token_no == station.token_no)
    row = conn.execute(mine).one_or_none()
    if row is None:
        raise RefusedCommand(PaymentReason.UNKNOWN_PAYMENT, f"this station took no payment {payment_no}")
    return row


def _receipt(conn: Connection, station: Station, row: Row[Any]) -> Receipt:
    paid = payment_view(conn, row.payment_no)
    return Receipt(paid, masked(account_of(conn, paid.account_no).customer_name), station.name, row.day, row.reversed_ms)
