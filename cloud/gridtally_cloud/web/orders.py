"""What staff may order from a meter page, as a table: form kind to command type, fields needed, what is asked again.

A disconnect needs a reason and the password once more; an on-demand read of a span needs its days (BYPL-21.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.store.days import EPOCH, midnight_ms
from gridtally_shared.contract.messages import CommandType

MAX_TEXT = 160


@dataclass(frozen=True, slots=True)
class OrderKind:
    type: CommandType
    span: bool = False
    text: bool = False
    reason: bool = False
    password: bool = False


KINDS: dict[str, OrderKind] = {
    "read_instant": OrderKind(CommandType.READ_INSTANT),
    "read_switch": OrderKind(CommandType.READ_SWITCH),
    "read_intervals": OrderKind(CommandType.READ_INTERVALS, span=True),
    "read_events": OrderKind(CommandType.READ_EVENTS, span=True),
    "switch_close": OrderKind(CommandType.SWITCH_CLOSE),
    "switch_open": OrderKind(CommandType.SWITCH_OPEN, reason=True, password=True),
    "message": OrderKind(CommandType.MESSAGE, text=True),
}


@dataclass(frozen=True, slots=True)
class Fields:
    """The form as read. `problems`: field to the key of a sentence."""

    from_ms: int
    to_ms: int
    text: str
    reason: str
    problems: dict[str, str]


def read_fields(kind: OrderKind, form: Mapping[str, str], zone: str) -> Fields:
    """What the kind needs out of a form; `to` is the last day that is read, inclusive."""
    from_ms, to_ms = (_day_ms(form.get(name, ""), zone, extra) for name, extra in (("from", 0), ("to", 1)))
    text, reason = form.get("text", "").strip(), form.get("reason", "").strip()[:MAX_TEXT]
    rules = (
        ("from", kind.span and from_ms is None, "command.day_missing"),
        ("to", kind.span and to_ms is None, "command.day_missing"),
        ("to", kind.span and bool(from_ms) and bool(to_ms) and (to_ms or 0) <= (from_ms or 0), "command.span_reversed"),
        ("text", kind.text and not text, "command.text_missing"),
        ("text", kind.text and len(text) > MAX_TEXT, "command.text_long"),
        ("reason", kind.reason and not reason, "command.reason_missing"),
        ("password", kind.password and not form.get("password"), "command.password_missing"),
    )
    problems = {name: key for name, broken, key in reversed(rules) if broken}
    span = (from_ms or 0, to_ms or 0) if kind.span else (0, 0)
    return Fields(*span, text if kind.text else "", reason, problems)


def _day_ms(text: str, zone: str, extra_days: int) -> int | None:
    try:
        return midnight_ms((date.fromisoformat(text) - EPOCH).days + extra_days, zone)
    except ValueError:
        return None


def request_of(kind: OrderKind, fields: Fields, meter_no: int, by: str, key: str) -> CommandRequest:
    """The command to issue. `key` makes a form sent twice one command."""
    return CommandRequest(meter_no, kind.type, by, fields.reason or "staff request", f"form:{by}:{key}" if key else None,
                          from_ms=fields.from_ms, to_ms=fields.to_ms, text=fields.text)  # fmt: skip
