"""JSON shapes of the API as OpenAPI schemas, in a short notation: field name to (type, meaning).

Types: string, integer, boolean, time, money, and `x?` for a value that may be null.
"""

from __future__ import annotations

from typing import Any

Fields = dict[str, tuple[str, str]]

SCHEMAS: dict[str, Fields] = {
    "Meter": {
        "meter_no": ("integer", "our number"), "serial": ("string", "number on the plate"), "dcu": ("string", "concentrator"),
        "address": ("string", "usage point"), "zone": ("string", "IANA time zone"), "interval_s": ("integer", "grid in seconds"),
        "account_no": ("integer?", "account served"), "answering": ("boolean?", "answered at the last sweep; null: never seen"),
        "supply": ("string", "on, off, armed, not_fitted, unknown"), "status_at": ("time?", "when that was reported"),
        "register_wh": ("integer?", "newest import register"), "register_at": ("time?", "its time"),
    },
    "Reading": {
        "quantity": ("string", "name, such as energy_import_wh"), "unit": ("string", "unit of value x 10^exponent"),
        "exponent": ("integer", ""), "at": ("time", ""), "value": ("integer", ""), "quality": ("integer", "flag word, 0 is good"),
    },
    "Interval": {
        "start": ("time", ""), "seconds": ("integer", ""), "wh": ("integer?", "null: missing"),
        "estimated": ("boolean", ""), "quality": ("integer", "flag word, 0 is good"),
        "events": ("list", "what the meter reported of this interval"),
    },
    "Daily": {
        "meter_no": ("integer", ""), "at": ("time", "local midnight at which the day closed"), "energy_wh": ("integer", "import register"),
        "apparent_vah": ("integer?", "apparent energy register"), "power_w": ("integer?", "active power"),
        "apparent_va": ("integer?", "apparent power"), "power_factor_milli": ("integer?", ""),
        "momentary_at": ("time?", "when power and power factor were read: the first time after midnight"),
        "events": ("steps", "of the day that closed, those that are not urgent: code, name, at"),
    },
    "Event": {
        "event_no": ("integer", ""), "meter_no": ("integer", "0: the concentrator itself"), "dcu": ("string", ""),
        "code": ("integer", "IS 15959, or from 1000 our own"), "name": ("string", ""), "cim": ("string", "CIM end-device event"),
        "urgent": ("boolean", ""), "at": ("time", ""), "received_at": ("time", ""), "detail": ("string", ""),
    },
    "Command": {
        "cmd_id": ("string", ""), "meter_no": ("integer", ""), "type": ("string", ""), "state": ("string", ""),
        "reason": ("string", "why refused, failed or expired"), "issued_at": ("time", ""), "state_at": ("time", ""),
        "expires_at": ("time", ""), "requested_by": ("string", ""), "result_cbor": ("string", "base64 of the edge's answer"),
        "test": ("object?", "of a test_supply: verdict, connected, switch, voltage_mv, load_side_mv, current_ma, power_w, serial, "
                 "route (dcu, line, address, node, short, hops, via, quality)"),
        "steps": ("steps", "what happened, in order"),
    },
    "NewCommand": {
        "type": ("string", "switch_open, switch_close, test_supply, read_instant, read_switch, read_intervals, read_events, read_daily, "
                           "read_billing, read_name_plate, read_settings, set_clock, reset, run_diagnostics, message, token, limit"),
        "limit_w": ("integer?", "limit: watts; 0 lifts it"), "until": ("time?", "limit: until when; null until it is lifted"),
        "reset": ("string?", "maximum_demand, tamper or status"),
        "token": ("string?", "20 digits, handed to the meter as they are"), "settings": ("object?", "read_settings: names of settings"),
        "reason": ("string?", "why; kept with the command"), "text": ("string?", "message to display"),
        "from": ("time?", "start of a read"), "to": ("time?", "end of a read"), "not_before": ("time?", "schedule"),
    },
    "PrepayRequest": {
        "request_no": ("integer", ""), "account_no": ("integer", ""), "name": ("string", ""), "address": ("string", ""),
        "from": ("time", ""), "to": ("time?", "null: until further notice"), "programme": ("string", ""),
        "option": ("string", "at zero: none, disconnect, limit, replenish, postpaid"), "policy_id": ("string", "what it stands for"),
        "policy_version": ("integer", "in force when it was chosen"), "amount": ("money", ""), "method": ("string", ""),
        "source": ("string", "portal, desk, api"), "state": ("string", "asked, starting, active, ended, refused"),
        "reason": ("string", ""), "state_at": ("time", ""), "asked_by": ("string", ""),
        "acknowledged_by": ("string", "empty: not yet"), "acknowledged_at": ("time?", ""),
    },
    "NewPrepayRequest": {
        "name": ("string", "as on record"), "address": ("string", "of the supply or the customer"), "from": ("time", ""),
        "to": ("time?", ""), "programme": ("string", ""), "option": ("string", "at zero"),
        "credentials": ("object", "one of phone, email, meter_serial; each that is given must be right"), "amount": ("money?", ""),
        "method": ("string?", "card, netbanking, wallet, cash"), "deposit": ("money?", "one that is held and comes back as credit"),
    },
    "NewTime": {"not_before": ("time", "when to run it")},
    "NewSpan": {"start": ("time", ""), "end": ("time", "half-open: it belongs to whatever follows")},
    "Schedule": {
        "schedule_no": ("integer", ""), "programme": ("string", "A: own time frame, B: event at another's supply"),
        "account_no": ("integer", "behind the meter"), "meter_no": ("integer", ""), "requester_no": ("integer", "who pays"),
        "title": ("string", ""), "zone": ("string", ""), "start": ("time", ""), "end": ("time", "half-open"),
        "windows": ("list", "weekdays (bit 0 Monday), from_minute, to_minute; none: the whole span"),
        "action": ("string", "supply or off"), "currency": ("string", ""), "credit": ("money", "funds of an event"),
        "credit_wh": ("integer", "energy it was converted from"), "state": ("string", "planned, sent, held, running, ended, "
        "cancelled, refused, missed"), "reason": ("string", ""), "state_at": ("time", ""), "cmd_id": ("string", "its command"),
        "spent": ("money?", "null until it has ended"), "spent_wh": ("integer?", ""),
    },
    "NewSchedule": {
        "programme": ("string?", "A (default) or B"), "start": ("time", ""), "end": ("time", ""), "windows": ("list?", ""),
        "action": ("string?", "supply (default) or off"), "requester_no": ("integer?", "programme B: who pays"),
        "credit": ("money?", "programme B: funds"), "credit_wh": ("integer?", "or the energy to buy"), "title": ("string?", ""),
    },
    "Setting": {
        "meter_no": ("integer", ""), "setting": ("string", "its name"), "wanted": ("object?", "the record as ordered"),
        "state": ("string", "unknown, queued, sent, verified, active, failed, differs"),
        "reported": ("object?", "the record as read back from the meter"), "wanted_at": ("time?", ""),
        "reported_at": ("time?", ""), "cmd_id": ("string?", "the command it went with"), "reason": ("string", "why it failed"),
    },
    "NewSettings": {"settings": ("object", "name of a setting to its record")},
    "NewCampaign": {
        "name": ("string", "up to 60 characters"), "meters": ("list", "meter numbers"),
        "settings": ("object", "name of a setting to its record"),
    },
    "Campaign": {
        "name": ("string", ""), "counts": ("object", "settings by state"), "items": ("list", "Setting of each meter"),
        "refused": ("list", "meters that were not ordered, and why"),
    },
    "NewBillingRead": {
        "meters": ("list", "meter numbers; these and the groups together"), "dcu": ("string?", "every meter of this concentrator"),
        "tariff": ("string?", "every meter billed by it"), "feeder": ("string?", "every meter of this feeder"),
        "from": ("time", "the first moment a billing row may have been closed at"), "to": ("time", "the last one"),
    },
    "BillingRead": {
        "job_no": ("integer", ""), "state": ("string", "open, done"), "asked": ("string", "what was asked for, in words"),
        "from": ("time", ""), "to": ("time", ""), "requested_by": ("string", ""), "created_at": ("time", ""),
        "counts": ("object", "meters by state: waiting, sent, collected, empty, failed"),
    },
    "BillingReadResult": {
        "meter_no": ("integer", ""), "state": ("string", "waiting, sent, collected, empty (the meter holds no row of then), failed"),
        "reason": ("string", "why it failed"), "cmd_id": ("string?", "null: it could not be ordered"), "state_at": ("time?", ""),
        "values": ("list", "Reading of each value of the billing rows, at the moment of its row"),
    },
    "Determinants": {
        "account_no": ("integer", ""), "from": ("time", ""), "to": ("time", ""), "days": ("integer", ""), "contract_w": ("integer", ""),
        "first": ("object", "at, register_wh as shown, estimated; ahead_wh: it is counted so far ahead, behind the end of the register"),
        "last": ("object", "the same at the end"),
        "counted_by": ("string", "intervals, rate registers or register"), "import_wh": ("integer", "what a bill charges"),
        "used": ("list", "period, measure, wh"), "demands": ("list", "item, period, measure, window_min, power_w (VA for apparent)"),
        "power_factor": ("integer?", "ten-thousandths; null without apparent energy"),
        "quality": ("object", "intervals measured, estimated, missing, edited, untrusted"),
    },
    "Place": {
        "serial": ("string", "meter"), "dcu": ("string", ""), "line": ("string", ""), "address": ("string", ""),
        "node": ("string", "lasting id of the node, empty on a bus"), "parent": ("string", "node above; empty: coordinator"),
        "hops": ("integer", ""), "from": ("time", ""), "to": ("time?", "null: it is there now"),
    },
    "EventGroup": {
        "group": ("string", "empty: unknown"), "code": ("integer", ""), "name": ("string", ""), "cim": ("string", ""),
        "count": ("integer", ""), "meters": ("integer", "how many different meters"),
    },
    "PowerQuality": {
        "meter_no": ("integer", ""), "items": ("list", "Reading: the newest of each quantity of power quality"),
        "disturbances": ("list", "kind (sag, swell, interruption), from, to (null: it lasts)"),
        "counts": ("object", "disturbances by kind"),
    },
    "LoadViolation": {
        "event_no": ("integer", ""), "meter_no": ("integer", ""), "serial": ("string", ""), "name": ("string", "of the event"),
        "at": ("time", ""), "demand_max_w": ("integer?", "maximum demand the meter had then; null: not told"),
        "limit_w": ("integer?", "null: not known"),
    },
    "Chronic": {
        "meter_no": ("integer", ""), "serial": ("string", ""), "code": ("integer", ""), "name": ("string", ""),
        "count": ("integer", ""), "first_at": ("time", ""), "last_at": ("time", ""),
    },
    "Account": {
        "account_no": ("integer", ""), "customer": ("string", ""), "address": ("string", ""), "meter_no": ("integer", ""),
        "meter_serial": ("string", ""), "mode": ("string", "prepaid or postpaid"), "currency": ("string", "ISO 4217"),
        "zone": ("string", ""), "tariff_id": ("string", ""), "opened_at": ("time", ""), "closed_at": ("time?", ""),
    },
    "Handover": {
        "account_no": ("integer", ""), "mode": ("string", "prepaid or postpaid"), "wanted_mode": ("string", "until it is done, another"),
        "meter_no": ("integer", ""), "meter_serial": ("string", ""), "dcu": ("string", ""), "epoch": ("integer", "of the journal"),
    },
    "NewMigration": {
        "mode": ("string", "prepaid or postpaid"), "deposit": ("money?", "held deposit, given back as credit"),
        "profile": ("object?", "policy_id, tariff_id, low_balance; what is left out stays as it is"),
    },
    "Migration": {
        "migration_no": ("integer", ""), "account_no": ("integer", ""), "mode": ("string", "wanted"), "profile": ("object", "as asked"),
        "deposit": ("money", ""),
        "state": ("string", "asked, installing, reading, checking, changing, verifying, done, refused"), "reason": ("string", ""),
        "order_no": ("integer?", "the installation it waits for"), "asked_by": ("string", ""), "asked_at": ("time", ""),
        "state_at": ("time", ""), "changed_at": ("time?", "of the reading that closes one way and opens the other"),
        "register_wh": ("integer?", "of that reading"), "carried": ("money?", "from the balance to the bills"),
    },
    "TariffConfirmation": {
        "account_no": ("integer", ""), "meter_no": ("integer", ""), "meter_serial": ("string", ""), "dcu": ("string", ""),
        "told_at": ("time?", "the message is with the consumer"), "in_force_at": ("time?", "confirmed by the concentrator"),
        "viewed_at": ("time?", "read, kept or deleted"), "viewed_on": ("string", "display or portal"),
        "fault": ("string", "why it was refused: not_understood, past_start, out_of_order, short_notice"),
    },
    "NewLimit": {"watts": ("integer", "0 lifts it"), "until": ("time?", "null: until it is lifted")},
    "LimitOrdered": {"account_no": ("integer", ""), "watts": ("integer", ""), "epoch": ("integer", ""), "gseq": ("integer", "order")},
    "NewArrearsLimit": {"watts": ("integer", "100 to 100000"), "hours": ("integer?", "from the notice to the limit; 72")},
    "ArrearsLimit": {
        "limit_no": ("integer", ""), "account_no": ("integer", ""), "watts": ("integer", ""), "owed": ("money", "overdue then"),
        "state": ("string", "told, ordered, lifted, dropped"), "due": ("time", "from then on it is limited"),
    },
    "WorkOrder": {
        "order_no": ("integer", ""), "kind": ("string", "no_power, field, trouble, install_prepaid, bill_review, balance_review, "
                                                        "migration_review"),
        "account_no": ("integer", ""), "meter_no": ("integer?", ""), "reason": ("string", "a code"), "detail": ("string", ""),
        "state": ("string", "open, done, dropped"), "opened_by": ("string", ""), "opened_at": ("time", ""), "closed_by": ("string", ""),
        "closed_at": ("time?", ""), "note": ("string", ""), "result": ("object", "what the report says"),
    },
    "CloseOrder": {
        "state": ("string?", "done or dropped"), "note": ("string?", ""), "result": ("object?", "what the report of its kind has"),
    },
    "NewInquiry": {
        "kind": ("string?", "balance (validated data), read (and up to 48 h of raw data), power_status"),
        "from": ("time?", "read: start of the raw data; null: the end of the last posting"), "to": ("time?", "read: null: now"),
    },
    "Inquiry": {
        "request_no": ("integer", ""), "kind": ("string", ""), "usage_point_no": ("integer", ""), "meter_no": ("integer", ""),
        "retailer": ("string", "who asked; empty: the utility"), "account_no": ("integer?", ""),
        "state": ("string", "queued, asked, delivered, answered, merged, gave_up"), "reason": ("string", "why it was given up"),
        "from": ("time", "raw data asked for"), "to": ("time", ""), "lacking": ("integer", "intervals the meter was asked for"),
        "filled": ("integer", "of them came"), "asked_at": ("time", ""), "state_at": ("time", ""),
        "cmd_id": ("string?", "command to the meter; null: all was held"),
        "consumption": ("object?", "from, to, wh, missing, posted_to, posted_at, not_covered_from, parts (label vee or raw), intervals "
                        "(raw ones), doubtful_days; null: power_status"),
        "bill": ("object?", "provisional: currency, from, to, opening, total, energy_wh, tariff, lines; null: prepaid, or nothing known"),
        "bill_fault": ("string", "why there is no bill"),
        "power": ("object?", "power_status: verdict, connected, switch, voltage_mv and more; null until it is answered"),
    },
    "Completeness": {
        "day": ("string", "local day"), "meter_no": ("integer", ""), "meter_serial": ("string", ""), "channel_no": ("integer", ""),
        "quantity": ("string", ""), "expected": ("integer", "intervals that are over"), "received": ("integer", ""),
        "estimated": ("integer", ""), "missing": ("integer", ""), "late": ("integer", "came after the day was closed"),
        "late_at": ("time?", "when the last one came"), "ranges": ("list", "never measured: from, to, intervals, estimated"),
    },
    "DataRequest": {
        "request_no": ("integer", ""), "kind": ("string", "gap, balance, read, power_status"), "meter_no": ("integer", ""),
        "state": ("string", "queued, asked, delivered, answered, merged, gave_up"), "reason": ("string", ""), "from": ("time", ""),
        "to": ("time", ""), "lacking": ("integer", "when it was asked"), "filled": ("integer", ""), "asked_at": ("time", ""),
        "state_at": ("time", ""), "cmd_id": ("string?", ""),
    },
    "NewWebhook": {"name": ("string", "whose receiver it is"), "url": ("string", "https"), "topics": ("list", "what it is told")},
    "Webhook": {
        "webhook_no": ("integer", ""), "name": ("string", ""), "url": ("string", ""), "topics": ("list", ""), "created_by": ("string", ""),
        "created_at": ("time", ""), "ended_at": ("time?", ""),
    },
    "WebhookNotice": {
        "notice_no": ("integer", "the same each time it is sent"), "webhook_no": ("integer", ""), "topic": ("string", ""),
        "state": ("string", "waiting, taken, dead"), "fault": ("string", "why it was not taken"), "attempts": ("integer", ""),
        "created_at": ("time", ""), "taken_at": ("time?", ""), "body": ("object", "as it is signed and sent"),
    },
    "NewRecipient": {"name": ("string", "letters, digits, - and _"), "addresses": ("list", "https addresses; each gets every file")},
    "Recipient": {
        "name": ("string", ""), "addresses": ("list", "to, away_since"), "made_at": ("time", ""), "made_by": ("string", ""),
        "ended_at": ("time?", ""),
    },
    "NewRecipientSchedule": {
        "name": ("string", "file names begin with it"), "kind": ("string?", "reads, intervals (default) or profile"),
        "format": ("string", "csv, ndjson, wide-csv, green-button, nem12, lse; reads: csv, ndjson"),
        "every": ("string?", "day (default) or month"), "at": ("string", "local time such as 06:00"), "zone": ("string?", "default UTC"),
        "ago": ("integer?", "days before; month: the day of the month"), "usage_points": ("list?", "numbers or labels; none: all"),
        "quantities": ("list?", "none: all the kind and the format carry"), "by_label": ("boolean?", "usage points by their labels"),
        "validated": ("boolean?", "only days VEE lets stand"), "sender": ("string?", "lse: DUNS number the file names begin with"),
    },
    "RecipientSchedule": {
        "name": ("string", ""), "recipient": ("string", ""), "kind": ("string", ""), "format": ("string", ""), "next_at": ("time", ""),
    },
    "NewDataRequest": {
        "kind": ("string?", "reads, intervals (default) or profile"), "format": ("string?", "default csv"),
        "usage_points": ("list", "numbers or labels"), "from": ("string", "first local day"), "to": ("string", "last local day"),
    },
    "DataQueued": {"files": ("list", "names"), "values": ("integer", "how many they hold")},
    "Delivery": {
        "delivery_no": ("integer", ""), "recipient": ("string", ""), "to": ("string", ""), "kind": ("string", "data or notice"),
        "name": ("string", "of the file"), "size": ("integer", "bytes"), "sha256": ("string", ""),
        "state": ("string", "waiting, taken, dead"), "fault": ("string", "why it was not taken"), "attempts": ("integer", ""),
        "made_at": ("time", ""), "next_at": ("time?", "of the next try"), "taken_at": ("time?", ""),
    },
    "DeliveryError": {
        "error_no": ("integer", ""), "type": ("string", "not_registered, not_recorded, not_sent, given_up, not_valid, missing_day"),
        "at": ("time", ""),
        "ref": ("string", "what it is about"), "detail": ("string", ""),
    },
    "GridTransformer": {
        "transformer": ("string", ""), "feeder": ("string", ""), "rating_va": ("integer?", ""), "meter_point_no": ("integer?", "its own"),
        "usage_points": ("integer", "behind it now"),
    },
    "GridReading": {
        "meter_no": ("integer", ""), "quantity": ("string", ""), "unit": ("string", ""), "exponent": ("integer", ""), "at": ("time", ""),
        "value": ("integer", ""), "quality": ("integer", "flag word, 0 is good"),
    },
    "GridPowerQuality": {
        "meter_no": ("integer", ""), "meter_serial": ("string", ""), "items": ("list", "Reading: the newest of each quantity"),
        "disturbances": ("list", "kind (sag, swell, interruption), from, to (null: it lasts)"),
    },
    "GridLoad": {
        "from": ("time", ""), "to": ("time", ""), "step_s": ("integer", ""), "all_steps": ("integer", ""),
        "whole_steps": ("integer", "nothing lacks in them; all figures of the load are of these"), "energy_wh": ("integer", "net"),
        "peak_w": ("integer?", ""), "peak_at": ("time?", ""), "mean_w": ("integer?", ""), "load_factor_permille": ("integer?", "mean/peak"),
        "rating_va": ("integer?", ""), "used_permille": ("integer?", "peak/rating"), "overloads": ("list", "from, to, peak_w"),
        "balance": ("object?", "steps, supplied_wh, delivered_wh, loss_wh, loss_permille; null: no meter of its own"),
        "figures": ("object", "expected, received, estimated, missing, doubtful, completeness_permille"),
    },
    "NewGridExport": {
        "recipient": ("string", ""), "kind": ("string?", "reads, intervals (default) or profile"), "format": ("string?", "default csv"),
        "from": ("time", ""), "to": ("time", "widened to local days"),
    },
    "NewMode": {"mode": ("string", "prepaid or postpaid"), "deposit": ("money?", "held deposit, given back as credit")},
    "NewMeter": {
        "meter_serial": ("string", "of the new meter"), "closing_wh": ("integer?", "where the old one ended; null: not read"),
        "opening_wh": ("integer?", "where the new one begins; null: its first reading"),
    },
    "NewDcu": {"dcu": ("string", "name of the concentrator")},
    "Balance": {
        "account_no": ("integer", ""), "currency": ("string", ""), "balance": ("money?", "null: the edge has not reported yet"),
        "pending": ("money", "paid and not yet applied at the meter"), "as_of": ("time?", ""),
        "seq": ("integer", "journal entry"),
        "outstanding": ("money", "owed on bills"), "supply": ("string", ""), "supply_as_of": ("time?", ""),
    },
    "LedgerLine": {
        "epoch": ("integer", ""), "seq": ("integer", ""), "at": ("time", ""), "kind": ("string", ""), "amount": ("money", ""),
        "balance": ("money", ""), "energy_wh": ("integer", ""), "tax": ("money", ""),
    },
    "Bill": {
        "bill_no": ("string", ""), "kind": ("string", ""), "from": ("time", ""), "to": ("time", ""), "issued_at": ("time", ""),
        "total": ("money", ""), "due": ("money", ""), "currency": ("string", ""), "state": ("string", ""),
    },
    "NewPayment": {
        "amount": ("money", "in the account's currency"), "reference": ("string", "number on the receipt, up to 40 characters"),
    },
    "Payment": {
        "payment_no": ("integer", ""), "account_no": ("integer", ""), "amount": ("money", ""), "currency": ("string", ""),
        "reference": ("string", ""), "at": ("time", ""),
        "credit": ("string?", "issued, sent, applied; null for a bill"), "applied_seq": ("integer?", "journal entry"),
    },
    "NewOrder": {"amount": ("money", "in the account's currency")},
    "Order": {
        "order_id": ("string", ""), "account_no": ("integer", ""), "amount": ("money", ""), "currency": ("string", ""),
        "state": ("string", "created, paid, failed, expired"), "pay_path": ("string", "page where it is paid"),
        "gateway_order": ("string", "the gateway's reference"),
        "credit": ("string?", "issued, sent, applied; null before payment"), "applied_seq": ("integer?", "journal entry"),
    },
    "Estimate": {
        "account_no": ("integer", ""), "currency": ("string", "ISO 4217"), "from": ("time", ""), "to": ("time", ""),
        "energy_wh": ("integer", "expected use"), "amount": ("money", "expected cost, exact"),
        "lines": ("list", "code, quantity, amount of each line of the tariff"),
        "basis_from": ("time", "first day looked at"), "basis_to": ("time", "last"), "known_hours": ("integer", "of them measured"),
        "filled_hours": ("integer", "hours of the week never seen"),
        "to_pay": ("money?", "to pay now for a balance that lasts to the end, debts collected included; null: not prepaid"),
    },
    "StationQuote": {
        "account_no": ("integer", ""), "name": ("string", "masked"), "meter_serial": ("string", ""),
        "mode": ("string", "prepaid or postpaid"), "currency": ("string", "ISO 4217"),
        "least": ("money", "smallest payment taken"), "most": ("money", "largest single payment"),
        "reconnect": ("money?", "what brings the supply back; null: it is not cut"), "owed": ("money", "on bills"),
        "amount": ("money?", "as asked"), "restores": ("boolean", "the amount brings the supply back"),
    },
    "NewStationQuote": {"account_no": ("integer", ""), "amount": ("money", "in the account's currency")},
    "NewStationPayment": {
        "account_no": ("integer", ""), "amount": ("money", "in the account's currency"), "method": ("string?", "cash, card or cheque"),
    },
    "NewReversal": {"reason": ("string", "why, for the office")},
    "StationReceipt": {
        "payment_no": ("integer", "number of the receipt"), "account_no": ("integer", ""), "name": ("string", "masked"),
        "amount": ("money", ""), "currency": ("string", ""), "method": ("string", ""), "at": ("time", ""),
        "station": ("string", ""), "day": ("string", "business day"), "reversed_at": ("time?", ""),
        "credit": ("string?", "issued, sent, applied; null for a bill"), "applied_seq": ("integer?", "journal entry"),
        "code": ("string?", "24 digits to type in at the meter, while the credit is on its way"),
    },
    "StationDay": {"day": ("string", ""), "closed": ("boolean", ""), "totals": ("list", "payments, taken, reversals, returned, owed"),
                   "sha256": ("string", "of the file")},
}  # fmt: skip

TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "format": "int64"},
    "boolean": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "money": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?$"},
    "object": {"type": "object"},
    "list": {"type": "array", "items": {}},
    "steps": {"type": "array", "items": {"type": "object"}},
}


def schema_of(fields: Fields) -> dict[str, Any]:
    """A JSON schema of an object; a field with `?` may be null or, in a request, left out."""
    required = [name for name, (kind, _) in fields.items() if not kind.endswith("?")]
    return {"type": "object", "properties": {name: _property(*about) for name, about in fields.items()}, "required": required}


def _property(kind: str, meaning: str) -> dict[str, Any]:
    base = dict(TYPES[kind.rstrip("?")])
    if kind.endswith("?"):
        base["type"] = [base["type"], "null"]
    return base | ({"description": meaning} if meaning else {})
