"""A bill or statement is made, numbered and posted. What stands against it is looked at before (checks.py)."""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.billing import receivables, store
from gridtally_cloud.billing.deposits import apply_to
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.model import Bill, BillKind
from gridtally_cloud.billing.postpaid import postpaid_bill
from gridtally_cloud.billing.statement import statement
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.intervals import hold_point
from gridtally_shared.clock import MS_PER_DAY

DUE_AFTER_MS = 14 * MS_PER_DAY


def hold(conn: Connection, account: Account) -> None:
    """Until the end of the transaction the data and the books that a bill is made of stay as they are."""
    receivables.hold_books(conn, account.account_no)
    hold_point(conn, account.usage_point_no)


def issue_new(conn: Connection, account: Account, kind: BillKind, from_ms: int, to_ms: int, at_ms: int, held: Held | None = None,
              closes_by: str = "", estimate: bool = False) -> str:  # fmt: skip
    """The number it is kept under. `closes_by`: who makes it the last bill, which the deposit pays. `estimate`: an end that no reading
    reaches is estimated (`tail.py`). The caller holds the account. Raises RefusedCommand where a reading it rests on is missing."""
    if kind is BillKind.STATEMENT:
        made = statement(store.statement_inputs(conn, account, from_ms, to_ms))
        return store.save_bill(conn, made, made.charged_nano, at_ms, None)
    inputs = store.bill_inputs(conn, account, from_ms, to_ms, held=held, estimate=estimate)
    made = postpaid_bill(store.with_books(conn, account, inputs, at_ms))
    if closes_by and apply_to(conn, account, made.closing_nano, at_ms, closes_by):
        made = postpaid_bill(store.with_books(conn, account, inputs, at_ms))
    return _posted(conn, account, made, at_ms)


def _posted(conn: Connection, account: Account, made: Bill, at_ms: int) -> str:
    new_nano = made.closing_nano - receivables.outstanding_nano(conn, account.account_no)
    bill_no = store.save_bill(conn, made, new_nano, at_ms, at_ms + DUE_AFTER_MS)
    receivables.post_bill(conn, account, new_nano, bill_no, at_ms)
    return bill_no
