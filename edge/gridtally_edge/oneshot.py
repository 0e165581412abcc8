"""`gridtally-dcu read`: one meter, once, without the agent. Opens the line itself, so the agent must not hold it."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gridtally_edge.drivers.driver import Driver, settings_from
from gridtally_edge.drivers.model import Capability, Reading
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.meters import driver_values
from gridtally_edge.polling.gaps import Span, floor_to
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult, poll
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import MS_PER_HOUR, clock_from
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE

WAIT_S = 120.0


def read_once(options: argparse.Namespace) -> int:
    """Print what the meter says. Raises LinkDown, MeterFault or ConfigError."""
    driver = driver_named(options.driver)
    port = driver.make_port(settings_from(driver, driver_values(driver, options.set)))
    now = clock_from(options.virtual_clock or None).now_ms
    request = PollRequest(clock=True, events_after_ms=now() - 24 * MS_PER_HOUR)
    if options.intervals and Capability.LOAD_PROFILE in port.capabilities:
        upto_ms = floor_to(now(), port.interval_s * 1000)
        request = replace(request, spans=(Span(upto_ms - options.intervals * MS_PER_HOUR, upto_ms),))
    line = line_for(LineSettings("read", options.device, _speed(driver, options)))
    line.start()
    try:
        result = line.submit(poll(port, request, now), Priority.ON_DEMAND, "meter").result(WAIT_S)
    finally:
        line.close()
    print(json.dumps(_as_json(result), indent=1) if options.json else _as_text(result))
    return _verdict(result)


def _speed(driver: Driver[Any], options: argparse.Namespace) -> Speed:
    d = driver.line
    return Speed(options.baud or d.baud, d.data_bits, options.parity or d.parity, d.stop_bits)


def _verdict(result: PollResult) -> int:
    if result.fault is Fault.SILENT:
        raise LinkDown(f"{result.trouble}; check device, speed, address and wiring (A and B swapped?)")
    if result.fault is not Fault.NONE:
        raise MeterFault(result.trouble)
    return 0


def _as_text(result: PollResult) -> str:
    rows = [f"serial     {result.serial or '(no answer)'}"]
    if result.switch is not None:
        rows.append(f"switch     {result.switch.name.lower()}")
    if result.clock_offset_ms is not None:
        rows.append(f"clock      {result.clock_offset_ms / 1000:+.1f} s against this machine")
    rows += [_reading(r) for r in (*result.readings, *result.intervals)]
    rows += [f"event      {_time(e.at_ms)}  {e.code} {e.detail}" for e in result.events or ()]
    return "\n".join(rows)


def _reading(reading: Reading) -> str:
    quantity = BY_CODE[reading.quantity]
    unknown = reading.quality and not reading.value
    value = "-" if unknown else f"{Decimal(reading.value).scaleb(quantity.exponent):f} {quantity.unit}"
    return f"{_time(reading.at_ms)}  {quantity.name:24} {value:>16}  {Quality(reading.quality).name or ''}"


def _as_json(result: PollResult) -> dict[str, Any]:
    def rows(readings: tuple[Reading, ...]) -> list[dict[str, Any]]:
        return [
            {"quantity": BY_CODE[r.quantity].name, "at_ms": r.at_ms, "value": r.value, "quality": r.quality} for r in readings
        ]

    return {
        "serial": result.serial,
        "fault": result.fault.value,
        "trouble": result.trouble,
        "switch": result.switch.name.lower() if result.switch else None,
        "clock_offset_ms": result.clock_offset_ms,
        "readings": rows(result.readings),
        "intervals": rows(result.intervals),
        "events": [{"code": e.code, "at_ms": e.at_ms, "detail": e.detail} for e in result.events or ()],
    }


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
