"""What a postpaid consumer owes: double entry, append-only, exact.

* Every row moves one amount from `credit_account` to `debit_account`; nothing is ever rewritten.
* Payments pay the oldest bill first; what is over stays as a credit for the next one.
"""

from __future__ import annotations

from bisect import bisect_right

from sqlalchemy import Connection, bindparam, case, func, insert, or_, select

from gridtally_cloud.billing.claims import Books, Claim, rests
from gridtally_cloud.billing.names import assessment_name, event_name
from gridtally_cloud.billing.tables import assessment, bill, late_charge, receivable
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.db import in_turn
from gridtally_shared.records import dataclass

RECEIVABLE, REVENUE, CASH, PREPAID, SURCHARGE = "receivable", "revenue", "cash", "prepaid", "surcharge"
DEPOSIT, INTEREST, ASSESSMENT, EVENT = "deposit", "interest", "assessment", "event"

MOVES: dict[str, tuple[str, str]] = {
    # kind: (debit, credit)
    "bill": (RECEIVABLE, REVENUE),
    "cancel": (REVENUE, RECEIVABLE),
    "payment": (CASH, RECEIVABLE),
    "refund": (RECEIVABLE, CASH),
    "conversion": (RECEIVABLE, PREPAID),
    "late": (RECEIVABLE, SURCHARGE),
    "late_back": (SURCHARGE, RECEIVABLE),
    "assessment": (RECEIVABLE, ASSESSMENT),
    "assessment_back": (ASSESSMENT, RECEIVABLE),
    "event": (RECEIVABLE, EVENT),
    "event_back": (EVENT, RECEIVABLE),
    "deposit": (CASH, DEPOSIT),
    "deposit_interest": (INTEREST, DEPOSIT),
    "deposit_applied": (DEPOSIT, RECEIVABLE),
    "deposit_refund": (DEPOSIT, CASH),
    "deposit_credit": (DEPOSIT, PREPAID),
}
PAID_KINDS = ("payment", "refund", "conversion")
"""What stands on the next bill as money paid, given back or carried over."""


def _post(conn: Connection, account: Account, kind: str, amount_nano: int, at_ms: int, *, bill_no: str = "",
          payment_no: int | None = None) -> int:  # fmt: skip
    hold_books(conn, account.account_no)  # rows are numbered in the order in which they are committed
    debit, credit = MOVES[kind]
    return int(conn.execute(insert(receivable).values(
        account_no=account.account_no, at_ms=at_ms, kind=kind, debit_account=debit, credit_account=credit,
        amount_nano=amount_nano, currency=account.currency, bill_no=bill_no, payment_no=payment_no,
    ).returning(receivable.c.receivable_no)).scalar_one())  # fmt: skip


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


def post_late(conn: Connection, account: Account, amount_nano: int, bill_no: str, at_ms: int, back: bool = False) -> int:
    """The charge for paying a bill late, or such a charge taken back; the number of its row."""
    return _post(conn, account, "late_back" if back else "late", amount_nano, at_ms, bill_no=bill_no)


def post_assessment(conn: Connection, account: Account, amount_nano: int, at_ms: int, back: bool = False) -> int:
    """Energy that was not measured, or such an assessment taken back; the number of its row."""
    return _post(conn, account, "assessment_back" if back else "assessment", amount_nano, at_ms)


def post_event(conn: Connection, account: Account, amount_nano: int, schedule_no: int, at_ms: int) -> None:
    """What an event takes of the one who pays for it; below zero it goes back."""
    _post(conn, account, "event" if amount_nano > 0 else "event_back", abs(amount_nano), at_ms, bill_no=event_name(schedule_no))


def post_deposit(conn: Connection, account: Account, kind: str, amount_nano: int, at_ms: int) -> int:
    """What a deposit does, by its kind in `MOVES`; the number of its row."""
    return _post(conn, account, kind, amount_nano, at_ms)


TO_DEBT = "debt"
"""In place of a bill's number on a row that moves what is owed into a debt of the balance: nobody has paid by it."""


def post_conversion(conn: Connection, account: Account, amount_nano: int, at_ms: int, to_debt: bool = False) -> None:
    """What moves between bills and prepayment when the way of paying changes; below zero it takes from what is owed. `to_debt`: it is
    owed on, as a debt that prepayment collects."""
    _post(conn, account, "conversion", amount_nano, at_ms, bill_no=TO_DEBT if to_debt else "")


