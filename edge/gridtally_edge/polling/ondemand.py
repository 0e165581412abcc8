"""Reads that a command asks for: the same poll, other contents, and the answer as the command's receipt carries it."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.blocks import blocks_of
from gridtally_edge.polling.gaps import Span, floor_to
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult
from gridtally_edge.prepay.events import ReadFinished, RunRead
from gridtally_shared import cbor
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, Intervals, Readings, Value
from gridtally_shared.lifecycle import Reason

REASONS: dict[Fault, Reason] = {
    Fault.SILENT: Reason.NO_ANSWER,
    Fault.NONSENSE: Reason.METER_FAULT,
    Fault.WRONG_METER: Reason.WRONG_SERIAL,
}


def request_for(run: RunRead, interval_ms: int) -> PollRequest | None:
    """What to ask for a command; None for a command that is no read."""
    make = _REQUESTS.get(run.type)
    return make(run, interval_ms) if make else None


def answer_to(run: RunRead, result: PollResult, interval_ms: int) -> ReadFinished:
    """The outcome of a read. Partial results are not passed off as an answer."""
    switch = result.switch or SwitchState.UNKNOWN
    if result.fault is not Fault.NONE:
        reason = REASONS[result.fault]
        return ReadFinished(run.cmd_id, False, result.finished_ms, reason=reason, serial=result.serial, switch=switch)
    content = _RESULTS[run.type](run, result, interval_ms)
    return ReadFinished(run.cmd_id, True, result.finished_ms, content, serial=result.serial, switch=switch)


def refused(run: RunRead, reason: Reason, at_ms: int) -> ReadFinished:
    return ReadFinished(run.cmd_id, False, at_ms, reason=reason)


def _span(run: RunRead, interval_ms: int) -> PollRequest:
    span = Span(floor_to(run.from_ms, interval_ms), floor_to(run.to_ms, interval_ms))
    return PollRequest(run.serial, instant=False, switch=False, spans=(span,))


def _values(run: RunRead, result: PollResult, _interval_ms: int) -> bytes:
    return encode(Readings(tuple(Value(run.meter_no, r.quantity, r.at_ms, r.value, r.quality) for r in result.readings)))


def _events(run: RunRead, result: PollResult, _interval_ms: int) -> bytes:
    wanted = [e for e in result.events or () if not run.to_ms or e.at_ms <= run.to_ms]
    return cbor.dumps({0: [[e.code, e.at_ms, e.detail] for e in wanted]})


_REQUESTS: dict[CommandType, Callable[[RunRead, int], PollRequest]] = {
    CommandType.READ_INSTANT: lambda run, _: PollRequest(run.serial),
    CommandType.READ_SWITCH: lambda run, _: PollRequest(run.serial, instant=False),
    CommandType.READ_INTERVALS: _span,
    CommandType.READ_EVENTS: lambda run, _: PollRequest(run.serial, False, False, events_after_ms=run.from_ms),
}

_RESULTS: dict[CommandType, Callable[[RunRead, PollResult, int], bytes]] = {
    CommandType.READ_INSTANT: _values,
    CommandType.READ_SWITCH: lambda _, result, __: cbor.dumps({0: (result.switch or SwitchState.UNKNOWN).value}),
    CommandType.READ_INTERVALS: lambda run, r, ms: encode(Intervals(blocks_of(run.meter_no, r.intervals, ms))),
    CommandType.READ_EVENTS: _events,
}
