"""The final bill of a stretch of regular billing, at the moment the account begins to pay ahead (BYPL-13.9).

* It ends with the reading that opened prepayment and begins where the last bill ended, so no Wh is billed twice or not at all.
* It is issued in the transaction in which the mirror shows the change. One that can not be made is no reason to refuse a journal: what
  stands against it is an order to a person, who issues it when the data are there.
* What it comes to is carried over as a debt (prepay/settling.py), as arrears are.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.billing import store
from gridtally_cloud.billing.issue import hold, issue_new
from gridtally_cloud.billing.model import BillKind
from gridtally_cloud.billing.stretches import stretch_at
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.workorders.service import OrderKind, open_order
from gridtally_shared.errors import ConfigError, RefusedCommand

ACTOR = "change to prepayment"


def issue_final(conn: Connection, account_no: int, end_ms: int, at_ms: int) -> str:
    """The number of the final bill; '' where nothing was billed before, or where it can not be made yet."""
    account = account_of(conn, account_no)
    hold(conn, account)
    stretch = stretch_at(conn, account, end_ms - 1)
    if stretch is None:
        return ""
    from_ms = max(stretch.from_ms, store.billed_until(conn, account_no))
    if from_ms >= end_ms:
        return ""
    try:
        bill_no = issue_new(conn, account, BillKind.BILL, from_ms, end_ms, at_ms)
    except (RefusedCommand, ConfigError) as refused:
        record(conn, at_ms, ACTOR, "bill.final_refused", f"account:{account_no}", str(refused))
        open_order(conn, OrderKind.BILL_REVIEW, account_no, f"final bill {account_no} {end_ms}", "final_bill", at_ms, ACTOR, str(refused))
        return ""
    record(conn, at_ms, ACTOR, "bill.issued", f"account:{account_no}", f"{bill_no}, final")
    return bill_no
