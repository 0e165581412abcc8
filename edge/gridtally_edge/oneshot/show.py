"""An answer as text and as JSON. The JSON is described in docs/read.md; every key is always there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gridtally_edge.drivers.model import Reading
from gridtally_edge.oneshot.asked import Answer
from gridtally_shared.events import event_type
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE

UNKNOWN = Quality.MISSING | Quality.METER_INVALID | Quality.COMM_ERROR


def as_json(answer: Answer, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "serial": answer.serial,
        "identity": asdict(answer.plate) if answer.plate else None,
        "switch": answer.switch.name.lower() if answer.switch else None,
        "clock_offset_ms": answer.clock_offset_ms,
        "values": [_value(reading) for reading in answer.readings],
        "events": None if answer.events is None else [
            {"code": e.code, "name": event_type(e.code).name, "cim": event_type(e.code).cim, "at": _time(e.at_ms),
             "at_ms": e.at_ms, "detail": e.detail} for e in answer.events
        ],
        "diagnostics": None if answer.diagnostics is None else [
            {"check": d.check, "state": d.state.name.lower(), "at": _time(d.at_ms), "detail": d.detail} for d in answer.diagnostics
        ],
        "object": [{"attribute": name, "value": value} for name, value in answer.objects],
    } | more  # fmt: skip


def _value(reading: Reading) -> dict[str, Any]:
    quantity = BY_CODE[reading.quantity]
    return {
        "quantity": quantity.name, "obis": str(quantity.obis), "unit": quantity.unit, "exponent": quantity.exponent,
        "at": _time(reading.at_ms), "at_ms": reading.at_ms,
        "value": None if reading.quality & UNKNOWN and not reading.value else reading.value,
        "quality": [str(flag.name).lower() for flag in Quality if flag & reading.quality],
    }  # fmt: skip


def as_text(answer: Answer) -> Iterator[str]:
    yield f"serial      {answer.serial}"
    if answer.plate:
        shown = asdict(answer.plate)
        yield from (f"{name.replace('_', ' '):11} {text}" for name, text in shown.items() if text and name != "serial")
    if answer.switch is not None:
        yield f"switch      {answer.switch.name.lower().replace('_', ' ')}"
    if answer.clock_offset_ms is not None:
        yield f"clock       {answer.clock_offset_ms / 1000:+.1f} s against this machine"
    yield from map(_reading, answer.readings)
    for e in answer.events or ():
        yield f"{_time(e.at_ms)}  {e.code:5} {event_type(e.code).text}  {e.detail}".rstrip()
    for d in answer.diagnostics or ():
        yield f"{_time(d.at_ms)}  {d.check:16} {d.state.name.lower().replace('_', ' ')}  {d.detail}".rstrip()
    yield from (f"{name:24} {value}" for name, value in answer.objects)
    if answer.events == () or answer.diagnostics == ():
        yield "(none)"


def _reading(reading: Reading) -> str:
    quantity = BY_CODE[reading.quantity]
    unknown = reading.quality & UNKNOWN and not reading.value
    unit = "" if quantity.unit == "1" else quantity.unit
    value = "-" if unknown else f"{Decimal(reading.value).scaleb(quantity.exponent):f} {unit}".rstrip()
    flags = ", ".join(str(flag.name).lower() for flag in Quality if flag & reading.quality)
    return f"{_time(reading.at_ms)}  {quantity.name:28} {value:>18}  {flags}".rstrip()


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
