"""Charges for late payment: made for a month that is over, once for each account, posted, and taken back.

* An account and month is one transaction: its mark (`late_run`), the charges, their rows of the books and the audit, or nothing. The same
  month again, a run that was killed, two runs at once: each account is charged once.
* A bill that is cancelled and comes to less in its new form takes its charges with it; the new bill is due anew. One that comes to more
  keeps them. A person can waive a charge, with the reason.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, select, update

from gridtally_cloud.billing import receivables
from gridtally_cloud.billing.arrangements import ended_of, pauses
from gridtally_cloud.billing.late import Overdue, Piece, late_pieces
from gridtally_cloud.billing.periods import last_month, month
from gridtally_cloud.billing.rules import RuleKind, rules_for
from gridtally_cloud.billing.tables import bill, late_charge, late_run, receivable
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_cloud.store.days import EPOCH, date_of, day_of
from gridtally_cloud.store.db import Database, insert_new
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.terms import Places

_c = late_charge.c
FIRST_ZONE = "Etc/GMT-14"
"""Where a month is over first."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge as it is kept. `is_back`: it was taken back."""

    charge_no: int
    account_no: int
    bill_no: str
    first_day: int
    until_day: int
    base_nano: int
    percent: int
    per: str
    bound: str
    amount_nano: int
    is_back: bool


def run(db: Database, at_ms: int, actor: str, of_month: str = "", account_no: int | None = None) -> tuple[Charge, ...]:
    """Charge a month such as '2026-11' (the last one that is over, in each account's zone). Raises ConfigError, RefusedCommand
    (month_not_over, unknown_account)."""
    if _span(of_month, FIRST_ZONE, at_ms)[1] > at_ms:
        raise RefusedCommand("month_not_over", f"{of_month} is not over yet: charge it after its last day")
    with db.read() as conn:
        numbers = (account_of(conn, account_no).account_no,) if account_no is not None else _owing(conn)
    made: list[Charge] = []
    for number in numbers:
        with db.write() as conn:
            made += charge_month(conn, number, at_ms, actor, of_month)
    return tuple(made)


def _owing(conn: Connection) -> tuple[int, ...]:
    """Accounts a bill was posted to; those that never owed anything late cost a look each."""
    return tuple(conn.execute(select(receivable.c.account_no).where(receivable.c.kind == "bill").distinct()
                              .order_by(receivable.c.account_no)).scalars())  # fmt: skip


def charge_month(conn: Connection, account_no: int, at_ms: int, actor: str, of_month: str = "") -> tuple[Charge, ...]:
    """The charges of one account and month; nothing where it was charged already, or is not over in the account's zone."""
    account = account_of(conn, account_no)
    from_ms, to_ms = _span(of_month, account.zone, at_ms)
    if to_ms > at_ms or not _could_be_late(conn, account_no, from_ms, to_ms):
        return ()
    receivables.hold_books(conn, account_no)
    days = range(day_of(from_ms, account.zone), day_of(to_ms, account.zone))
    if not insert_new(conn, late_run, ({"account_no": account_no, "month_day": days.start, "at_ms": at_ms},)):
        return ()
    ended_of(conn, account, at_ms, actor)
    rules = rules_for(conn, RuleKind.LATE, account.tariff_id, account.currency)
    bills = _overdue(conn, account, to_ms) if rules else ()
    books = receivables.books_of(conn, account_no)
    pieces = late_pieces(books, bills, days, rules, account.zone, _places(conn, account, days.stop - 1),
                         pauses(conn, account, books, at_ms))  # fmt: skip
    return tuple(_posted(conn, account, piece, at_ms, actor) for piece in pieces)


def _span(of_month: str, zone: str, at_ms: int) -> tuple[int, int]:
    try:
        return month(of_month, zone) if of_month else last_month(at_ms, zone)
    except ValueError:
        raise ConfigError("month", of_month, "write a month such as 2026-11") from None


def _could_be_late(conn: Connection, account_no: int, from_ms: int, to_ms: int) -> bool:
    """Whether anything was owed at any time of the month: what was posted before its end is more than what was paid before it began."""
    r = receivable.c
    owed = case((r.debit_account == receivables.RECEIVABLE, r.amount_nano), else_=0)
    paid = case(((r.credit_account == receivables.RECEIVABLE) & (r.at_ms < from_ms), r.amount_nano), else_=0)
    query = select(func.coalesce(func.sum(owed - paid), 0)).where(r.account_no == account_no, r.at_ms < to_ms)
    return int(conn.execute(query).scalar_one()) > 0


