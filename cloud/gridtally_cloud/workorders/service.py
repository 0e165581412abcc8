"""Work orders: opened by the system or a person, once for the same thing, closed by a person with what came of it.

* A kind is a row of `KINDS`; a new one is a row more, and words for the page.
* One order of a kind is open for an account at a time: what happens meanwhile is the same trouble.
* Each is told to other systems when it opens and when it closes (integrations/webhooks.py), so work force management can take it over.
* A report has what its kind asks for; one with a field missing or unreadable is refused and names it. The first close stands.
* Of one account one transaction opens or closes at a time: two at once open one order, and none is found open that is being closed. Who
  also needs the account, its books or data takes those before.

Source: BYPL-13.3, BYPL-13.4, C3-A3.1, C3-A3.10; prepayment.md 5.9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.grid.register import take_report
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.store.db import in_turn
from gridtally_cloud.workorders.tables import work_order
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

ReportValue = str | int | None
Report = Mapping[str, ReportValue]


class OrderKind(StrEnum):
    """NO_POWER is a case of the desk, the others are work somewhere."""

    NO_POWER = "no_power"
    FIELD = "field"
    TROUBLE = "trouble"
    INSTALL_PREPAID = "install_prepaid"
    BILL_REVIEW = "bill_review"
    BALANCE_REVIEW = "balance_review"
    MIGRATION_REVIEW = "migration_review"
    MODE_REVIEW = "mode_review"


class OrderState(StrEnum):
    OPEN = "open"
    DONE = "done"
    DROPPED = "dropped"


class OrderReason(StrEnum):
    UNKNOWN_ORDER = "unknown_order"
    CLOSED = "order_closed"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"


@dataclass(frozen=True, slots=True)
class Kind:
    """`report` names the fields a report of work done must have: 'text' or 'wh' (whole Wh from zero up)."""

    report: Mapping[str, str]


KINDS: Mapping[OrderKind, Kind] = {kind: Kind({}) for kind in OrderKind} | {
    OrderKind.INSTALL_PREPAID: Kind({"meter_serial": "text", "transformer": "text", "feeder": "text", "register_wh": "wh"}),
}


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """`reason` is a code the page has words for, `detail` a sentence beside it, `result` what the report said."""

    order_no: int
    kind: OrderKind
    ref: str
    account_no: int
    meter_no: int | None
    reason: str
    detail: str
    state: OrderState
    opened_by: str
    opened_ms: int
    closed_by: str
    closed_ms: int | None
    note: str
    result: dict[str, ReportValue]

    @property
    def is_open(self) -> bool:
        return self.state is OrderState.OPEN


def open_order(conn: Connection, kind: OrderKind, account_no: int, ref: str, reason: str, at_ms: int, by: str,
               detail: str = "") -> WorkOrder:  # fmt: skip
    """Order work; where one of the kind is open for the account, or was ordered for the same `ref`, that one."""
    hold_orders(conn, account_no)
    known = _same(conn, kind, account_no, ref)
    if known is not None:
        return known
    row = {"kind": kind.value, "ref": ref, "account_no": account_no, "meter_no": account_of(conn, account_no).meter_no, "reason": reason,
           "detail": detail[:300], "state": OrderState.OPEN.value, "opened_by": by, "opened_ms": at_ms}  # fmt: skip
    number = conn.execute(insert(work_order).values(row).returning(work_order.c.order_no)).scalar_one()
    record(conn, at_ms, by, "order.opened", f"account:{account_no}", f"{kind.value} {number}, {reason}")
    found = order(conn, number)
    _tell(conn, Topic.ORDER_OPENED, found, at_ms)
    return found


def hold_orders(conn: Connection, account_no: int) -> None:
    """Until the end of the transaction nobody else opens or closes an order of the account."""
    in_turn(conn, f"orders of {account_no}")


def _same(conn: Connection, kind: OrderKind, account_no: int, ref: str) -> WorkOrder | None:
    w = work_order.c
    standing = (w.account_no == account_no) & (w.state == OrderState.OPEN.value)
    query = select(work_order).where(w.kind == kind.value, standing | (w.ref == ref)).order_by(w.order_no.desc()).limit(1)
    row = conn.execute(query).one_or_none()
    return _order(row) if row is not None else None


def close_order(conn: Connection, order_no: int, at_ms: int, by: str, note: str = "", result: Report | None = None,
                state: OrderState = OrderState.DONE) -> WorkOrder:  # fmt: skip
    """The work is done, or dropped. Raises RefusedCommand (unknown_order, order_closed, missing_field, bad_field; of an installation
    also unknown_transformer, wrong_feeder, bad_name)."""
    hold_orders(conn, order(conn, order_no).account_no)
    found = order(conn, order_no)
    if not found.is_open:
        raise RefusedCommand(OrderReason.CLOSED, f"order {order_no} was closed by {found.closed_by} already")
    report = dict(result or {})
    if state is OrderState.DONE:
        _check(found.kind, report)
        if found.kind is OrderKind.INSTALL_PREPAID:
            take_report(conn, account_of(conn, found.account_no).usage_point_no, report, at_ms, by)
    values = {"state": state.value, "closed_by": by, "closed_ms": at_ms, "note": note.strip()[:300], "result": json.dumps(report)}
    conn.execute(update(work_order).where(work_order.c.order_no == order_no).values(values))
    record(conn, at_ms, by, f"order.{state.value}", f"account:{found.account_no}", f"{found.kind.value} {order_no}")
    closed = order(conn, order_no)
    _tell(conn, Topic.ORDER_CLOSED, closed, at_ms)
    return closed


def _check(kind: OrderKind, report: dict[str, ReportValue]) -> None:
    for name, form in KINDS[kind].report.items():
        value = report.get(name)
        if value is None or value == "":
            raise RefusedCommand(OrderReason.MISSING_FIELD, f"{name}: missing; the report of this work has {', '.join(KINDS[kind].report)}")
        good = isinstance(value, str) if form == "text" else isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not good:
            raise RefusedCommand(OrderReason.BAD_FIELD, f"{name}: write {'a text' if form == 'text' else 'whole Wh from zero up'}")


def _tell(conn: Connection, topic: Topic, found: WorkOrder, at_ms: int) -> None:
    account = account_of(conn, found.account_no)
    announce(conn, topic, f"order {found.order_no}", at_ms, f"/orders/{found.order_no}", {
        "order_no": found.order_no, "kind": found.kind.value, "state": found.state.value, "reason": found.reason,
        "account_no": found.account_no, "customer": account.customer_name, "address": account.address, "meter_no": found.meter_no,
        "meter_serial": account.meter_serial,
    })  # fmt: skip


# ---- as pages show them ---------------------------------------------------------------------------------------------


def order(conn: Connection, order_no: int) -> WorkOrder:
    """Raises RefusedCommand (unknown_order)."""
    row = conn.execute(select(work_order).where(work_order.c.order_no == order_no)).one_or_none()
    if row is None:
        raise RefusedCommand(OrderReason.UNKNOWN_ORDER, f"there is no order {order_no}")
    return _order(row)


def orders(conn: Connection, state: OrderState | None = None, account_no: int | None = None, limit: int = 200) -> tuple[WorkOrder, ...]:
    """Open ones oldest first, others newest first."""
    w = work_order.c
    query = select(work_order).order_by(w.order_no if state is OrderState.OPEN else w.order_no.desc()).limit(limit)
    query = query.where(w.state == state.value) if state is not None else query
    query = query.where(w.account_no == account_no) if account_no is not None else query
    return tuple(_order(row) for row in conn.execute(query))


def _order(r: Row[Any]) -> WorkOrder:
    return WorkOrder(r.order_no, OrderKind(r.kind), r.ref, r.account_no, r.meter_no, r.reason, r.detail, OrderState(r.state), r.opened_by,
                     r.opened_ms, r.closed_by, r.closed_ms, r.note, json.loads(r.result))  # fmt: skip
