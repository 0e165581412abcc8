"""What a poll says of the meter's own condition, against what was known: status word, checks of its own, its form.

* A bit that newly stands in the status word is an alarm: the event log, which knows the moment, is read at once, and only
  what no log tells becomes an event of its own. What stands at the first look after a start is taken from the log.
* A check that newly fails is an event, and so is its passing again, unless the meter's log told it.
* An answer whose protection failed is a security event, once until the meter answers as agreed again.
* A meter that tells no time, or none that can be, is an event, once until it tells one again; its values are not registered without.
* A meter whose form is not the one its socket needs is an event, and nothing it says is booked until it fits (I2FR2).
"""

from __future__ import annotations

from dataclasses import replace

from gridtally_edge.drivers.model import Capability, Diagnostic, DiagnosticState, MeterEvent
from gridtally_edge.polling.poll import PollResult
from gridtally_edge.polling.street import StreetMeter
from gridtally_shared.checks import CHECK_EVENTS
from gridtally_shared.events import BY_NAME
from gridtally_shared.records import dataclass

TOLD_MS = 60_000
WRONG_FORM = BY_NAME["wrong_form"].code
PROTECTION_FAILED = BY_NAME["protection_failed"].code
CLOCK_INVALID = BY_NAME["clock_invalid"].code


@dataclass(frozen=True, slots=True)
class Condition:
    """What is remembered of a meter's condition, and what was new in it. `alarm`: its log must be read."""

    standing: frozenset[int] | None
    failing: frozenset[str]
    wrong_form: bool
    untrusted: bool = False
    timeless: bool = False
    alarm: bool = False
    events: tuple[MeterEvent, ...] = ()


def condition_after(meter: StreetMeter, result: PollResult) -> Condition:
    standing, alarm, by_status = _status(meter, result)
    failing, by_checks = _checks(meter, result)
    events = (*by_status, *by_checks, *_security(meter, result), *_time(meter, result))
    untrusted = bool(result.untrusted) or (meter.untrusted and not result.answered)
    timeless = bool(result.clock_trouble) or (meter.timeless and result.clock_offset_ms is None)
    return Condition(standing, failing, _is_wrong(meter, result), untrusted, timeless, alarm, events)


def adopt(meter: StreetMeter, condition: Condition) -> None:
    meter.standing, meter.failing, meter.wrong_form = condition.standing, condition.failing, condition.wrong_form
    meter.untrusted, meter.timeless = condition.untrusted, condition.timeless
    meter.alarm |= condition.alarm
    meter.form_told = meter.form_told if condition.wrong_form else -1


def without_told(meter: StreetMeter, result: PollResult) -> PollResult:
    """A log entry of an alarm that came unasked a moment before is not a second event."""
    if not meter.told or not result.events:
        return result
    fresh = (e for e in result.events if abs(e.at_ms - meter.told.get(e.code, e.at_ms - TOLD_MS - 1)) > TOLD_MS)
    return replace(result, events=tuple(fresh))


def without_content(result: PollResult) -> PollResult:
    """A result of which only says that the meter answered, and who it was."""
    return replace(
        result, readings=(), intervals=(), answered_spans=(), events=None, daily=(), billing=(), done=frozenset(),
        clock_offset_ms=None,
    )  # fmt: skip


def _status(meter: StreetMeter, result: PollResult) -> tuple[frozenset[int] | None, bool, tuple[MeterEvent, ...]]:
    if result.status is None:
        return meter.standing, False, ()
    standing = frozenset(e.code for e in result.status)
    has_log = meter.on_line.can(Capability.EVENTS)
    new = standing - meter.standing if meter.standing is not None else standing if not has_log else frozenset()
    if has_log:
        told = {e.code for e in result.events or ()}
        return standing, result.events is None and bool(new - told), ()
    return standing, False, tuple(e for e in result.status if e.code in new)


def _checks(meter: StreetMeter, result: PollResult) -> tuple[frozenset[str], tuple[MeterEvent, ...]]:
    known = _failing_by_log(meter.failing, result.events or ())
    if result.diagnostics is None:
        return known, ()
    failing = frozenset(d.check for d in result.diagnostics if d.state is DiagnosticState.FAILED)
    passing = frozenset(d.check for d in result.diagnostics if d.state is DiagnosticState.PASSED)
    changed = (failing - known) | (passing & known)
    return failing | (known - passing), tuple(check_event(d, result.finished_ms) for d in result.diagnostics if d.check in changed)


def _failing_by_log(failing: frozenset[str], events: tuple[MeterEvent, ...]) -> frozenset[str]:
    """A check that the meter's own log told of needs no second event."""
    for event in events:
        failing |= {check for check, (failed, _) in CHECK_EVENTS.items() if BY_NAME[failed].code == event.code}
        failing -= {check for check, (_, passed) in CHECK_EVENTS.items() if BY_NAME[passed].code == event.code}
    return failing


def check_event(check: Diagnostic, at_ms: int) -> MeterEvent:
    """What a check's result is as an event; of a meter that tells no moment of it at `at_ms`."""
    failed, passed = CHECK_EVENTS.get(check.check, ("diagnostic_failed", "diagnostic_passed"))
    name = failed if check.state is DiagnosticState.FAILED else passed
    return MeterEvent(BY_NAME[name].code, check.at_ms or at_ms, f"{check.check} {check.detail}".strip())


def _security(meter: StreetMeter, result: PollResult) -> tuple[MeterEvent, ...]:
    if not result.untrusted or meter.untrusted:
        return ()
    return (MeterEvent(PROTECTION_FAILED, result.finished_ms, result.untrusted),)


def _time(meter: StreetMeter, result: PollResult) -> tuple[MeterEvent, ...]:
    if not result.clock_trouble or meter.timeless:
        return ()
    return (MeterEvent(CLOCK_INVALID, result.finished_ms, result.clock_trouble),)


def _is_wrong(meter: StreetMeter, result: PollResult) -> bool:
    if result.form is None or not meter.checks_form:
        return meter.wrong_form
    return result.form.phases != meter.on_line.phases


def form_event(meter: StreetMeter, number: int, result: PollResult) -> MeterEvent | None:
    """The wrong form as an event, once before the meter is bound (number 0; it names the serial) and once after."""
    if not meter.wrong_form or meter.form_told == number or result.form is None:
        return None
    meter.form_told = number
    text = f"phases={result.form.phases} expected={meter.on_line.phases}"
    meter.trouble = f"does not fit its socket: {text}"
    return MeterEvent(WRONG_FORM, result.finished_ms, text if number else f"serial={result.serial} {text}")
