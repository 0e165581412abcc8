"""From a poll's result to what the journal stores and what the prepay core is told. Pure."""

from __future__ import annotations

from dataclasses import replace

from gridtally_edge.drivers.model import MeterEvent, Reading, SwitchState
from gridtally_edge.journal.readings import MeterState, MeterUpdate
from gridtally_edge.polling.plan import new_mark
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult
from gridtally_edge.polling.street import SILENT_AFTER, StreetMeter
from gridtally_edge.prepay.events import MeterRead
from gridtally_shared.events import BY_NAME as EVENT_BY_NAME
from gridtally_shared.quantities import BY_NAME, ENERGY_IMPORT

POWER, VOLTAGE = BY_NAME["power_w"].code, BY_NAME["voltage_mv"].code
CLOCK_TOLERANCE_MS = 120_000
SILENT = EVENT_BY_NAME["meter_silent"].code
ANSWERS_AGAIN = EVENT_BY_NAME["meter_answers_again"].code
SERIAL_MISMATCH = EVENT_BY_NAME["serial_mismatch"].code
CLOCK_SKEWED = EVENT_BY_NAME["clock_skewed"].code
LATE_FROM = 2


def update_of(
    meter: StreetMeter, request: PollRequest, result: PollResult, before: MeterState, tolerance_ms: int = CLOCK_TOLERANCE_MS
) -> MeterUpdate:
    """`meter` as it is after `Street.finished`; `tolerance_ms`: how far a meter's clock may be off."""
    state = _new_state(meter, request, result, before)
    noticed = _noticed(meter, result, before, state, tolerance_ms)
    late = sum(span.count(meter.interval_ms) for span in request.spans) >= LATE_FROM
    return MeterUpdate(
        state, meter.interval_ms, result.readings, result.intervals, (*(result.events or ()), *noticed),
        forms_intervals=not meter.on_line.has_profile, late=late,
    )  # fmt: skip


def meter_read_of(meter_no: int, result: PollResult, tolerance_ms: int = CLOCK_TOLERANCE_MS) -> MeterRead | None:
    """What the prepay core is told of a poll; None when no momentary value was read."""
    if not result.readings or result.fault is Fault.WRONG_METER:
        return None
    by_quantity = {r.quantity: r for r in result.readings}
    register = by_quantity.get(ENERGY_IMPORT.code)
    anchor = register or result.readings[0]
    return MeterRead(
        meter_no, result.serial, anchor.at_ms, register.value if register else None, register.quality if register else 0,
        result.switch or SwitchState.UNKNOWN, _value(by_quantity.get(POWER)), _value(by_quantity.get(VOLTAGE)),
        clock_offset_ms=_steady(result.clock_offset_ms, tolerance_ms),
    )  # fmt: skip


def _steady(offset_ms: int | None, tolerance_ms: int) -> int | None:
    """Under fast virtual time the reading itself takes virtual minutes; an offset within that is none."""
    if offset_ms is None or tolerance_ms == CLOCK_TOLERANCE_MS:
        return offset_ms
    return 0 if abs(offset_ms) <= tolerance_ms else offset_ms


def _value(reading: Reading | None) -> int | None:
    return reading.value if reading is not None and not reading.quality else None


def _new_state(meter: StreetMeter, request: PollRequest, result: PollResult, before: MeterState) -> MeterState:
    if not result.answered or result.fault is Fault.WRONG_METER:
        return replace(before, answering=before.answering and meter.failures < SILENT_AFTER)
    offset = before.clock_offset_ms if result.clock_offset_ms is None else result.clock_offset_ms
    mark_ms = new_mark(before.mark_ms, request, result.answered_spans)
    return replace(
        before,
        serial=result.serial,
        contact_ms=max(before.contact_ms, result.finished_ms),
        answering=True,
        switch=result.switch or before.switch,
        clock_offset_ms=offset,
        clock_read_ms=before.clock_read_ms if result.clock_offset_ms is None else result.finished_ms,
        mark_ms=mark_ms,
        events_ms=_events_mark(request, result, before),
    )


def _events_mark(request: PollRequest, result: PollResult, before: MeterState) -> int | None:
    if result.events is None:
        return before.events_ms
    newest = max((e.at_ms for e in result.events), default=request.events_after_ms or 0)
    return max(newest, before.events_ms or 0)


def _noticed(
    meter: StreetMeter, result: PollResult, before: MeterState, after: MeterState, tolerance_ms: int
) -> tuple[MeterEvent, ...]:
    at_ms = result.finished_ms
    tests = (
        (result.fault is Fault.WRONG_METER, SERIAL_MISMATCH, result.trouble),
        (before.answering and not after.answering, SILENT, result.trouble),
        (after.answering and not before.answering and before.contact_ms > 0, ANSWERS_AGAIN, ""),
        (_skewed(after, tolerance_ms) and not _skewed(before, tolerance_ms), CLOCK_SKEWED, f"{after.clock_offset_ms} ms"),
    )
    return tuple(MeterEvent(code, at_ms, detail) for happened, code, detail in tests if happened)


def _skewed(state: MeterState, tolerance_ms: int) -> bool:
    return abs(state.clock_offset_ms) > tolerance_ms
