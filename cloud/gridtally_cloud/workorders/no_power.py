"""A customer has no power: a case, a test of the supply at once, and where the test fails people are sent without a hand.

* Reported by the customer on the portal, by the desk for him, or by another program. One case is open for an account at a time.
* The meter is asked (TEST_SUPPLY) as the case opens. A silent, dead or broken supply, or no answer at all, opens a field order and a
  trouble order. A supply that is off or armed is nobody's fault yet: the desk sees why it is off and may order it on.
* A supply that is still off after the test passed, or an order to switch it on that failed, opens the same two orders. So does a
  home that is owed its supply and whose switch does not close (event restore_delayed), unless its meter told since that it is on.
* The case is closed by a person.

Source: seed 002 L283-289: C3-A3.1, A3.4, A3.6, A3.9, A3.10.
"""

from __future__ import annotations

import contextlib
import secrets

from sqlalchemy import Connection, select

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands import states
from gridtally_cloud.commands.model import CommandRequest, CommandView
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import command, event, meter_status
from gridtally_cloud.workorders.service import OrderKind, OrderState, WorkOrder, hold_orders, open_order, order, orders
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.events import BY_NAME
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.signing import Signer
from gridtally_shared.supply_test import ARMED, CLOSED, SupplyTest, Verdict

ACTOR = "system:no-power"
NOBODYS_FAULT = frozenset({Verdict.PASSED, Verdict.OFF, Verdict.ARMED})


def report(conn: Connection, signer: Signer, account_no: int, at_ms: int, by: str) -> WorkOrder:
    """Take the report in and test the supply; the case. Raises RefusedCommand (unknown_account)."""
    account = account_of(conn, account_no)
    case = open_order(conn, OrderKind.NO_POWER, account_no, secrets.token_hex(8), "reported", at_ms, by)
    request = CommandRequest(account.meter_no, CommandType.TEST_SUPPLY, ACTOR, f"case {case.order_no}", _key(case))
    try:
        with conn.begin_nested():
            commanding.issue(conn, signer, request, at_ms)
    except RefusedCommand as refused:
        send_people(conn, account_no, f"case {case.order_no}", "not_testable", at_ms, refused.detail)
    return case


def still_dark(conn: Connection, case: WorkOrder, at_ms: int, by: str) -> tuple[WorkOrder, WorkOrder]:
    """The supply is still off, whatever the test said: send people."""
    return send_people(conn, case.account_no, f"case {case.order_no}", "still_no_power", at_ms, f"said {by}")


def send_people(conn: Connection, account_no: int, ref: str, reason: str, at_ms: int, detail: str = "") -> tuple[WorkOrder, WorkOrder]:
    """A field order and a trouble order."""
    field = open_order(conn, OrderKind.FIELD, account_no, ref, reason, at_ms, ACTOR, detail)
    return field, open_order(conn, OrderKind.TROUBLE, account_no, ref, reason, at_ms, ACTOR, detail)


def judge(db: Database, now_ms: int) -> None:
    """The worker's part: what the tests of open cases, and orders to switch on, came to."""
    with db.read() as conn:
        cases, failed = _cases(conn), (*_failed_closes(conn, now_ms), *_delayed_restores(conn, now_ms))
    if not cases and not failed:
        return
    with db.write() as conn:
        for case, test in cases:
            hold_orders(conn, case.account_no)
            reason = fault_of(test)
            if reason and order(conn, case.order_no).is_open:
                send_people(conn, case.account_no, f"case {case.order_no}", reason, now_ms)
        for account_no, ref in failed:
            send_people(conn, account_no, ref, "restore_failed", now_ms)


def open_case(conn: Connection, account_no: int) -> WorkOrder | None:
    """The case of an account that is not over."""
    found = orders(conn, OrderState.OPEN, account_no)
    return next((o for o in found if o.kind is OrderKind.NO_POWER), None)


def test_of(conn: Connection, case: WorkOrder) -> CommandView | None:
    """The test a case asked for."""
    cmd_id = conn.execute(select(command.c.cmd_id).where(command.c.idempotency_key == _key(case))).scalar_one_or_none()
    return states.find(conn, bytes(cmd_id)) if cmd_id else None


def fault_of(test: CommandView | None) -> str:
    """Why somebody must go, by the test of a supply; '' while it runs and where nothing is wrong at the meter."""
    if test is None or not test.ended:
        return ""
    with contextlib.suppress(ContractError):
        verdict = decode(SupplyTest, test.result).verdict
        return "" if verdict in NOBODYS_FAULT else f"test_{verdict.value}"
    return "test_unanswered"


def _key(case: WorkOrder) -> str:
    return f"no-power:{case.order_no}"


def _cases(conn: Connection) -> list[tuple[WorkOrder, CommandView]]:
    """Open cases whose test says that somebody must go, and nobody was sent yet."""
    found = [(case, test_of(conn, case)) for case in orders(conn, OrderState.OPEN) if case.kind is OrderKind.NO_POWER]
    bad = [(case, test) for case, test in found if test and fault_of(test)]
    return [(case, test) for case, test in bad if not _was_sent(conn, case.account_no, f"case {case.order_no}")]


LOOK_BACK_MS = 86_400_000
LOST = (int(CommandState.FAILED), int(CommandState.EXPIRED))
DELAYED = BY_NAME["restore_delayed"].code
ON = (CLOSED, ARMED)
"""It is on, or waits for its button (MeterStatus.switch)."""


def _failed_closes(conn: Connection, now_ms: int) -> list[tuple[int, str]]:
    """Orders to switch a supply on that came to nothing, and nobody was sent for: account, and which command."""
    c, a = command.c, account_table.c
    query = select(a.account_no, c.cmd_id).join(account_table, (a.meter_no == c.meter_no) & a.closed_ms.is_(None))
    lost = query.where(c.type == int(CommandType.SWITCH_CLOSE), c.state.in_(LOST), c.state_at_ms > now_ms - LOOK_BACK_MS)
    return _unsent(conn, [(row.account_no, f"command {row.cmd_id.hex()}") for row in conn.execute(lost)])


def _delayed_restores(conn: Connection, now_ms: int) -> list[tuple[int, str]]:
    """Homes whose concentrator tries to bring the supply back and can not, and nobody was sent for: account, and which event."""
    e, s, a = event.c, meter_status.c, account_table.c
    not_on = select(s.meter_no).where(s.shard == SHARD, ~(s.answering & s.switch.in_(ON)))
    told = select(a.account_no, e.event_no).join(account_table, (a.meter_no == e.meter_no) & a.closed_ms.is_(None))
    told = told.where(e.shard == SHARD, e.meter_no.in_(not_on), e.at_ms > now_ms - LOOK_BACK_MS, e.code == DELAYED)
    return _unsent(conn, [(row.account_no, f"event {row.event_no}") for row in conn.execute(told)])


def _unsent(conn: Connection, found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [(account_no, ref) for account_no, ref in found if not _was_sent(conn, account_no, ref)]


def _was_sent(conn: Connection, account_no: int, ref: str) -> bool:
    return any(o.kind is OrderKind.TROUBLE and (o.is_open or o.ref == ref) for o in orders(conn, account_no=account_no))
