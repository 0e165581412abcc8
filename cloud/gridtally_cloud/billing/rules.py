"""Dated rules of billing as documents: what a late payment costs, what a deposit earns, how far bills may be estimated.

* A rule holds from a local day on until the next one of its kind, for one tariff or, where that has none, for all of a currency.
* A rule is never changed: another one begins later. Months that were charged stay as they are, and a bill of the past is judged by the
  rule of its period.
* Percentages and amounts are decimals in quotes with up to nine places, held as whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select

from gridtally_cloud.billing.tables import billing_rule
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_cloud.store.days import date_of
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.records import dataclass

HUNDRED = 100 * 10**9
"""A hundred percent, as rules hold percentages: 10^-9 of a percent."""


class RuleKind(StrEnum):
    LATE = "late_payment"
    DEPOSIT = "deposit_interest"
    ESTIMATED = "estimated_bills"


@dataclass(frozen=True, slots=True)
class Rule:
    """`percent` in 10^-9 percent, per day, month or year (`per`). `grace_days`: days after the last day to pay on which nothing is charged.
    `minimum_nano`: the least charge for a bill in a month, where there is one at all. `cap_percent`: the most, of what the bill charged,
    over all its months; 0 for no limit. `on_surcharge`: unpaid late payment charges of the bill count too.

    Of estimated bills: how many may follow each other; the share from which on a person looks at one; over how many days before the last
    reading a daily average is taken, and the fewest it can rest on; how many days after its period one may still be made again for more,
    0 for no limit."""

    kind: RuleKind
    currency: str
    percent: int = 0
    per: str = ""
    grace_days: int = 0
    minimum_nano: int = 0
    cap_percent: int = 0
    on_surcharge: bool = False
    most_in_row: int = 3
    much_percent: int = 20 * 10**9
    look_back_days: int = 28
    least_days: int = 7
    correct_days: int = 0


@dataclass(frozen=True, slots=True)
class Dated:
    """A stored rule. `tariff_id`: '' for all tariffs."""

    rule_no: int
    tariff_id: str
    from_day: int
    rule: Rule


# ---- documents ------------------------------------------------------------------------------------------------


def _decimal(value: Any) -> int:
    found = nano(value)
    if found < 0:
        raise ValueError("below zero")
    return found


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError("no such number")
        return value

    return read


_days = _whole(0, 365)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("no flag")
    return value


def _currency(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 3 or not value.isupper():
        raise ValueError("no currency")
    return value


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError("another word")
        return str(value)

    return read


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a document: the argument of `Rule` it becomes, how it is read, and what to write."""

    name: str
    read: Callable[[Any], Any]
    remedy: str
    needed: bool = False


PERCENT = 'write percent as a decimal in quotes, not below zero, such as "1.5"'
COMMON: Mapping[str, Field] = {
    "currency": Field("currency", _currency, "write three capital letters, such as INR", True),
    "percent": Field("percent", _decimal, PERCENT, True),
}
FIELDS: Mapping[RuleKind, Mapping[str, Field]] = {
    RuleKind.LATE: {
        **COMMON,
        "per": Field("per", _one_of("month", "day"), "write month or day", True),
        "grace_days": Field("grace_days", _days, "write whole days, 0 to 365"),
        "minimum": Field("minimum_nano", _decimal, 'write an amount as a decimal in quotes, such as "10"'),
        "cap_percent": Field("cap_percent", _decimal, PERCENT + "; leave it out for no limit"),
        "on_surcharge": Field("on_surcharge", _flag, "write true or false"),
    },
    RuleKind.DEPOSIT: {**COMMON, "per": Field("per", _one_of("year"), "write year", True)},
    RuleKind.ESTIMATED: {
        "currency": COMMON["currency"],
        "most_in_row": Field("most_in_row", _whole(0, 36), "write how many bills, 0 to 36"),
        "much_percent": Field("much_percent", _decimal, PERCENT),
        "look_back_days": Field("look_back_days", _whole(7, 730), "write whole days, 7 to 730"),
        "least_days": Field("least_days", _whole(1, 7), "write whole days, 1 to 7"),
        "correct_days": Field("correct_days", _whole(0, 3650), "write whole days, up to 3650; 0 for no limit"),
    },
}  # fmt: skip


def rule_of(text: str) -> Rule:
    """Raises ConfigError with the field and what to write."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ConfigError("document", text[:40], f"it is no JSON: {error}") from None
    kinds = ", ".join(FIELDS)
    if not isinstance(raw, dict) or raw.get("kind") not in FIELDS:
        raise ConfigError("kind", raw.get("kind") if isinstance(raw, dict) else None, f"write an object with kind, one of {kinds}")
    kind = RuleKind(raw.pop("kind"))
    fields = FIELDS[kind]
    for name in raw:
        if name not in fields:
            raise ConfigError(name, raw[name], f"there is no such field; a rule of {kind} has {', '.join(fields)}")
    return Rule(kind, **{field.name: _read(raw, name, field) for name, field in fields.items() if field.needed or name in raw})


def _read(raw: Mapping[str, Any], name: str, field: Field) -> Any:
    try:
        return field.read(raw.get(name))
    except ValueError:
        raise ConfigError(name, raw.get(name), field.remedy) from None


# ---- the store ------------------------------------------------------------------------------------------------


def add_rule(conn: Connection, text: str, tariff_id: str, from_day: int, at_ms: int, actor: str) -> Dated:
    """Raises ConfigError for a document that is not understood, RefusedCommand (unknown_tariff, rule_not_later)."""
    rule = rule_of(text)
    if tariff_id:
        versions_of(conn, tariff_id)
    newest = max((d.from_day for d in _all(conn, rule.kind) if (d.tariff_id, d.rule.currency) == (tariff_id, rule.currency)), default=None)
    if newest is not None and from_day <= newest:
        raise RefusedCommand("rule_not_later", f"a {rule.kind} rule for {tariff_id or 'all tariffs'} begins on {date_of(newest)}: "
                             "rules are not changed, let this one begin later")  # fmt: skip
    number = conn.execute(insert(billing_rule).values(
        kind=rule.kind.value, tariff_id=tariff_id, currency=rule.currency, from_day=from_day, document=text, actor=actor, at_ms=at_ms,
    ).returning(billing_rule.c.rule_no)).scalar_one()  # fmt: skip
    record(conn, at_ms, actor, "rule.added", f"rule:{number}", f"{rule.kind} of {tariff_id or 'all tariffs'} from {date_of(from_day)}")
    return Dated(number, tariff_id, from_day, rule)


def _all(conn: Connection, kind: RuleKind) -> tuple[Dated, ...]:
    r = billing_rule.c
    rows = conn.execute(select(billing_rule).where(r.kind == kind.value).order_by(r.tariff_id, r.from_day))
    return tuple(Dated(row.rule_no, row.tariff_id, row.from_day, rule_of(row.document)) for row in rows)


def rules_for(conn: Connection, kind: RuleKind, tariff_id: str | None = None, currency: str = "") -> tuple[Dated, ...]:
    """Oldest first; those of a tariff and of all tariffs, in one currency. Without a tariff: every rule of the kind."""
    if tariff_id is None:
        return _all(conn, kind)
    return tuple(d for d in _all(conn, kind) if d.tariff_id in ("", tariff_id) and d.rule.currency == currency)


def in_force(rules: tuple[Dated, ...], day: int) -> Dated | None:
    """The tariff's own rule of that day, else that of all tariffs; None where there is none."""
    begun = [d for d in rules if d.from_day <= day]
    return max(begun, key=lambda d: (bool(d.tariff_id), d.from_day), default=None)