def _overdue(conn: Connection, account: Account, to_ms: int) -> tuple[Overdue, ...]:
    """Bills that stand and were to be paid before the end of the month."""
    b = bill.c
    mine = (b.account_no == account.account_no, b.kind == "bill", b.cancelled_ms.is_(None), b.due_ms < to_ms, b.charged_nano > 0)
    rows = conn.execute(select(b.bill_no, b.due_ms, b.charged_nano, b.from_ms, b.to_ms).where(*mine).order_by(b.from_ms)).all()
    return tuple(Overdue(row.bill_no, day_of(row.due_ms, account.zone), row.charged_nano,
                         sum(c.amount_nano for c in _standing(conn, account.account_no, row.from_ms, row.to_ms)))
                 for row in rows)  # fmt: skip


def _places(conn: Connection, account: Account, day: int) -> Places | None:
    """How the tariff in force rounds its lines."""
    versions = pinned_plan(versions_of(conn, account.tariff_id), account.zone).versions
    begun = [version for version in versions if version.first <= day + EPOCH.toordinal()]
    return (begun or versions)[-1].rounding


def _posted(conn: Connection, account: Account, piece: Piece, at_ms: int, actor: str) -> Charge:
    number = receivables.post_late(conn, account, piece.amount_nano, piece.bill_no, at_ms)
    row = conn.execute(insert(late_charge).values(
        account_no=account.account_no, bill_no=piece.bill_no, rule_no=piece.rule.rule_no, first_day=piece.first_day,
        until_day=piece.until_day, base_nano=piece.base_nano, percent=piece.rule.rule.percent, per=piece.rule.rule.per, bound=piece.bound,
        amount_nano=piece.amount_nano, receivable_no=number,
    ).returning(late_charge)).one()  # fmt: skip
    detail = f"{piece.bill_no}, {piece.until_day - piece.first_day} days from {date_of(piece.first_day)}: {decimal_text(piece.amount_nano)}"
    record(conn, at_ms, actor, "late.charged", f"account:{account.account_no}", detail)
    return _charge(row)


def charges_of(conn: Connection, account_no: int) -> tuple[Charge, ...]:
    """All that were made, oldest first. Raises RefusedCommand (unknown_account)."""
    account_of(conn, account_no)
    return tuple(_charge(row) for row in conn.execute(select(late_charge).where(_c.account_no == account_no).order_by(_c.charge_no)))


def _charge(row: Row[Any]) -> Charge:
    return Charge(row.charge_no, row.account_no, row.bill_no, row.first_day, row.until_day, row.base_nano, row.percent, row.per, row.bound,
                  row.amount_nano, row.back_no is not None)  # fmt: skip


# ---- taken back -----------------------------------------------------------------------------------------------


def _standing(conn: Connection, account_no: int, from_ms: int, to_ms: int) -> tuple[Charge, ...]:
    """Charges not taken back for the bills of one period, those that were cancelled included."""
    same = (_c.account_no == account_no, _c.back_no.is_(None), bill.c.from_ms == from_ms, bill.c.to_ms == to_ms)
    rows = conn.execute(select(late_charge).join(bill, bill.c.bill_no == _c.bill_no).where(*same).order_by(_c.charge_no))
    return tuple(_charge(row) for row in rows)


def take_back_of_period(conn: Connection, account: Account, from_ms: int, to_ms: int, at_ms: int, actor: str, why: str) -> int:
    """The charges for bills of a period are owed no more. How many."""
    receivables.hold_books(conn, account.account_no)
    found = _standing(conn, account.account_no, from_ms, to_ms)
    for charge in found:
        _take_back(conn, account, charge, at_ms, actor, why)
    return len(found)


def waive(conn: Connection, charge_no: int, at_ms: int, actor: str, note: str) -> Charge:
    """Take one charge back. Raises RefusedCommand (unknown_charge, taken_back, note_needed)."""
    query = select(late_charge).where(_c.charge_no == charge_no)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise RefusedCommand("unknown_charge", f"there is no late payment charge {charge_no}: gridtally-mdm late list ACCOUNT shows them")
    receivables.hold_books(conn, row.account_no)
    row = conn.execute(query).one()
    if row.back_no is not None:
        raise RefusedCommand("taken_back", f"charge {charge_no} was taken back already")
    if not note.strip():
        raise RefusedCommand("note_needed", "say why the charge is waived: it is kept in the audit")
    charge = _charge(row)
    _take_back(conn, account_of(conn, row.account_no), charge, at_ms, actor, note)
    return charge


def _take_back(conn: Connection, account: Account, charge: Charge, at_ms: int, actor: str, why: str) -> None:
    number = receivables.post_late(conn, account, charge.amount_nano, charge.bill_no, at_ms, back=True)
    conn.execute(update(late_charge).where(_c.charge_no == charge.charge_no).values(back_no=number))
    record(conn, at_ms, actor, "late.taken_back", f"account:{account.account_no}", f"charge {charge.charge_no} of {charge.bill_no}: {why}")
