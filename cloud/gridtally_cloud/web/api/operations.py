"""Every operation of the API, once: the routes and the OpenAPI document are both made from this table.

* `scope` is what a token needs; '' is open to all. `paged` adds `cursor` and `limit`, `span` adds `from` and `to`.
* Money is a decimal string, time RFC 3339 in UTC, energy integer Wh. A missing value is null, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` is in Flask's form; `body` names the request schema, `answer` the schema of one item. `keyed`: a POST needs an
    Idempotency-Key; `export`: `direction=export` asks for what went back to the grid."""

    name: str
    method: str
    path: str
    scope: str
    summary: str
    answer: str
    status: int = 200
    paged: bool = False
    span: bool = False
    body: str = ""
    keyed: bool = True
    export: bool = False


OPERATIONS: tuple[Operation, ...] = (
    Operation("openapi", "GET", "/openapi.json", "", "This document", "OpenApi"),
    Operation("meters", "GET", "/meters", "meters:read", "Meters by number", "Meter", paged=True),
    Operation("meter", "GET", "/meters/<int:meter_no>", "meters:read", "One meter", "Meter"),
    Operation("readings", "GET", "/meters/<int:meter_no>/readings", "readings:read",
              "Stored register samples and momentary values, oldest first", "Reading", paged=True, span=True),
    Operation("intervals", "GET", "/meters/<int:meter_no>/intervals", "readings:read",
              "Consumption by interval, or what went back to the grid, oldest first; missing intervals are null", "Interval",
              paged=True, span=True, export=True),
    Operation("meter_events", "GET", "/meters/<int:meter_no>/events", "events:read", "Events of one meter, newest first",
              "Event", paged=True, span=True),
    Operation("events", "GET", "/events", "events:read", "Events of the fleet, newest first", "Event", paged=True, span=True),
    Operation("create_command", "POST", "/meters/<int:meter_no>/commands", "commands:write",
              "Order a command; needs an Idempotency-Key header, so that a repetition is the same command", "Command", 202,
              body="NewCommand"),
    Operation("command", "GET", "/commands/<cmd_id>", "commands:read", "A command and the steps of its life", "Command"),
    Operation("accounts", "GET", "/accounts", "accounts:read", "Accounts by number", "Account", paged=True),
    Operation("account", "GET", "/accounts/<int:account_no>", "accounts:read", "One account", "Account"),
    Operation("balance", "GET", "/accounts/<int:account_no>/balance", "accounts:read",
              "Balance as the edge last reported it, with sequence and time, and money on its way", "Balance"),
    Operation("ledger", "GET", "/accounts/<int:account_no>/ledger", "accounts:read", "Journal entries, newest first",
              "LedgerLine", paged=True),
    Operation("bills", "GET", "/accounts/<int:account_no>/bills", "bills:read", "Bills and statements, newest first",
              "Bill", paged=True),
    Operation("create_payment", "POST", "/accounts/<int:account_no>/payments", "cash:write",
              "Post money taken at a pay station, in real time; the same `reference` again is the same payment", "Payment", 201,
              body="NewPayment", keyed=False),
    Operation("create_order", "POST", "/accounts/<int:account_no>/orders", "payments:write",
              "Order a recharge; pay it at `pay_path`. Needs an Idempotency-Key header", "Order", 201, body="NewOrder"),
    Operation("order", "GET", "/accounts/<int:account_no>/orders/<order_id>", "accounts:read",
              "A recharge and how far its credit is", "Order"),
)  # fmt: skip

BY_NAME: dict[str, Operation] = {o.name: o for o in OPERATIONS}
