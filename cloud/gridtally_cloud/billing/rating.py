"""`gridtally-mdm bill --tariff FILE --intervals FILE`: what a tariff makes of a file of intervals. Needs no store.

The output is documented in docs/tariff.md: `lines`, `total`, `by_month`; amounts are exact decimal strings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from gridtally_cloud.billing.interval_file import IntervalFile, read_interval_file
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.cycles import cycle_of, month_parts
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import Closed, Step, bill
from gridtally_shared.tariff.lines import Line, explained, factor_text, quantity_text, rate_text, thousandths
from gridtally_shared.tariff.terms import Account, Plan

MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Rated:
    """A bill and what it was made from."""

    plan: Plan
    first: int
    until: int
    step: Step
    missing_ms: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `bill` that rate a file."""
    group = parser.add_argument_group("from files, without an account or a store")
    group.add_argument("--tariff", type=Path, help="a tariff document (docs/tariff.md)")
    group.add_argument("--intervals", type=Path, help="CSV or .csv.gz with start,kwh or at,register_kwh")
    group.add_argument("--contract-kw", default="0", help="contracted load, such as 2.5")
    group.add_argument("--flag", action="append", default=[], help="a flag of the account the tariff asks for; may be repeated")
    group.add_argument("--debt", action="append", default=[], help="what is owed, such as arrears=120.50; may be repeated")


def print_rated(options: argparse.Namespace) -> int:
    """Rate and print. Raises ConfigError."""
    if options.intervals is None:
        raise ConfigError("--intervals", None, "with --tariff give the file of intervals too")
    rated = rate(options)
    print(json.dumps(as_json(rated), indent=1) if options.json else as_text(rated))
    return 0


def rate(options: argparse.Namespace) -> Rated:
    plan = tariff_plan([_text(options.tariff)])
    file = read_interval_file(options.intervals, plan.zone)
    first = _day("--from", options.first) if options.first else day_of(file.rows[0].start_ms, plan.zone)
    until = _day("--to", options.until) if options.until else day_of(file.rows[-1].end_ms - 1, plan.zone) + 1
    if until <= first:
        raise ConfigError("--to", options.until, "write the day after the last day; it comes after --from")
    return _rated(plan, file, _account(options), first, until)


def _rated(plan: Plan, file: IntervalFile, account: Account, first: int, until: int) -> Rated:
    from_ms, to_ms = starts_at(first, plan.zone), starts_at(until, plan.zone)
    series = file.series(from_ms, to_ms)
    if not series:
        raise ConfigError("--intervals", date.fromordinal(first).isoformat(), "the file holds nothing of these days; give the days it has")
    return Rated(plan, first, until, bill(plan, account, series, first, until), file.missing_ms(from_ms, to_ms))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--tariff", str(path), f"this file can not be read: {error}") from None


def _day(option: str, text: str) -> int:
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        raise ConfigError(option, text, "write a day such as 2026-11-01") from None


def _account(options: argparse.Namespace) -> Account:
    try:
        contract_w, rest = divmod(nano(options.contract_kw), 10**6)
        if rest or contract_w < 0:
            raise ValueError(options.contract_kw)
    except ValueError:
        raise ConfigError("--contract-kw", options.contract_kw, "write kW with at most three decimals, such as 2.5") from None
    return Account(contract_w, frozenset(options.flag), tuple(_debt(text) for text in options.debt))


def _debt(text: str) -> tuple[str, int]:
    code, _, amount = text.partition("=")
    try:
        return code, nano(amount)
    except ValueError:
        raise ConfigError("--debt", text, "write the item's code and the amount, such as arrears=120.50") from None


# ---- output ---------------------------------------------------------------------------------------------------


def as_json(rated: Rated) -> dict[str, Any]:
    """The documented output."""
    closed = rated.step.closed
    return {
        "tariff": rated.plan.code, "currency": rated.plan.currency, "zone": rated.plan.zone.key,
        "from": _iso(rated.first), "to": _iso(rated.until), "kwh": thousandths(sum(c.used_wh for c in closed)),
        "total": decimal_text(rated.step.amount_nano), "by_month": [_month(cycle) for cycle in closed],
        "lines": [_line(rated.plan, line) for cycle in closed for line in cycle.lines], "notes": list(_notes(rated)),
    }  # fmt: skip


def _month(cycle: Closed) -> dict[str, Any]:
    amounts: dict[str, int] = {}
    for line in cycle.lines:
        amounts[line.code] = amounts.get(line.code, 0) + line.amount_nano
    return {
        "month": _iso(cycle.first)[:7], "from": _iso(cycle.first), "to": _iso(cycle.until), "kwh": thousandths(cycle.used_wh),
        "amounts": {code: decimal_text(amount) for code, amount in amounts.items()}, "total": decimal_text(cycle.amount_nano),
    }  # fmt: skip


def _line(plan: Plan, line: Line) -> dict[str, Any]:
    parts = _parts(plan, line) if line.factor != 1 else ()
    return {
        "code": line.code, "kind": line.kind, "text": line.text, "explained": explained(line), "from": _iso(line.first),
        "to": _iso(line.until), "period": line.period, "slab": line.slab, "quantity": quantity_text(line), "rate": rate_text(line),
        "per": line.per, "factor": factor_text(line.factor), "factor_parts": list(parts), "amount": decimal_text(line.amount_nano),
    }  # fmt: skip


def _parts(plan: Plan, line: Line) -> tuple[str, ...]:
    account = Account(cuts=(line.first,), ends_day=line.until)
    parts = month_parts(plan.proration, cycle_of(plan, account, line.first), line.first, line.until)
    return tuple(factor_text(part) for part in parts) if sum(parts) == line.factor else ()


def _notes(rated: Rated) -> Iterator[str]:
    if rated.missing_ms:
        yield f"{rated.missing_ms // MS_PER_MINUTE} minutes of these days have no energy in the file; nothing is charged for them"
    state = rated.step.state
    if state.estimated_wh:
        yield f"{thousandths(state.estimated_wh)} kWh are estimated"
    if state.split_wh:
        yield f"{thousandths(state.split_wh)} kWh lie across a change of price and were parted in proportion to time"
    last = rated.plan.versions[-1].until
    if last is not None and rated.until > last:
        yield f"the tariff says nothing after {_iso(last)}; its last version goes on"


def as_text(rated: Rated) -> str:
    rows = [(line.code, explained(line), decimal_text(line.amount_nano)) for c in rated.step.closed for line in c.lines]
    lines = [f"{code:20} {what:60} {amount:>16}" for code, what, amount in rows]
    total = f"{'total':20} {rated.plan.currency:60} {decimal_text(rated.step.amount_nano):>16}"
    return "\n".join([f"{_iso(rated.first)} to {_iso(rated.until)}", *lines, total, *_notes(rated)])


def _iso(day: int) -> str:
    return date.fromordinal(day).isoformat()
