"""Reads that a command asks for: the same poll, other contents, and the answer as the command's receipt carries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from gridtally_edge.drivers.model import Capability, SwitchState
from gridtally_edge.journal.blocks import blocks_of
from gridtally_edge.polling.gaps import Span, floor_to
from gridtally_edge.polling.plans import Content
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult
from gridtally_edge.prepay.events import ReadFinished, RunRead
from gridtally_shared import cbor
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, Intervals, Readings, Value
from gridtally_shared.lifecycle import Reason
from gridtally_shared.quantities import BY_CODE
from gridtally_shared.route import Route
from gridtally_shared.supply_test import SupplyTest

NEEDS: dict[CommandType, Capability] = {
    CommandType.READ_INTERVALS: Capability.LOAD_PROFILE,
    CommandType.READ_EVENTS: Capability.EVENTS,
    CommandType.READ_DAILY: Capability.DAILY,
    CommandType.READ_BILLING: Capability.BILLING,
    CommandType.READ_NAME_PLATE: Capability.NAME_PLATE,
}
"""What a meter must be able to do for a read."""
VOLTAGES = ("voltage_mv", "voltage_l1_mv", "voltage_l2_mv", "voltage_l3_mv")
CURRENTS = ("current_ma", "current_l1_ma", "current_l2_ma", "current_l3_ma")
REASONS: dict[Fault, Reason] = {
    Fault.SILENT: Reason.NO_ANSWER,
    Fault.GAVE_WAY: Reason.NO_ANSWER,
    Fault.BUSY: Reason.METER_BUSY,
    Fault.NONSENSE: Reason.METER_FAULT,
    Fault.WRONG_METER: Reason.WRONG_SERIAL,
}


def request_for(run: RunRead, interval_ms: int) -> PollRequest | None:
    """What to ask for a command; None for a command that is no read."""
    make = _REQUESTS.get(run.type)
    return make(run, interval_ms) if make else None


def answer_to(run: RunRead, result: PollResult, interval_ms: int, route: Route | None = None) -> ReadFinished:
    """The outcome of a read. Partial results are not passed off as an answer. `route`: the way to the meter, told with a test."""
    switch = result.switch or SwitchState.UNKNOWN
    if result.fault is not Fault.NONE:
        reason = REASONS[result.fault]
        told = _tested(result, route) if run.type is CommandType.TEST_SUPPLY else b""
        return ReadFinished(run.cmd_id, False, result.finished_ms, told, reason, result.serial, switch)
    content = _tested(result, route) if run.type is CommandType.TEST_SUPPLY else _RESULTS[run.type](run, result, interval_ms)
    return ReadFinished(run.cmd_id, True, result.finished_ms, content, serial=result.serial, switch=switch)


def refused(cmd_id: bytes, reason: Reason, at_ms: int) -> ReadFinished:
    return ReadFinished(cmd_id, False, at_ms, reason=reason)


def _span(run: RunRead, interval_ms: int) -> PollRequest:
    span = Span(floor_to(run.from_ms, interval_ms), floor_to(run.to_ms, interval_ms))
    return PollRequest(run.serial, instant=False, switch=False, spans=(span,))


def _values(run: RunRead, result: PollResult, _interval_ms: int) -> bytes:
    """Readings; of a daily or billing read its rows, each value at its own moment."""
    rows = {CommandType.READ_DAILY: result.daily, CommandType.READ_BILLING: result.billing}
    readings = rows.get(run.type, result.readings)
    return encode(Readings(tuple(Value(run.meter_no, r.quantity, r.at_ms, r.value, r.quality) for r in readings)))


def _name_plate(_run: RunRead, result: PollResult, _interval_ms: int) -> bytes:
    """{0: {field of NamePlate: text}}."""
    return cbor.dumps({0: asdict(result.name_plate)}) if result.name_plate else b""


def _tested(result: PollResult, route: Route | None) -> bytes:
    """Of several phases the highest voltage and the sum of the currents; a phase without load tells nothing."""
    values = {BY_CODE[r.quantity].name: r.value for r in result.readings if not r.quality and r.quantity in BY_CODE}
    voltages = [values[name] for name in VOLTAGES if name in values]
    currents = [values[name] for name in CURRENTS if name in values]
    return encode(SupplyTest(
        result.fault is Fault.NONE, result.finished_ms, (result.switch or SwitchState.UNKNOWN).value, max(voltages, default=None),
        values.get("load_side_voltage_mv"), sum(currents) if currents else None, values.get("power_w"), result.serial,
        route,
    ))  # fmt: skip


def _events(run: RunRead, result: PollResult, _interval_ms: int) -> bytes:
    wanted = [e for e in result.events or () if not run.to_ms or e.at_ms <= run.to_ms]
    return cbor.dumps({0: [[e.code, e.at_ms, e.detail] for e in wanted]})


_REQUESTS: dict[CommandType, Callable[[RunRead, int], PollRequest]] = {
    CommandType.READ_INSTANT: lambda run, _: PollRequest(run.serial),
    CommandType.READ_SWITCH: lambda run, _: PollRequest(run.serial, instant=False),
    CommandType.TEST_SUPPLY: lambda run, _: PollRequest(run.serial),
    CommandType.READ_INTERVALS: _span,
    CommandType.READ_EVENTS: lambda run, _: PollRequest(run.serial, False, False, events_after_ms=run.from_ms),
    CommandType.READ_DAILY: lambda run, _: PollRequest(run.serial, False, False, daily=(Span(run.from_ms, run.to_ms),)),
    CommandType.READ_BILLING: lambda run, _: PollRequest(run.serial, False, False, billing=(Span(run.from_ms, run.to_ms),)),
    CommandType.READ_NAME_PLATE: lambda run, _: PollRequest(
        run.serial, False, False, contents=frozenset({Content.NAME_PLATE})
    ),
}

_RESULTS: dict[CommandType, Callable[[RunRead, PollResult, int], bytes]] = {
    CommandType.READ_INSTANT: _values,
    CommandType.READ_SWITCH: lambda _, result, __: cbor.dumps({0: (result.switch or SwitchState.UNKNOWN).value}),
    CommandType.READ_INTERVALS: lambda run, r, ms: encode(Intervals(blocks_of(run.meter_no, r.intervals, ms))),
    CommandType.READ_EVENTS: _events,
    CommandType.READ_DAILY: _values,
    CommandType.READ_BILLING: _values,
    CommandType.READ_NAME_PLATE: _name_plate,
}
