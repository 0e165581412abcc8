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
        "steps": ("steps", "what happened, in order"),
    },
    "NewCommand": {
        "type": ("string", "switch_open, switch_close, read_instant, read_intervals, read_events, read_switch, message"),
        "reason": ("string?", "why; kept with the command"), "text": ("string?", "message to display"),
        "from": ("time?", "start of a read"), "to": ("time?", "end of a read"), "not_before": ("time?", "schedule"),
    },
    "Account": {
        "account_no": ("integer", ""), "customer": ("string", ""), "address": ("string", ""), "meter_no": ("integer", ""),
        "meter_serial": ("string", ""), "mode": ("string", "prepaid or postpaid"), "currency": ("string", "ISO 4217"),
        "zone": ("string", ""), "tariff_id": ("string", ""), "opened_at": ("time", ""), "closed_at": ("time?", ""),
    },
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
}  # fmt: skip

TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "format": "int64"},
    "boolean": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "money": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?$"},
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
