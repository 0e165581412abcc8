"""Bills and statements as pages and the command line call them. Times are business time (virtual in a demo).

* A prepaid account gets a statement out of its mirrored journal; a postpaid one a bill out of its register.
* The same period again returns what was issued; a period that overlaps another one is refused.
* Refusals are `RefusedCommand` with a code of `BillReason` and a sentence for the person.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.billing import receivables, store
from gridtally_cloud.billing.checks import BillReason, Facts, Finding, findings
from gridtally_cloud.billing.model import Bill, BillKind, BillRow, BillView, LineKind
from gridtally_cloud.billing.page import BillPage, bill_page
from gridtally_cloud.billing.pdf import can_print, pdf_of
from gridtally_cloud.billing.postpaid import postpaid_bill
from gridtally_cloud.billing.receivables import outstanding_nano
from gridtally_cloud.billing.statement import statement
from gridtally_cloud.billing.usage import measured, newest_register_ms
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import RefusedCommand

DUE_AFTER_MS = 14 * MS_PER_DAY

__all__ = ["bill", "check_bill", "issue_bill", "list_bills", "outstanding_nano", "render_context", "render_pdf"]


def list_bills(conn: Connection, account_no: int) -> tuple[BillRow, ...]:
    """Bills and statements, newest first. Raises RefusedCommand (unknown_account)."""
    account_of(conn, account_no)
    return store.bill_rows(conn, account_no)


def bill(conn: Connection, bill_no: str) -> BillView:
    """Raises RefusedCommand (unknown_bill)."""
    return store.load_bill(conn, bill_no)


def kind_for(account: Account) -> BillKind:
    return BillKind.STATEMENT if account.is_prepaid else BillKind.BILL


def check_bill(conn: Connection, account_no: int, from_ms: int, to_ms: int, at_ms: int) -> tuple[Finding, ...]:
    """What stands against (blocking) or should be known about issuing a bill now."""
    account = account_of(conn, account_no)
    reach_ms, stopped = store.journal_reach(conn, account) if account.is_prepaid else (0, False)
    covered_ms = max(reach_ms, newest_register_ms(conn, account.meter_no)) if reach_ms or not account.is_prepaid else 0
    sensible = from_ms < to_ms
    missing = measured(conn, account.usage_point_no, from_ms, to_ms, account.zone)[1].missing if sensible else 0
    return findings(Facts(from_ms, to_ms, at_ms, account.opened_at_ms, covered_ms, stopped,
                          store.overlapping(conn, account_no, kind_for(account), from_ms, to_ms), missing))  # fmt: skip


def issue_bill(conn: Connection, account_no: int, from_ms: int, to_ms: int, at_ms: int, actor: str) -> BillView:
    """Issue the statement or bill of [from_ms, to_ms). Raises RefusedCommand with the first thing against it."""
    account = account_of(conn, account_no)
    issued = store.same_period(conn, account_no, kind_for(account), from_ms, to_ms)
    if issued:
        return store.load_bill(conn, issued)
    for finding in check_bill(conn, account_no, from_ms, to_ms, at_ms):
        if finding.blocking:
            raise RefusedCommand(finding.reason, finding.text)
    made = _make(conn, account, from_ms, to_ms)
    bill_no = _store(conn, account, made, at_ms)
    record(conn, at_ms, actor, "bill.issued", f"account:{account_no}", bill_no)
    return store.load_bill(conn, bill_no)


def _make(conn: Connection, account: Account, from_ms: int, to_ms: int) -> Bill:
    if account.is_prepaid:
        return statement(store.statement_inputs(conn, account, from_ms, to_ms))
    made = postpaid_bill(store.bill_inputs(conn, account, from_ms, to_ms))
    if any(line.kind is LineKind.ENERGY and line.quantity < 0 for line in made.lines):
        raise RefusedCommand(BillReason.REGISTER_WENT_BACK, f"the register of meter {account.meter_serial} went back in this "
                             "period: check the readings and the meter first")  # fmt: skip
    return made


def _store(conn: Connection, account: Account, made: Bill, at_ms: int) -> str:
    if made.kind is BillKind.STATEMENT:
        return store.save_bill(conn, made, made.charged_nano, at_ms, None)
    new_nano = made.closing_nano - outstanding_nano(conn, account.account_no)
    bill_no = store.save_bill(conn, made, new_nano, at_ms, at_ms + DUE_AFTER_MS)
    receivables.post_bill(conn, account, new_nano, bill_no, at_ms)
    return bill_no


def render_context(view: BillView, language: str = "") -> BillPage:
    """What `billing/templates/bill.html` shows, as `page`."""
    return bill_page(view, language)


def render_pdf(view: BillView, language: str = "") -> bytes:
    """The bill as PDF, A4; in English where the language's letters are not installed."""
    page = bill_page(view, language)
    return pdf_of(page if can_print(page.language) else bill_page(view, "en"))
