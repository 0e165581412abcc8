"""What a postpaid consumer owes: double entry, append-only, exact.

* Every row moves one amount from `credit_account` to `debit_account`; nothing is ever rewritten.
* Payments pay the oldest bill first; what is over stays as a credit for the next one.
"""

from __future__ import annotations

from sqlalchemy import Connection, case, func, insert, select

from gridtally_cloud.billing.tables import bill, receivable
from gridtally_cloud.customers.model import Account
from gridtally_shared.records import dataclass

RECEIVABLE, REVENUE, CASH, PREPAID = "receivable", "revenue", "cash", "prepaid"

MOVES: dict[str, tuple[str, str]] = {
    # kind: (debit, credit)
    "bill": (RECEIVABLE, REVENUE),
    "cancel": (REVENUE, RECEIVABLE),
    "payment": (CASH, RECEIVABLE),
    "refund": (RECEIVABLE, CASH),
    "conversion": (RECEIVABLE, PREPAID),
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


def post_cancelled(conn: Connection, account: Account, amount_nano: int, bill_no: str, at_ms: int) -> None:
    """The charges of a bill that no longer stands are not owed."""
    _post(conn, account, "cancel", amount_nano, at_ms, bill_no=bill_no)


def post_payment(conn: Connection, account: Account, amount_nano: int, payment_no: int, at_ms: int) -> None:
    _post(conn, account, "payment", amount_nano, at_ms, payment_no=payment_no)


def post_refund(conn: Connection, account: Account, amount_nano: int, payment_no: int, at_ms: int) -> None:
    _post(conn, account, "refund", amount_nano, at_ms, payment_no=payment_no)


TO_DEBT = "debt"
"""In place of a bill's number on a row that moves what is owed into a debt of the balance: nobody has paid by it."""


def post_conversion(conn: Connection, account: Account, amount_nano: int, at_ms: int, to_debt: bool = False) -> None:
    """What moves between bills and prepayment when the way of paying changes; below zero it takes from what is owed. `to_debt`: it is
    owed on, as a debt that prepayment collects."""
    _post(conn, account, "conversion", amount_nano, at_ms, bill_no=TO_DEBT if to_debt else "")


def outstanding_nano(conn: Connection, account_no: int, before_ms: int | None = None) -> int:
    """What the account owes now or owed before a time; negative when it has credit."""
    r = receivable.c
    signed = case((r.debit_account == RECEIVABLE, r.amount_nano), else_=0) - case(
        (r.credit_account == RECEIVABLE, r.amount_nano), else_=0)  # fmt: skip
    query = select(func.coalesce(func.sum(signed), 0)).where(r.account_no == account_no)
    return int(conn.execute(query if before_ms is None else query.where(r.at_ms < before_ms)).scalar_one())


@dataclass(frozen=True, slots=True)
class Due:
    """What a bill added to what is owed, what of it is still to be paid, and what of it went on as a debt of the balance."""

    amount_nano: int
    rest_nano: int
    carried_nano: int = 0


def due_of_bills(conn: Connection, account_no: int) -> dict[str, Due]:
    """What is due of each bill that stands, payments taken oldest bill first; after them what was carried into a debt."""
    r = receivable.c
    standing = (r.account_no == account_no, r.kind == "bill", bill.c.cancelled_ms.is_(None))
    bills = conn.execute(select(r.bill_no, r.amount_nano).join(bill, bill.c.bill_no == r.bill_no).where(*standing)
                         .order_by(bill.c.from_ms, r.receivable_no)).all()  # fmt: skip
    debt = select(func.coalesce(func.sum(r.amount_nano), 0)).where(r.account_no == account_no, r.kind == "conversion", r.bill_no == TO_DEBT)
    carried_nano = -int(conn.execute(debt).scalar_one())
    paid_nano = sum(row.amount_nano for row in bills) - outstanding_nano(conn, account_no) - carried_nano
    due = {}
    for row in bills:
        by_payment = max(0, min(paid_nano, row.amount_nano))
        by_debt = max(0, min(carried_nano, row.amount_nano - by_payment))
        due[row.bill_no] = Due(row.amount_nano, row.amount_nano - by_payment - by_debt, by_debt)
        paid_nano, carried_nano = paid_nano - by_payment, carried_nano - by_debt
    return due
