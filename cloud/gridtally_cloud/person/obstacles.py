"""What stands against an erasure: whatever is open between the person and the utility. Each in one sentence with what to do next.

What waits in a state is a row of `WAITS`; money is asked of the books.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, false, func, or_, select

from gridtally_cloud.billing.deposits import held_nano
from gridtally_cloud.billing.rebill import proposals
from gridtally_cloud.billing.receivables import due_of_bills, outstanding_nano
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account
from gridtally_cloud.person.held import BY_NAME
from gridtally_cloud.person.links import Person, rows_of
from gridtally_cloud.prepay.instrument_tables import shared_wallet, wallet_entry, wallet_member
from gridtally_cloud.prepay.wallet import ledger_state, pending_nano
from gridtally_cloud.store.schema import metadata
from gridtally_shared.money import display
from gridtally_shared.records import dataclass

DISPUTED = "dispute"


@dataclass(frozen=True, slots=True)
class Wait:
    """Rows of a table that are open in one of these states; None: where the column is empty."""

    table: str
    column: str
    states: tuple[str | None, ...]
    text: str


WAITS: tuple[Wait, ...] = (
    Wait("account", "closed_ms", (None,), "account {account_no} is open: issue its last bill, then 'gridtally-mdm person "
         "moved-out {account_no}'"),
    Wait("work_order", "state", ("open",), "work order {order_no} ({kind}) of account {account_no} is open: close it on the page of work"),
    Wait("arrangement", "ended", ("",), "arrangement {arrangement_no} of account {account_no} runs: have it paid, then 'gridtally-mdm "
         "arrangement check'; or 'gridtally-mdm arrangement cancel {account_no}'"),
    Wait("assessment", "state", ("proposed",), "assessment {assessment_no} of account {account_no} waits: 'gridtally-mdm assessment "
         "approve' or 'refuse'"),
    Wait("arrears_limit", "state", ("told", "ordered"), "load limit {limit_no} of account {account_no} holds: 'gridtally-mdm arrears' "
         "lifts it"),
    Wait("mode_migration", "state", ("asked", "installing", "reading", "checking", "changing", "verifying"),
         "migration {migration_no} of account {account_no} is under way: let it end first"),
    Wait("prepay_request", "state", ("asked", "starting"), "request {request_no} to prepay at account {account_no} is under way: "
         "let it end"),
    Wait("payment_order", "state", ("created",), "order of payment {order_id} of account {account_no} waits: it is paid or expires by "
         "itself"),
    Wait("refund", "gateway_ref", ("",), "refund {refund_no} has not reached the gateway yet: the worker sends it"),
    Wait("schedule", "state", ("planned", "sent", "held", "running"), "schedule {schedule_no} of account {account_no} has not ended: "
         "cancel it in the portal, or wait"),
    Wait("consumer_message", "state", ("waiting",), "message {message_no} to account {account_no} waits to be sent: the worker sends it or "
         "gives it up"),
    Wait("webhook_notice", "state", ("waiting",), "notice {notice_no} to another system waits: it is taken or given up; see "
         "'gridtally-mdm webhook'"),
    Wait("vee_edit", "state", ("proposed", "leaving"), "edit {edit_no} of readings waits for a second person: 'gridtally-mdm vee'"),
    Wait("ledger_problem", "resolved_ms", (None,), "the journal of account {account_no} has stopped at entry {seq}: mend it first, see "
         "'gridtally-mdm ledger'"),
)  # fmt: skip


def obstacles(conn: Connection, person: Person) -> tuple[str, ...]:
    """One sentence each; none when the person may be erased."""
    accounts = tuple(account_of(conn, number) for number in person.accounts)
    money = (text for one in accounts for text in money_of(conn, one))
    return (*_waiting(conn, person, WAITS), *money, *_wallets(conn, person.accounts), *_claims(conn, person))


def open_at(conn: Connection, person: Person, account_no: int) -> tuple[str, ...]:
    """What stands against closing one account."""
    return (*_waiting(conn, person, WAITS[1:]), *money_of(conn, account_of(conn, account_no)), *_wallets(conn, (account_no,)))


def _waiting(conn: Connection, person: Person, waits: tuple[Wait, ...]) -> Iterator[str]:
    for wait in waits:
        table = metadata.tables[wait.table]
        column: Any = table.c[wait.column]
        is_open = or_(false(), *(column.is_(None) if state is None else column == state for state in wait.states))
        for row in conn.execute(select(table).where(rows_of(person, BY_NAME[wait.table]), is_open)):
            yield wait.text.format_map(dict(row._mapping))


def money_of(conn: Connection, one: Account) -> Iterator[str]:
    """Money owed either way by an account."""
    number, owed_nano, deposit_nano = one.account_no, outstanding_nano(conn, one.account_no), held_nano(conn, one.account_no)
    if owed_nano > 0:
        yield f"account {number} owes {display(owed_nano, one.currency)}: have it paid, or written off in the books, first"
    elif owed_nano < 0:
        yield f"account {number} is owed {display(-owed_nano, one.currency)}: give it back first"
    for bill_no, due in due_of_bills(conn, number).items():
        if due.rest_nano > 0:
            yield f"bill {bill_no} is open ({display(due.rest_nano, one.currency)}): it has to be paid or cancelled first"
    if deposit_nano:
        yield f"a deposit of {display(deposit_nano, one.currency)} is held for account {number}: 'gridtally-mdm deposit refund {number}'"
    yield from _prepaid(conn, one)


def _prepaid(conn: Connection, one: Account) -> Iterator[str]:
    number, state = one.account_no, ledger_state(conn, one.account_no, one.account_epoch) if one.is_prepaid else None
    if state and (state.balance_nano or state.debt_nano):
        yield f"the balance of prepaid account {number} is not zero: 'gridtally-mdm handover mode {number} postpaid', then its last bill"
    if pending_nano(conn, number):
        yield f"money of account {number} is on its way to the meter: wait until it has arrived"
    if DISPUTED in one.policy.holds:
        yield f"account {number} is in dispute (hold '{DISPUTED}'): settle it and take the hold away first"


def _wallets(conn: Connection, leaving: tuple[int, ...]) -> Iterator[str]:
    """A wallet with money, or short of it, on which nobody else lives."""
    w, m, a, e = shared_wallet.c, wallet_member.c, account.c, wallet_entry.c
    mine = select(m.wallet_no).where(m.account_no.in_(leaving))
    others = select(m.wallet_no).join(account, a.account_no == m.account_no).where(m.account_no.not_in(leaving), a.closed_ms.is_(None))
    holds = func.sum(e.amount_nano)
    left = select(w.wallet_no, w.currency, holds.label("nano")).join(wallet_entry, e.wallet_no == w.wallet_no)
    left = left.where(w.wallet_no.in_(mine), w.wallet_no.not_in(others)).group_by(w.wallet_no, w.currency).having(holds != 0)
    for row in conn.execute(left.order_by(w.wallet_no)):
        number, amount = row.wallet_no, display(abs(int(row.nano)), row.currency)
        if row.nano > 0:
            yield f"wallet {number} holds {amount} and nobody else lives on it: 'gridtally-mdm wallet pay-out {number}' first"
        else:
            yield f"wallet {number} lacks {amount} and nobody else lives on it: have it paid in first, 'gridtally-mdm wallet pay {number}'"


def _claims(conn: Connection, person: Person) -> Iterator[str]:
    for number in person.accounts:
        for waits in proposals(conn, number):
            yield f"bill {waits.bill_no} waits for a decision, its data were restated: 'gridtally-mdm rebill make' or 'leave'"

