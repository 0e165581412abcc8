"""Closes an account whose person has moved out: at the end of its last bill. The usage point is free for the next account.

Prepaid accounts become postpaid first (`gridtally-mdm handover mode`): what is left of the balance comes to the books and is settled there.
"""

from __future__ import annotations

from sqlalchemy import Connection, update

from gridtally_cloud.billing.store import billed_until
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tables import account
from gridtally_cloud.person.links import find
from gridtally_cloud.person.obstacles import open_at
from gridtally_shared.errors import RefusedCommand

OPEN = "account_not_settled"


def move_out(conn: Connection, account_no: int, by: str, at_ms: int) -> int:
    """When the account ended; again changes nothing. Raises RefusedCommand (unknown_account, account_not_settled)."""
    one = account_of(conn, account_no)
    if one.closed_at_ms is not None:
        return one.closed_at_ms
    if one.is_prepaid:
        remedy = f"'gridtally-mdm handover mode {account_no} postpaid', then its last bill"
        raise RefusedCommand(OPEN, f"account {account_no} is prepaid: {remedy}")
    end_ms = billed_until(conn, account_no)
    if not end_ms:
        remedy = f"'gridtally-mdm bill {account_no} --from ... --to ...', to the day the person moved out"
        raise RefusedCommand(OPEN, f"account {account_no} has no bill: issue its last one, {remedy}")
    against = open_at(conn, find(conn, one.customer_no, hold=True), account_no)
    if against:
        raise RefusedCommand(OPEN, f"account {account_no} can not be closed yet:\n  " + "\n  ".join(against))
    conn.execute(update(account).where(account.c.account_no == account_no, account.c.closed_ms.is_(None)).values(closed_ms=end_ms))
    record(conn, at_ms, by, "account.closed", f"account:{account_no}", f"at {end_ms}, the end of its last bill")
    return end_ms
