"""What a postpaid consumer owes: double entry, append-only, exact.

* Every row moves one amount from `credit_account` to `debit_account`; nothing is ever rewritten.
* Payments pay the oldest bill first; what is over stays as a credit for the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, func, insert, select

from gridtally_cloud.billing.tables import bill, receivable
from gridtally_cloud.customers.model import Account

RECEIVABLE, REVENUE, CASH = "receivable", "revenue", "cash"

MOVES: dict[str, tuple[str, str]] = {
    # kind: (debit, credit)
    "bill": (RECEIVABLE, REVENUE),
    "payment": (CASH, RECEIVABLE),
    "refund": (RECEIVABLE, CASH),
}


def _post(conn: Connection, account: Account, kind: str, amount_nano: int, at_ms: int, *, bill_no: str = "",
          payment_no: int | None = None) -> None:  # fmt: skip
    debit, credit = MOVES[kind]
    conn.execute(insert(receivable).values(
        account_no=account.account_no, at_ms=at_ms, kind=kind, debit_account=debit, credit_account=credit,
        amount_nano=amount_nano, currency=account.currency, bill_no=bill_no, payment_no=payment_no,
    ))  # fmt: skip


def post_bill(conn: Connection, account: Account, amount_nano: int, bill_no: str, at_ms: int) -> None:
    """The new charges of a bill become owed."""
    _post(conn, account, "bill", amount_nano, at_ms, bill_no=bill_no)


def post_payment(conn: Connection, account: Account, amount_nano: int, payment_no: int, at_ms: int) -> None:
    _post(conn, account, "payment", amount_nano, at_ms, payment_no=payment_no)


def post_refund(conn: Connection, account: Account, amount_nano: int, payment_no: int, at_ms: int) -> None:
    _post(conn, account, "refund", amount_nano, at_ms, payment_no=payment_no)


def outstanding_nano(conn: Connection, account_no: int, before_ms: int | None = None) -> int:
    """What the account owes now or owed before a time; negative when it has credit."""
    r = receivable.c
    signed = case((r.debit_account == RECEIVABLE, r.amount_nano), else_=0) - case(
        (r.credit_account == RECEIVABLE, r.amount_nano), else_=0)  # fmt: skip
    query = select(func.coalesce(func.sum(signed), 0)).where(r.account_no == account_no)
    return int(conn.execute(query if before_ms is None else query.where(r.at_ms < before_ms)).scalar_one())


@dataclass(frozen=True, slots=True)
class Due:
    """What a bill added to what is owed, and what of it is still to be paid."""

    amount_nano: int
    rest_nano: int


def due_of_bills(conn: Connection, account_no: int) -> dict[str, Due]:
    """What is due of each bill, payments taken oldest bill first."""
    r = receivable.c
    bills = conn.execute(select(r.bill_no, r.amount_nano).where(r.account_no == account_no, r.kind == "bill")
                         .join(bill, bill.c.bill_no == r.bill_no).order_by(bill.c.from_ms, r.receivable_no)).all()  # fmt: skip
    rest_nano = sum(row.amount_nano for row in bills) - outstanding_nano(conn, account_no)
    due = {}
    for row in bills:
        paid_nano = max(0, min(rest_nano, row.amount_nano))
        due[row.bill_no] = Due(row.amount_nano, row.amount_nano - paid_nano)
        rest_nano -= paid_nano
    return due
