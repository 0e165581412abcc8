"""NDJSON: one JSON object a line and interval: usage_point, quantity, unit, interval_s, start, value, quality.

* `start` is a time with its offset, or `start_ms`. `value` null is a missing interval. `kwh` or `wh` may stand instead of value and unit.
* Numbers are read as they are written: 0.1 is a tenth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from gridtally_cloud.exchange.collect import Cell, Collector
from gridtally_cloud.exchange.record import Asked, Clock, Content, Series
from gridtally_cloud.exchange.sheet import asked_unit, flags_of, quantity_for, text_of
from gridtally_cloud.exchange.times import EARLIEST_MS, LATEST_MS, instant
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES, UNITS, Unit, amount, own_unit
from gridtally_cloud.store.days import utc_text, zone_of
from gridtally_shared.quality import Quality


class _Wrong(ValueError):
    """A field that can not be used."""

    def __init__(self, name: str, value: object, text: str) -> None:
        super().__init__(text)
        self.name, self.value = name, str(value)


def looks(head: str) -> bool:
    return head.startswith("{")


def read(data: bytes, asked: Asked) -> Content:
    """Raises ContractError for what is no text."""
    found = Collector(asked)
    for number, line in enumerate(text_of(data).split("\n"), 1):
        if line.strip():
            try:
                _take(found, number, _object(line))
            except _Wrong as error:
                found.problem(number, error.name, error.value, str(error))
    return found.content()


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_float=amount, parse_int=amount, parse_constant=amount)
    except (ValueError, RecursionError):
        raise _Wrong("line", line[:60], "this is not a JSON object in one line") from None
    if not isinstance(value, dict):
        raise _Wrong("line", line[:60], "this is not a JSON object")
    return value


def _take(found: Collector, number: int, row: dict[str, Any]) -> None:
    name = next((key for key in ("value", "kwh", "wh") if key in row), "value")
    unit = _unit(row, name, found.asked)
    key = (str(row.get("usage_point", "")), _quantity(row, unit, found.asked))
    start_ms = _start(row, found.asked, found.last_ms(key))
    seconds = row.get("interval_s")
    if seconds is not None and (not isinstance(seconds, Decimal) or seconds % 1 or not 0 < seconds <= 10**7):
        raise _Wrong("interval_s", seconds, "this is not a number of seconds")
    try:
        flags = flags_of(str(row.get("quality", "")))
    except ValueError as error:
        raise _Wrong("quality", row["quality"], str(error)) from None
    found.add(key, Cell(number, start_ms, _number(row, name), flags, None if seconds is None else int(seconds), unit))


def _number(row: dict[str, Any], name: str) -> Decimal | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        return value if isinstance(value, Decimal) else amount(value if isinstance(value, str) else "")
    except ValueError as error:
        raise _Wrong(name, value, str(error)) from None


def _unit(row: dict[str, Any], name: str, asked: Asked) -> Unit:
    unit = UNITS.get(name if name != "value" else str(row.get("unit", "")).lower()) or asked_unit(asked)
    if unit is None:
        raise _Wrong("unit", row.get("unit", ""), "the unit is not told: add unit, or say --unit kWh")
    return unit


def _quantity(row: dict[str, Any], unit: Unit, asked: Asked) -> str:
    text = str(row.get("quantity", ""))
    if text in INTERVAL_QUANTITIES:
        if UNITS[own_unit(text).lower()].stored != unit.stored:
            raise _Wrong("quantity", text, f"this is not counted in {unit.name}")
        return text
    return quantity_for(text.lower(), unit, asked)


def _start(row: dict[str, Any], asked: Asked, before_ms: int | None) -> int:
    at_ms = row.get("start_ms")
    if isinstance(at_ms, Decimal) and at_ms % 1 == 0 and EARLIEST_MS <= at_ms < LATEST_MS:
        return int(at_ms)
    text = row.get("start", row.get("time"))
    try:
        return instant(text if isinstance(text, str) else "", asked.clock or Clock.LOCAL, zone_of(asked.zone), before_ms)
    except ValueError as error:
        raise _Wrong("start", text, str(error)) from None


def write(series: Sequence[Series], _asked: Asked) -> bytes:
    lines = []
    for each in series:
        head = {"usage_point": each.point, "quantity": each.quantity, "unit": own_unit(each.quantity), "interval_s": each.period_s}
        for row in each.rows:
            quality = int(row.quality | (Quality.MISSING if row.value is None else 0))
            lines.append(json.dumps(head | {"start": utc_text(row.start_ms), "value": row.value, "quality": quality}))
    return ("\n".join(lines) + "\n").encode()
