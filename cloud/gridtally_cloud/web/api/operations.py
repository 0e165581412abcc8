"""Every operation of the API, once: the routes and the OpenAPI document are both made from this table.

* `scope` is what a token needs; '' is open to all. `paged` adds `cursor` and `limit`, `span` adds `from` and `to`.
* Money is a decimal string, time RFC 3339 in UTC, energy integer Wh. A missing value is null, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` is in Flask's form; `body` names the request schema, `answer` the schema of one item. `keyed`: a POST needs an
    Idempotency-Key; `export`: `direction=export` asks for what went back to the grid; `table`: `format=csv` answers a table."""

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
    table: bool = False


OPERATIONS: tuple[Operation, ...] = (
    Operation("openapi", "GET", "/openapi.json", "", "This document", "OpenApi"),
    Operation("meters", "GET", "/meters", "meters:read", "Meters by number", "Meter", paged=True),
    Operation("meter", "GET", "/meters/<int:meter_no>", "meters:read", "One meter", "Meter"),
    Operation("readings", "GET", "/meters/<int:meter_no>/readings", "readings:read",
              "Stored register samples and momentary values, oldest first", "Reading", paged=True, span=True),
    Operation("daily", "GET", "/meters/<int:meter_no>/daily", "readings:read",
              "One record a day: registers at midnight, power and power factor then, events of the day", "Daily", span=True),
    Operation("intervals", "GET", "/meters/<int:meter_no>/intervals", "readings:read",
              "Consumption by interval, what went back to the grid, or what is left (direction); missing ones are null", "Interval",
              paged=True, span=True, export=True),
    Operation("meter_events", "GET", "/meters/<int:meter_no>/events", "events:read", "Events of one meter, newest first",
              "Event", paged=True, span=True),
    Operation("events", "GET", "/events", "events:read", "Events of the fleet, newest first", "Event", paged=True, span=True),
    Operation("account_events", "GET", "/accounts/<int:account_no>/events", "events:read",
              "Events of every meter an account had, while it had it, newest first", "Event", paged=True, span=True),
    Operation("create_command", "POST", "/meters/<int:meter_no>/commands", "commands:write",
              "Order a command; needs an Idempotency-Key header, so that a repetition is the same command", "Command", 202,
              body="NewCommand"),
    Operation("meter_settings", "GET", "/meters/<int:meter_no>/settings", "meters:read",
              "Settings of a meter: what is wanted, what was read back, and how far each is", "Setting"),
    Operation("write_settings", "POST", "/meters/<int:meter_no>/settings", "settings:write",
              "Order settings; needs an Idempotency-Key header. The answer's Location is the command", "Setting", 202,
              body="NewSettings"),
    Operation("create_campaign", "POST", "/settings-campaigns", "settings:write",
              "The same settings for many meters; the same `name` again orders nobody twice", "Campaign", 202, body="NewCampaign",
              keyed=False),
    Operation("campaign", "GET", "/settings-campaigns/<name>", "meters:read", "How far a campaign is, by state and meter",
              "Campaign"),
    Operation("meter_places", "GET", "/meters/<int:meter_no>/places", "meters:read",
              "Every place a meter had in the networks, newest first", "Place"),
    Operation("topology_now", "GET", "/topology", "meters:read",
              "Where the meters are now; `dcu` narrows to one concentrator and adds its nodes", "Place"),
    Operation("event_groups", "GET", "/event-groups", "events:read",
              "How often each event came, `by` driver, maker, model, firmware, commodity or dcu; `format=csv` for a table", "EventGroup",
              span=True, table=True),
    Operation("chronic_failures", "GET", "/chronic-failures", "events:read",
              "Meters on which the same event came `least` times or more (5 in 30 days)", "Chronic", span=True),
    Operation("power_quality", "GET", "/meters/<int:meter_no>/power-quality", "readings:read",
              "Power quality of a meter: newest values with their moments, sags, swells and interruptions, and how many", "PowerQuality",
              span=True),
    Operation("load_violations", "GET", "/load-violations", "events:read",
              "Load above its limit, newest first: meter, maximum demand, limit, time", "LoadViolation", paged=True, span=True),
    Operation("meter_commands", "GET", "/meters/<int:meter_no>/commands", "commands:read",
              "The last commands to a meter with the steps of their lives, newest first", "Command"),
    Operation("command", "GET", "/commands/<cmd_id>", "commands:read", "A command and the steps of its life", "Command"),
    Operation("cancel_command", "POST", "/commands/<cmd_id>/cancel", "commands:write",
              "Take a command back; after it was sent the edge decides who was first", "Command", 202, keyed=False),
    Operation("move_command", "POST", "/commands/<cmd_id>/move", "commands:write",
              "Another time for a command that waits; the answer is the command that stands now", "Command", 202, body="NewTime",
              keyed=False),
    Operation("account_schedules", "GET", "/accounts/<int:account_no>/schedules", "commands:read",
              "Schedules an account asked for or that are held at its supply", "Schedule"),
    Operation("create_schedule", "POST", "/accounts/<int:account_no>/schedules", "commands:write",
              "Book a time frame (programme A) or an event (B); needs an Idempotency-Key header. 409 names the schedule in the way",
              "Schedule", 202, body="NewSchedule"),
    Operation("schedule", "GET", "/schedules/<int:schedule_no>", "commands:read", "One schedule", "Schedule"),
    Operation("cancel_schedule", "POST", "/schedules/<int:schedule_no>/cancel", "commands:write",
              "Take a schedule back, or end it now when it runs", "Schedule", 202, keyed=False),
    Operation("move_schedule", "POST", "/schedules/<int:schedule_no>/move", "commands:write", "Another time for a schedule",
              "Schedule", 202, body="NewSpan", keyed=False),
    Operation("send_schedule", "POST", "/schedules/<int:schedule_no>/send", "commands:write",
              "To the concentrator now, whatever its start", "Schedule", 202, keyed=False),
    Operation("accounts", "GET", "/accounts", "accounts:read", "Accounts by number", "Account", paged=True),
    Operation("account", "GET", "/accounts/<int:account_no>", "accounts:read", "One account", "Account"),
    Operation("convert_account", "POST", "/accounts/<int:account_no>/mode", "accounts:write",
              "Another way of paying, from the end of the present recording interval on", "Handover", 202, body="NewMode", keyed=False),
    Operation("swap_account_meter", "POST", "/accounts/<int:account_no>/meter", "accounts:write",
              "Another meter behind the account; money and history stay with it", "Handover", 202, body="NewMeter", keyed=False),
    Operation("replace_account_dcu", "POST", "/accounts/<int:account_no>/dcu", "accounts:write",
              "Another concentrator for the account; the old one can write no more", "Handover", 202, body="NewDcu", keyed=False),
    Operation("tariff_confirmations", "GET", "/tariffs/<tariff_id>/versions/<int:version>/confirmations", "accounts:read",
              "For each account of the tariff: when it was told, when the version was in force, when the consumer viewed it",
              "TariffConfirmation"),
    Operation("migrations", "GET", "/accounts/<int:account_no>/migrations", "accounts:read",
              "Requests to move between bills and prepayment, newest first", "Migration"),
    Operation("create_migration", "POST", "/accounts/<int:account_no>/migrations", "accounts:write",
              "Move a consumer to prepaid or postpaid, step by step; needs an Idempotency-Key header", "Migration", 202,
              body="NewMigration"),
    Operation("migration", "GET", "/migrations/<int:migration_no>", "accounts:read", "One migration and how far it is", "Migration"),
    Operation("report_no_power", "POST", "/accounts/<int:account_no>/no-power", "orders:write",
              "The customer has no power: a case, and a test of the supply at once. Again, while it is open, is the same case", "WorkOrder",
              202, body="", keyed=False),
    Operation("limit_for_arrears", "POST", "/accounts/<int:account_no>/arrears-limit", "accounts:write",
              "Limit the load of who owes bills: told now, limited after `hours`, lifted by payment", "ArrearsLimit", 202,
              body="NewArrearsLimit", keyed=False),
    Operation("limit_load", "POST", "/accounts/<int:account_no>/limit", "commands:write",
              "A load limit in watts, by a signed order; 0 lifts it", "LimitOrdered", 202, body="NewLimit", keyed=False),
    Operation("orders", "GET", "/orders", "orders:read", "Work orders and cases; `state` is open, done or dropped", "WorkOrder"),
    Operation("work_order", "GET", "/orders/<int:order_no>", "orders:read", "One work order", "WorkOrder"),
    Operation("close_work_order", "POST", "/orders/<int:order_no>/close", "orders:write",
              "The work is done, or dropped; an installation's report has meter_serial, transformer, feeder, register_wh", "WorkOrder",
              body="CloseOrder", keyed=False),
    Operation("create_inquiry", "POST", "/usage-points/<int:usage_point_no>/inquiries", "inquiries:write",
              "Balance inquiry of the retailer of record; needs an Idempotency-Key header. 403: not its retailer, 422: more than 48 h "
              "of raw data, 429: the day's number is used up (Retry-After)", "Inquiry", 202, body="NewInquiry"),
    Operation("inquiry", "GET", "/inquiries/<int:request_no>", "inquiries:write",
              "An inquiry: validated consumption, raw intervals once they are there, the bill to now", "Inquiry"),
    Operation("completeness", "GET", "/completeness", "readings:read",
              "Expected, received, estimated, missing and late intervals by local day (`from`, `to`: 2026-11-21), meter and channel; "
              "`meter_no` narrows", "Completeness", span=True),
    Operation("data_requests", "GET", "/data-requests", "readings:read", "What was asked of meters for missing data, newest first",
              "DataRequest", paged=True),
    Operation("webhooks", "GET", "/webhooks", "webhooks:write", "Receivers of notices", "Webhook"),
    Operation("create_webhook", "POST", "/webhooks", "webhooks:write",
              "Add a receiver; the answer has the secret its notices are signed with, this once", "Webhook", 201, body="NewWebhook",
              keyed=False),
    Operation("end_webhook", "POST", "/webhooks/<int:webhook_no>/end", "webhooks:write", "Tell a receiver no more", "Webhook", keyed=False),
    Operation("webhook_notices", "GET", "/webhooks/<int:webhook_no>/notices", "webhooks:write",
              "The last notices to a receiver, newest first", "WebhookNotice"),
    Operation("send_notice_again", "POST", "/webhook-notices/<int:notice_no>/send", "webhooks:write", "A notice once more", "WebhookNotice",
              202, keyed=False),
    Operation("prepay_requests", "GET", "/accounts/<int:account_no>/prepay-requests", "accounts:read",
              "Requests to prepay, newest first", "PrepayRequest"),
    Operation("create_prepay_request", "POST", "/accounts/<int:account_no>/prepay-requests", "accounts:write",
              "Ask to prepay; needs an Idempotency-Key header. 422 names a missing field, 403: the credentials are not the account's",
              "PrepayRequest", 202, body="NewPrepayRequest"),
    Operation("acknowledge_prepay_request", "POST", "/prepay-requests/<int:request_no>/acknowledge", "accounts:write",
              "A representative has seen the confirmation; the first one stands", "PrepayRequest", body="", keyed=False),
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
    Operation("estimate", "GET", "/accounts/<int:account_no>/estimate", "accounts:read",
              "What a time ahead is expected to use and cost; without `to` up to the end of the bill cycle", "Estimate", span=True),
    Operation("station_account", "GET", "/station/accounts/<name>", "station:write",
              "Pay station: the account of an exact account number or meter serial, its name masked", "StationQuote"),
    Operation("station_quote", "POST", "/station/quotes", "station:write",
              "Pay station: what an amount would do, refused as the payment would be", "StationQuote", body="NewStationQuote", keyed=False),
    Operation("station_pay", "POST", "/station/payments", "station:write",
              "Pay station: book money now. Needs an Idempotency-Key header; the same key again is the same payment", "StationReceipt",
              201, body="NewStationPayment"),
    Operation("station_receipt", "GET", "/station/payments/<int:payment_no>", "station:write",
              "Pay station: one of its own payments and how far the credit is", "StationReceipt"),
    Operation("station_reverse", "POST", "/station/payments/<int:payment_no>/reversal", "station:write",
              "Pay station: take a whole payment back, within 30 minutes and before the day is closed; again is the same reversal",
              "StationReceipt", body="NewReversal", keyed=False),
    Operation("station_day", "GET", "/station/days/<name>", "station:write",
              "Pay station: a business day such as 2026-11-22 and its totals; `format=csv` for the file", "StationDay", table=True),
    Operation("station_close", "POST", "/station/days/<name>/close", "station:write",
              "Pay station: close a business day; its file then stands, and again gives the same", "StationDay", keyed=False),
)  # fmt: skip

BY_NAME: dict[str, Operation] = {o.name: o for o in OPERATIONS}