def claims_of(conn: Connection, account_no: int, open_nano: int) -> tuple[str, ...]:
    """What an open amount is of, by the names on paper, oldest first: payments pay the oldest claim first, so it is of the newest."""
    r = receivable.c
    query = (select(r.kind, r.amount_nano, r.bill_no, assessment.c.assessment_no)
             .outerjoin(bill, bill.c.bill_no == r.bill_no).outerjoin(late_charge, late_charge.c.receivable_no == r.receivable_no)
             .outerjoin(assessment, assessment.c.receivable_no == r.receivable_no)
             .where(r.account_no == account_no, r.kind.in_(("bill", *_SHOWN_LATER)), bill.c.cancelled_ms.is_(None),
                    late_charge.c.back_no.is_(None), assessment.c.back_no.is_(None)).order_by(r.receivable_no.desc()))  # fmt: skip
    names: list[str] = []
    for row in conn.execute(query):
        if open_nano <= 0:
            break
        names.append(assessment_name(row.assessment_no) if row.kind == "assessment" and row.assessment_no else row.bill_no)
        open_nano -= row.amount_nano
    return tuple(dict.fromkeys(name for name in reversed(names) if name))


def hold_books(conn: Connection, account_no: int) -> None:
    """Until the end of the transaction nobody else posts a row, or looks at what he will move: no deposit is released twice, no
    assessment approved twice, and a bill knows every payment with a lower number than its own."""
    in_turn(conn, f"books of {account_no}")


def outstanding_nano(conn: Connection, account_no: int, before_ms: int | None = None) -> int:
    """What the account owes now or owed before a time; negative when it has credit."""
    r = receivable.c
    signed = case((r.debit_account == RECEIVABLE, r.amount_nano), else_=0) - case(
        (r.credit_account == RECEIVABLE, r.amount_nano), else_=0)  # fmt: skip
    query = select(func.coalesce(func.sum(signed), 0)).where(r.account_no == account_no)
    return int(conn.execute(query if before_ms is None else query.where(r.at_ms < before_ms)).scalar_one())


_KINDS = select(receivable.c.kind).where(receivable.c.account_no == bindparam("account")).distinct()


def kinds_of(conn: Connection, account_no: int) -> frozenset[str]:
    """Which kinds of rows the books of an account have: most have bills and payments, and nothing else to look for."""
    return frozenset(conn.execute(_KINDS, {"account": account_no}).scalars())


@dataclass(frozen=True, slots=True)
class Due:
    """What a bill added to what is owed, what of it is still to be paid, and what of it went on as a debt of the balance."""

    amount_nano: int
    rest_nano: int
    carried_nano: int = 0


def due_of_bills(conn: Connection, account_no: int) -> dict[str, Due]:
    """What is due of each bill that stands, payments taken oldest bill first; after them what was carried into a debt."""
    found = rests(books_of(conn, account_no))
    return {bill_no: Due(rest.amount_nano, rest.own_nano + rest.late_nano, rest.carried_nano) for bill_no, rest in found.items() if bill_no}


def books_of(conn: Connection, account_no: int) -> Books:
    """The books of an account as claims of its bills that stand, and what was paid. Whatever is no claim of such a bill moves the debt."""
    r = receivable.c
    query = (select(r.receivable_no, r.at_ms, r.kind, r.debit_account, r.amount_nano, r.bill_no, bill.c.from_ms, bill.c.cancelled_ms,
                    func.coalesce(late_charge.c.back_no, assessment.c.back_no).label("back_no"))
             .outerjoin(bill, bill.c.bill_no == r.bill_no).outerjoin(late_charge, late_charge.c.receivable_no == r.receivable_no)
             .outerjoin(assessment, assessment.c.receivable_no == r.receivable_no)
             .where(r.account_no == account_no, or_(r.debit_account == RECEIVABLE, r.credit_account == RECEIVABLE))
             .order_by(r.receivable_no))  # fmt: skip
    rows = conn.execute(query).all()
    bills = [row for row in rows if row.kind == "bill" and row.from_ms is not None and row.cancelled_ms is None]
    numbers = [row.receivable_no for row in bills]
    claims = [((row.from_ms, 0, row.receivable_no), Claim(row.bill_no, row.at_ms, row.amount_nano)) for row in bills]
    moves, debts = [], []
    for row in rows:
        signed_nano = row.amount_nano if row.debit_account == RECEIVABLE else -row.amount_nano
        if row.kind in _SHOWN_LATER and row.back_no is None:
            place = bisect_right(numbers, row.receivable_no)
            shown = bills[place] if place < len(bills) else None
            key = (shown.from_ms if shown else _LAST, 1, row.receivable_no)
            claims.append((key, Claim(shown.bill_no if shown else "", row.at_ms, row.amount_nano, is_late=row.kind == "late")))
        elif row.kind == "conversion" and row.bill_no == TO_DEBT:
            debts.append((row.at_ms, -signed_nano))
        elif row.kind not in _CLAIMED or (row.kind in ("bill", "cancel") and row.from_ms is None):
            moves.append((row.at_ms, signed_nano))
    return Books(tuple(claim for _, claim in sorted(claims, key=lambda pair: pair[0])), tuple(moves), tuple(debts))


_SHOWN_LATER = frozenset({"late", "assessment", "event"})
"""Claims of the next bill after them."""
_CLAIMED = frozenset({"bill", "cancel", "late", "late_back", "assessment", "assessment_back"})
_LAST = 2**62
"""Behind all bills."""
