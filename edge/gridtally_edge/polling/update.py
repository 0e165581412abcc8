"""From a poll's result to what the journal stores and what the prepay core is told. Pure."""

from __future__ import annotations

from dataclasses import replace

from gridtally_edge.drivers.model import Capability, MeterEvent, Reading, SwitchState
from gridtally_edge.journal.readings import MeterState, MeterUpdate
from gridtally_edge.polling.forming import NO_LIMITS, RegisterLimits
from gridtally_edge.polling.gaps import floor_to
from gridtally_edge.polling.plan import new_mark
from gridtally_edge.polling.plans import Content
from gridtally_edge.polling.poll import OVERLOADED, Fault, PollRequest, PollResult
from gridtally_edge.polling.street import SILENT_AFTER, StreetMeter
from gridtally_edge.prepay.events import MeterRead, SwitchOutcome
from gridtally_shared.events import BY_NAME as EVENT_BY_NAME
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, BY_NAME, ENERGY_IMPORT, Kind

POWER, VOLTAGE = BY_NAME["power_w"].code, BY_NAME["voltage_mv"].code
LOAD_SIDE = BY_NAME["load_side_voltage_mv"].code
DEMAND = BY_NAME["demand_max_w"].code
CLOCK_TOLERANCE_MS = 120_000
SILENT = EVENT_BY_NAME["meter_silent"].code
ANSWERS_AGAIN = EVENT_BY_NAME["meter_answers_again"].code
SERIAL_MISMATCH = EVENT_BY_NAME["serial_mismatch"].code
CLOCK_SKEWED = EVENT_BY_NAME["clock_skewed"].code
PERIOD_CHANGED = EVENT_BY_NAME["capture_period_changed"].code
SWAP, CLOCK_UNCERTAIN = int(Quality.SWAP), int(Quality.CLOCK_UNCERTAIN)
LATE_FROM = 2


def update_of(
    meter: StreetMeter, request: PollRequest, result: PollResult, before: MeterState, tolerance_ms: int = CLOCK_TOLERANCE_MS
) -> MeterUpdate:
    """`meter` as it is after `Street.finished`; `tolerance_ms`: how far a meter's clock may be off."""
    state = _new_state(meter, request, result, before)
    noticed = _noticed(meter, result, before, state, tolerance_ms)
    late = sum(span.count(meter.interval_ms) for span in request.spans) >= LATE_FROM
    intervals = () if _period_changed(before, state) else marked(result.intervals, before, meter.interval_ms)
    return MeterUpdate(
        state, meter.interval_ms, _opening(result.readings) if meter.swapped_in else result.readings, intervals,
        (*_with_demand(result), *noticed), forms_intervals=not meter.on_line.can(Capability.LOAD_PROFILE), late=late,
        limits=meter.on_line.limits, rows=rows_of(Content.DAILY, result.daily) + rows_of(Content.BILLING, result.billing),
    )  # fmt: skip


def state_after_switch(before: MeterState, outcome: SwitchOutcome) -> MeterState:
    """The switch as its meter read it back: nobody waits for the next poll to see a supply that went off, or came back. Its
    moment is later than any look before, since lanes may overtake each other and the newer status wins."""
    if outcome.state_after is SwitchState.UNKNOWN or outcome.serial != before.serial:
        return before
    return replace(before, switch=outcome.state_after, contact_ms=max(before.contact_ms + 1, outcome.at_ms))


def _with_demand(result: PollResult) -> tuple[MeterEvent, ...]:
    """A load violation says how high the maximum demand stood when it was read."""
    demand_w = next((r.value for r in result.readings if r.quantity == DEMAND and not r.quality), None)
    events = result.events or ()
    if demand_w is None:
        return events
    return tuple(replace(e, detail=f"{e.detail} md_w={demand_w}".strip()) if e.code == OVERLOADED else e for e in events)


def rows_of(content: Content, readings: tuple[Reading, ...]) -> tuple[tuple[str, Reading], ...]:
    return tuple((content.value, reading) for reading in readings)


def _opening(readings: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """The first registers of a meter that was put in say so themselves."""
    return tuple(replace(r, quality=r.quality | SWAP) if BY_CODE[r.quantity].kind is Kind.REGISTER else r for r in readings)


def marked(intervals: tuple[Reading, ...], before: MeterState, interval_ms: int) -> tuple[Reading, ...]:
    """The interval in which this DCU set the clock is longer or shorter than it says."""
    set_in_ms = -1 if before.clock_set_ms is None else floor_to(before.clock_set_ms, interval_ms)
    return tuple(replace(r, quality=r.quality | CLOCK_UNCERTAIN) if r.at_ms == set_in_ms else r for r in intervals)


def meter_read_of(
    meter_no: int, result: PollResult, tolerance_ms: int = CLOCK_TOLERANCE_MS, limits: RegisterLimits = NO_LIMITS,
    clock_is_ours: bool = False,
) -> MeterRead | None:  # fmt: skip
    """What the prepay core is told of a poll; None when no momentary value was read. `clock_is_ours`: this DCU set the
    meter's clock, so it is no witness of the time."""
    if not result.readings or result.fault is Fault.WRONG_METER:
        return None
    by_quantity = {r.quantity: r for r in result.readings}
    register = by_quantity.get(ENERGY_IMPORT.code)
    anchor = register or result.readings[0]
    return MeterRead(
        meter_no, result.serial, anchor.at_ms, register.value if register else None, register.quality if register else 0,
        result.switch or SwitchState.UNKNOWN, _value(by_quantity.get(POWER)), _value(by_quantity.get(VOLTAGE)),
        load_side_mv=_value(by_quantity.get(LOAD_SIDE)),
        register_modulus_wh=limits.rollover_wh or None,
        clock_offset_ms=None if clock_is_ours else _steady(result.clock_offset_ms, tolerance_ms),
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
    mark_ms = _mark_on_grid(meter, before, result, new_mark(before.mark_ms, request, result.answered_spans))
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
        capture_s=result.period_s or before.capture_s,
    )


def _mark_on_grid(meter: StreetMeter, before: MeterState, result: PollResult, mark_ms: int | None) -> int | None:
    """After a change of the period the next whole interval of the new grid is the first."""
    if mark_ms is None or not result.period_s or result.period_s == before.capture_s:
        return mark_ms
    if before.capture_s and before.mark_ms is not None:
        return -(-before.mark_ms // meter.interval_ms) * meter.interval_ms
    return floor_to(mark_ms, meter.interval_ms)


def _period_changed(before: MeterState, after: MeterState) -> bool:
    return 0 < before.capture_s != after.capture_s > 0


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
        (_period_changed(before, after), PERIOD_CHANGED, f"old={before.capture_s} new={after.capture_s} s"),
        (_skewed(after, tolerance_ms) and not _skewed(before, tolerance_ms), CLOCK_SKEWED, f"{after.clock_offset_ms} ms"),
    )
    return tuple(MeterEvent(code, at_ms, detail) for happened, code, detail in tests if happened)


def _skewed(state: MeterState, tolerance_ms: int) -> bool:
    return abs(state.clock_offset_ms) > tolerance_ms
