"""What staff may order from a meter page, as a table: form kind to command type, fields needed, what is asked again.

A disconnect or a limit needs a reason and the password once more; an on-demand read of a span needs its days (BYPL-21.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.commands.service import limit_detail, token_detail
from gridtally_cloud.store.days import EPOCH, midnight_ms
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.instruments.details import MOST_LIMIT_W
from gridtally_shared.instruments.token import token_digits
from gridtally_shared.meter_settings import ResetKind, Setting, SettingKind
from gridtally_shared.records import dataclass

MAX_TEXT = 160
RESETS: dict[str, int] = {kind.name.lower(): int(kind) for kind in ResetKind}
ALL_SETTINGS = tuple(Setting(int(kind)) for kind in SettingKind if kind is not SettingKind.HELD_CREDIT)


@dataclass(frozen=True, slots=True)
class OrderKind:
    type: CommandType
    span: bool = False
    text: bool = False
    reason: bool = False
    password: bool = False
    reset: bool = False
    settings: bool = False
    token: bool = False
    limit: bool = False


KINDS: dict[str, OrderKind] = {
    "read_instant": OrderKind(CommandType.READ_INSTANT),
    "read_switch": OrderKind(CommandType.READ_SWITCH),
    "read_intervals": OrderKind(CommandType.READ_INTERVALS, span=True),
    "read_events": OrderKind(CommandType.READ_EVENTS, span=True),
    "switch_close": OrderKind(CommandType.SWITCH_CLOSE),
    "switch_open": OrderKind(CommandType.SWITCH_OPEN, reason=True, password=True),
    "read_daily": OrderKind(CommandType.READ_DAILY, span=True),
    "read_billing": OrderKind(CommandType.READ_BILLING, span=True),
    "read_name_plate": OrderKind(CommandType.READ_NAME_PLATE),
    "read_settings": OrderKind(CommandType.READ_SETTINGS, settings=True),
    "set_clock": OrderKind(CommandType.SET_CLOCK),
    "reset": OrderKind(CommandType.RESET, reason=True, reset=True),
    "run_diagnostics": OrderKind(CommandType.RUN_DIAGNOSTICS),
    "test_supply": OrderKind(CommandType.TEST_SUPPLY),
    "message": OrderKind(CommandType.MESSAGE, text=True),
    "token": OrderKind(CommandType.TOKEN, token=True),
    "limit": OrderKind(CommandType.LIMIT, reason=True, password=True, limit=True),
}


@dataclass(frozen=True, slots=True)
class Fields:
    """The form as read. `problems`: field to the key of a sentence."""

    from_ms: int
    to_ms: int
    text: str
    reason: str
    reset: int
    token: str
    limit_w: int | None
    problems: dict[str, str]


def read_fields(kind: OrderKind, form: Mapping[str, str], zone: str) -> Fields:
    """What the kind needs out of a form; `to` is the last day that is read, inclusive."""
    from_ms, to_ms = (_day_ms(form.get(name, ""), zone, extra) for name, extra in (("from", 0), ("to", 1)))
    text, reason = form.get("text", "").strip(), form.get("reason", "").strip()[:MAX_TEXT]
    reset, token = RESETS.get(form.get("reset", "")), token_digits(form.get("token", ""))
    limit_w = watts_of(form.get("limit_w", ""))
    rules = (
        ("from", kind.span and from_ms is None, "command.day_missing"),
        ("to", kind.span and to_ms is None, "command.day_missing"),
        ("to", kind.span and bool(from_ms) and bool(to_ms) and (to_ms or 0) <= (from_ms or 0), "command.span_reversed"),
        ("text", kind.text and not text, "command.text_missing"),
        ("text", kind.text and len(text) > MAX_TEXT, "command.text_long"),
        ("reason", kind.reason and not reason, "command.reason_missing"),
        ("reset", kind.reset and reset is None, "command.reset_missing"),
        ("token", kind.token and token is None, "command.token_digits"),
        ("limit_w", kind.limit and limit_w is None, "command.limit_missing"),
        ("password", kind.password and not form.get("password"), "command.password_missing"),
    )
    problems = {name: key for name, broken, key in reversed(rules) if broken}
    span = (from_ms or 0, to_ms or 0) if kind.span else (0, 0)
    return Fields(*span, text if kind.text else "", reason, reset or 0, token or "", limit_w, problems)


def watts_of(text: str) -> int | None:
    """A limit as it is typed; None for what is none."""
    plain = text.strip()
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) <= 9 and int(plain) <= MOST_LIMIT_W else None


def _day_ms(text: str, zone: str, extra_days: int) -> int | None:
    try:
        return midnight_ms((date.fromisoformat(text) - EPOCH).days + extra_days, zone)
    except ValueError:
        return None


def request_of(kind: OrderKind, fields: Fields, meter_no: int, by: str, key: str) -> CommandRequest:
    """The command to issue. `key` makes a form sent twice one command."""
    return CommandRequest(meter_no, kind.type, by, fields.reason or "staff request", f"form:{by}:{key}" if key else None,
                          from_ms=fields.from_ms, to_ms=fields.to_ms, text=fields.text, reset=fields.reset,
                          settings=ALL_SETTINGS if kind.settings else (),
                          detail=_detail(kind, fields))  # fmt: skip


def _detail(kind: OrderKind, fields: Fields) -> bytes | None:
    if kind.token:
        return token_detail(fields.token)
    return limit_detail(fields.limit_w, reason=fields.reason) if kind.limit and fields.limit_w is not None else None
