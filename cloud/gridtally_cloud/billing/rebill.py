"""Data of a bill were restated: the bill is cancelled and made again, or a person says that it stands.

* A proposal is a bill that stands, whose data VEE restated (`vee/restated.py`) after it was issued. Nothing is rebilled without a person.
* The new bill opens with what is owed now, takes the charges of the cancelled one back in one line, charges the period anew, and says
  which days and which charges are other ones. What was paid stays paid: a smaller bill leaves a credit.
* Later bills of the account are made again too where their charges are other ones by a coin or more: they share a cycle, a highest
  demand or a register reading with it. All in one transaction, or nothing.
* Where all of them together come to more, an estimated one is made again for more only while the rule of its period allows it (`tail.py`).
* Charges for having paid the cancelled bill late go with it where the new one comes to less (`late_run.py`).
* The books keep both: the charges of each bill, and of each cancelled one the same amount back. No row is altered.
* A statement of a prepaid account is never rebilled: its journal is corrected (`gridtally-mdm correct`).

Source: mdm.md B.4, C.1 (bill life).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.billing import receivables, store
from gridtally_cloud.billing.checks import BillReason
from gridtally_cloud.billing.issue import DUE_AFTER_MS, hold
from gridtally_cloud.billing.late_run import take_back_of_period
from gridtally_cloud.billing.model import BillKind, BillState, BillView
from gridtally_cloud.billing.moved import correction, total_nano
from gridtally_cloud.billing.postpaid import BillInputs, charges, postpaid_bill
from gridtally_cloud.billing.tables import bill as bill_table
from gridtally_cloud.billing.tables import bill_left
from gridtally_cloud.billing.tail import check_may_rise
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.vee.tables import vee_restated
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import minor_digits
from gridtally_shared.records import dataclass

ASKED_AT_ONCE = 10_000
"""PostgreSQL takes 65,535 parameters in a statement."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A bill or statement whose data are other ones now. `delta_wh`: how much more, over all restatements of its days."""

    bill_no: str
    account_no: int
    kind: BillKind
    from_ms: int
    to_ms: int
    days: int
    delta_wh: int
    since_ms: int
    newest_no: int


@dataclass(frozen=True, slots=True)
class Rebilled:
    """`was_nano` and `now_nano`: the charges."""

    old_no: str
    new_no: str
    was_nano: int
    now_nano: int


def proposals(conn: Connection, account_no: int | None = None) -> tuple[Proposal, ...]:
    """Oldest bill first."""
    b, r = bill_table.c, vee_restated.c
    told: dict[str, list[Any]] = {}
    for row in conn.execute(select(r.restated_no, r.day, r.old_total, r.new_total, r.bills, r.at_ms).where(r.shard == SHARD)):
        for bill_no in row.bills.split():
            told.setdefault(bill_no, []).append(row)
    decided = select(bill_left.c.bill_no, func.max(bill_left.c.restated_no).label("newest")).group_by(bill_left.c.bill_no)
    left = {row.bill_no: row.newest for row in conn.execute(decided)}
    newer = {bill_no: [x for x in rows if x.restated_no > left.get(bill_no, 0)] for bill_no, rows in told.items()}
    query = select(b.bill_no, b.account_no, b.kind, b.from_ms, b.to_ms).where(b.cancelled_ms.is_(None))
    mine = query if account_no is None else query.where(b.account_no == account_no)
    asked = sorted(bill_no for bill_no, rows in newer.items() if rows)
    found = [row for first in range(0, len(asked), ASKED_AT_ONCE)
             for row in conn.execute(mine.where(b.bill_no.in_(asked[first : first + ASKED_AT_ONCE])))]  # fmt: skip
    return tuple(_proposal(row, newer[row.bill_no]) for row in sorted(found, key=lambda row: (row.from_ms, row.bill_no)))


def _proposal(row: Any, rows: list[Any]) -> Proposal:
    return Proposal(
        row.bill_no, row.account_no, BillKind(row.kind), row.from_ms, row.to_ms, len({x.day for x in rows}),
        sum(x.new_total - x.old_total for x in rows), min(x.at_ms for x in rows), max(x.restated_no for x in rows),
    )  # fmt: skip


