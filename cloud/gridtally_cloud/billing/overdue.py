"""What of an account's bills is overdue: the one definition that load limits, programmes and messages ask. Its middle is pure.

* Overdue is what was to be paid until now less all that was paid or credited, whichever bill the books pay with it: who has paid as much
  as fell due is never in arrears, be it less than what is owed.
* A bill is late after the local day it is due on. What is on no bill yet (late payment, assessments, events, what came over from
  prepayment) is to be paid with the first bill that shows it. A bill that names no day to pay is never late.
* While an arrangement runs, what it covers of its bills is to be paid by its instalments, each until its day and the grace; broken or
  cancelled, by its bills again.
* A claim posted for a bill that is not kept here (another system's) has no day that could be known, and counts from its posting.

Source: C3-N5; safety.md (a step down for nothing is a wrongful cut).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, select

from gridtally_cloud.billing import receivables
from gridtally_cloud.billing.arrangements import running
from gridtally_cloud.billing.claims import Books
from gridtally_cloud.billing.instalments import Plan, left_of
from gridtally_cloud.billing.periods import late_from_ms
from gridtally_cloud.billing.tables import bill, receivable
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.days import midnight_ms
from gridtally_shared.records import dataclass

_r, _b = receivable.c, bill.c


@dataclass(frozen=True, slots=True)
class ToPay:
    """An amount, and the instant from which it is late; None where nothing asks for it yet."""

    amount_nano: int
    late_ms: int | None


@dataclass(frozen=True, slots=True)
class Arrears:
    """How an account stands. `owed_nano`: on all bills, below zero in credit. `arranged_nano`: what would be overdue too if no arrangement
    ran. `paid_nano`: all that was ever paid or credited. `next_ms`: when more becomes overdue, as far as that is known."""

    owed_nano: int
    overdue_nano: int = 0
    arranged_nano: int = 0
    paid_nano: int = 0
    next_ms: int | None = None


def overdue_nano(claims: Iterable[ToPay], paid_nano: int, at_ms: int) -> int:
    """What is late, less all that was paid."""
    return max(0, sum(each.amount_nano for each in claims if each.late_ms is not None and each.late_ms <= at_ms) - paid_nano)


def to_pay(claimed: Mapping[str, int], late: Mapping[str, int | None], covered: Mapping[str, int]) -> tuple[ToPay, ...]:
    """What bills claim beyond what an arrangement covers of them, each from when it is late."""
    return tuple(ToPay(nano - min(nano, covered.get(bill_no, 0)), late.get(bill_no)) for bill_no, nano in claimed.items())


def by_instalments(plan: Plan, total_nano: int, zone: str) -> tuple[ToPay, ...]:
    """What an arrangement covers, the last instalments first where bills that were made again come to less."""
    return tuple(ToPay(each.amount_nano, midnight_ms(each.due_day + plan.grace_days + 1, zone)) for each in left_of(plan, total_nano))


def arrears_of(conn: Connection, account: Account, at_ms: int) -> Arrears:
    """As the books stand now."""
    owed_nano = receivables.outstanding_nano(conn, account.account_no)
    if owed_nano <= 0:
        return Arrears(owed_nano)
    books, bills = receivables.books_of(conn, account.account_no), _bills(conn, account.account_no)
    late = {row.bill_no: None if row.due_ms is None else late_from_ms(row.due_ms, account.zone) for row in bills}
    claimed, beside = _claimed(books), tuple(_beside(conn, account.account_no, bills, late))
    plain = (*to_pay(claimed, late, {}), *beside)
    paid_nano = sum(each.amount_nano for each in plain) - owed_nano
    arranged = running(conn, account, books, at_ms)
    claims = plain
    if arranged is not None:
        plan, covered = arranged
        total_nano = sum(min(nano, covered.get(bill_no, 0)) for bill_no, nano in claimed.items())
        claims = (*to_pay(claimed, late, covered), *by_instalments(plan, total_nano, account.zone), *beside)
    without_nano = overdue_nano(plain, paid_nano, at_ms)
    with_nano = min(without_nano, overdue_nano(claims, paid_nano, at_ms))
    coming = [each.late_ms for each in claims if each.amount_nano > 0 and each.late_ms is not None and each.late_ms > at_ms]
    return Arrears(owed_nano, with_nano, without_nano - with_nano, paid_nano, min(coming, default=None))


def _claimed(books: Books) -> dict[str, int]:
    """By bill; '' for what no bill shows yet. A bill below zero is a credit, and no claim."""
    found: dict[str, int] = {}
    for claim in books.claims:
        found[claim.bill_no] = found.get(claim.bill_no, 0) + max(0, claim.amount_nano)
    return found


def _bills(conn: Connection, account_no: int) -> list[Any]:
    """Those that stand, in the order of their posting."""
    mine = (_r.account_no == account_no, _r.kind == "bill", _b.cancelled_ms.is_(None))
    query = select(_r.receivable_no, _b.bill_no, _b.due_ms).join(bill, _b.bill_no == _r.bill_no).where(*mine)
    return list(conn.execute(query.order_by(_r.receivable_no)).all())


def _beside(conn: Connection, account_no: int, bills: list[Any], late: Mapping[str, int | None]) -> Iterator[ToPay]:
    """What the books take off the payments before they pay bills: claims of other systems, and what came over from prepayment."""
    mine = (_r.account_no == account_no, _r.debit_account == receivables.RECEIVABLE, _r.amount_nano > 0, _b.bill_no.is_(None))
    query = select(_r.receivable_no, _r.at_ms, _r.kind, _r.amount_nano).outerjoin(bill, _b.bill_no == _r.bill_no).where(*mine)
    for row in conn.execute(query.where(_r.kind.in_(("bill", "conversion")))):
        shown = next((each.bill_no for each in bills if each.receivable_no > row.receivable_no), "")
        yield ToPay(row.amount_nano, row.at_ms if row.kind == "bill" else late.get(shown))
