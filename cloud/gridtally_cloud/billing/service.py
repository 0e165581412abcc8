"""Bills and statements as pages and the command line call them. Times are business time (virtual in a demo).

* A prepaid account gets a statement out of its mirrored journal; a postpaid one a bill out of its register.
* The same period again returns what was issued; a period that overlaps another one is refused.
* Refusals are `RefusedCommand` with a code of `BillReason` and a sentence for the person.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.billing import store
from gridtally_cloud.billing.checks import BillReason, Facts, Finding, findings
from gridtally_cloud.billing.deposits import held_nano
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.issue import hold, issue_new
from gridtally_cloud.billing.model import BillKind, BillRow, BillView
from gridtally_cloud.billing.page import BillPage, bill_page
from gridtally_cloud.billing.receivables import outstanding_nano
from gridtally_cloud.billing.stretches import stretch_at
from gridtally_cloud.billing.tail import fill, flag
from gridtally_cloud.billing.usage import missing_of, newest_register_ms
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_shared.errors import RefusedCommand

__all__ = ["bill", "check_bill", "issue_bill", "list_bills", "outstanding_nano", "render_context", "render_pdf"]


def list_bills(conn: Connection, account_no: int) -> tuple[BillRow, ...]:
    """Bills and statements, newest first. Raises RefusedCommand (unknown_account)."""
    account_of(conn, account_no)
    return store.bill_rows(conn, account_no)


def bill(conn: Connection, bill_no: str) -> BillView:
    """Raises RefusedCommand (unknown_bill)."""
    return store.load_bill(conn, bill_no)


def kind_for(conn: Connection, account: Account, to_ms: int) -> BillKind:
    """A bill where the account was billed at the end of the period, else a statement of its balance."""
    return BillKind.STATEMENT if stretch_at(conn, account, to_ms - 1) is None else BillKind.BILL


def check_bill(conn: Connection, account_no: int, from_ms: int, to_ms: int, at_ms: int, estimate: bool = False) -> tuple[Finding, ...]:
    """What stands against (blocking) or should be known about issuing a bill now; `estimate`: as an estimated one."""
    account = account_of(conn, account_no)
    return _checked(Held(conn), account, kind_for(conn, account, to_ms), from_ms, to_ms, at_ms, estimate)


def _checked(held: Held, account: Account, kind: BillKind, from_ms: int, to_ms: int, at_ms: int, estimate: bool = False
             ) -> tuple[Finding, ...]:  # fmt: skip
    conn = held.conn
    reach_ms, stopped = store.journal_reach(conn, account) if kind is BillKind.STATEMENT else (0, False)
    covered_ms = max(reach_ms, newest_register_ms(conn, account.meter_no)) if reach_ms or kind is BillKind.BILL else 0
    covered_ms = to_ms if estimate and kind is BillKind.BILL and covered_ms else covered_ms
    sensible = from_ms < to_ms
    missing = missing_of(held, account.usage_point_no, from_ms, to_ms) if sensible else 0
    return findings(Facts(from_ms, to_ms, at_ms, account.opened_at_ms, covered_ms, stopped,
                          store.overlapping(conn, account.account_no, kind, from_ms, to_ms), missing))  # fmt: skip


def issue_bill(conn: Connection, account_no: int, from_ms: int, to_ms: int, at_ms: int, actor: str, final: bool = False,
               estimate: bool = False) -> BillView:  # fmt: skip
    """Issue the statement or bill of [from_ms, to_ms). `final`: a deposit that is held pays it. `estimate`: where no reading reaches its
    end, that is estimated. Raises RefusedCommand with the first thing
    against it."""
    account = account_of(conn, account_no)
    hold(conn, account)
    kind = kind_for(conn, account, to_ms)
    if final and kind is BillKind.STATEMENT:
        raise RefusedCommand(BillReason.NOT_A_BILL, "a prepaid account has no final bill: its balance is refunded")
    issued = store.same_period(conn, account_no, kind, from_ms, to_ms)
    if issued:
        return _issued(conn, store.load_bill(conn, issued), final)
    behind = estimate and kind is BillKind.BILL and newest_register_ms(conn, account.meter_no) < to_ms
    for finding in _checked(Held(conn), account, kind, from_ms, to_ms, at_ms, behind):
        if finding.blocking:
            raise RefusedCommand(finding.reason, finding.text)
    if behind:
        fill(conn, account, from_ms, to_ms, at_ms)
    bill_no = issue_new(conn, account, kind, from_ms, to_ms, at_ms, Held(conn), actor if final else "", behind)
    record(conn, at_ms, actor, "bill.issued", f"account:{account_no}", f"{bill_no}, final" if final else bill_no)
    view = store.load_bill(conn, bill_no)
    flag(conn, view, at_ms, actor)
    return view


def _issued(conn: Connection, view: BillView, final: bool) -> BillView:
    account_no = view.bill.party.account_no
    if final and view.due_nano and held_nano(conn, account_no):
        raise RefusedCommand(BillReason.NOT_FINAL, f"{view.bill_no} is issued and not the last one: pay it by gridtally-mdm deposit apply "
                             f"{account_no}")  # fmt: skip
    return view


def render_context(view: BillView, language: str = "") -> BillPage:
    """What `billing/templates/bill.html` shows, as `page`."""
    return bill_page(view, language)


def render_pdf(view: BillView, language: str = "") -> bytes:
    """The bill as PDF, A4; in English where the language's letters are not installed."""
    from gridtally_cloud.billing.pdf import can_print, pdf_of  # with its fonts a third of what a worker would load to start

    page = bill_page(view, language)
    return pdf_of(page if can_print(page.language) else bill_page(view, "en"))