def leave(conn: Connection, bill_no: str, at_ms: int, actor: str, note: str) -> None:
    """The bill stands although its data were restated. Raises RefusedCommand where nothing waits for it."""
    waits = next((p for p in proposals(conn) if p.bill_no == bill_no), None)
    if waits is None:
        store.load_bill(conn, bill_no)
        raise RefusedCommand(BillReason.NOTHING_RESTATED, f"no data of bill {bill_no} were restated since anybody looked")
    conn.execute(insert(bill_left).values(bill_no=bill_no, restated_no=waits.newest_no, actor=actor, note=note, at_ms=at_ms))
    record(conn, at_ms, actor, "bill.left", f"account:{waits.account_no}", f"{bill_no}: {note}")


def rebill(conn: Connection, bill_no: str, at_ms: int, actor: str, note: str) -> tuple[Rebilled, ...]:
    """Cancel a bill and make it again from the data of now, and the later ones that depend on it. Raises RefusedCommand where it is no
    bill that stands, where nothing on it would be another amount, or where it is too late for more."""
    account = account_of(conn, store.load_bill(conn, bill_no).bill.party.account_no)
    hold(conn, account)
    view = _standing(conn, bill_no)
    made = tuple(_again(conn, account, store.standing_from(conn, account.account_no, view.bill.from_ms), bill_no, at_ms, actor, note))
    if sum(one.now_nano - one.was_nano for one in made) > 0:
        for one in made:
            check_may_rise(conn, account, store.load_bill(conn, one.old_no), one.now_nano - one.was_nano, at_ms)
    for one in made:
        record(conn, at_ms, actor, "bill.rebilled", f"account:{account.account_no}", f"{one.old_no} by {one.new_no}: {note}")
    return made


def _standing(conn: Connection, bill_no: str) -> BillView:
    view = store.load_bill(conn, bill_no)
    if view.bill.kind is BillKind.STATEMENT:
        raise RefusedCommand(BillReason.NOT_A_BILL, f"{bill_no} is the statement of a prepaid account: correct its journal with "
                             "gridtally-mdm correct; the next statement shows it")  # fmt: skip
    if view.state is BillState.CANCELLED:
        raise RefusedCommand(BillReason.CANCELLED, f"{bill_no} is cancelled already; {view.cancelled_by} stands in its place")
    return view


def _again(conn: Connection, account: Account, numbers: Iterable[str], asked: str, at_ms: int, actor: str, note: str
           ) -> Iterable[Rebilled]:  # fmt: skip
    coin = 10 ** (9 - minor_digits(account.currency))
    for bill_no in numbers:
        old = store.load_bill(conn, bill_no).bill
        inputs = store.bill_inputs(conn, account, old.from_ms, old.to_ms, estimate=old.tail is not None)
        was_nano, now_nano = total_nano(old.lines), total_nano(charges(inputs))
        if bill_no == asked and was_nano == now_nano:
            raise RefusedCommand(BillReason.NOTHING_CHANGED, f"{bill_no} would come to the same amount with the data of now: it stands")
        if bill_no == asked or abs(now_nano - was_nano) >= coin:
            if now_nano < was_nano:
                take_back_of_period(conn, account, old.from_ms, old.to_ms, at_ms, actor, f"{bill_no} comes to less")
            inputs = store.with_books(conn, account, inputs, at_ms)
            yield Rebilled(bill_no, _replace(conn, account, bill_no, inputs, at_ms, note), was_nano, now_nano)


def _replace(conn: Connection, account: Account, bill_no: str, inputs: BillInputs, at_ms: int, note: str) -> str:
    """Cancelled, taken back in the books, made again and owed."""
    before_nano = receivables.outstanding_nano(conn, account.account_no)
    back_nano = store.charged_nano(conn, bill_no)
    why = correction(bill_no, back_nano, store.load_bill(conn, bill_no).bill, charges(inputs), inputs.days, note)
    store.cancel(conn, bill_no, at_ms)
    receivables.post_cancelled(conn, account, back_nano, bill_no, at_ms)
    made = postpaid_bill(inputs, why)
    new_nano = made.closing_nano - (before_nano - back_nano)
    new_no = store.save_bill(conn, made, new_nano, at_ms, at_ms + DUE_AFTER_MS)
    receivables.post_bill(conn, account, new_nano, new_no, at_ms)
    store.replaced(conn, bill_no, new_no)
    return new_no
