"""The core's part in tasks at meters: those of commands, and keeping the meters' clocks right by itself (BYPL-10.1).

* A task of a command comes back as its receipt; what it changed is journaled as events, old and new value with it.
* A clock check that finds a meter off its tolerance plans a correction (polling/timesync.py); only while our own clock is
  TRUSTED, and a large jump is only flagged.
* A change of the capture period waits until every closed interval is read: the meter may empty its load profile with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from gridtally_edge.core_events import Effect, Moment, RenewPort, StartTask, TaskDone
from gridtally_edge.drivers.model import Capability, DiagnosticState, MeterEvent
from gridtally_edge.journal.readings import MeterState, MeterUpdate
from gridtally_edge.polling import timesync
from gridtally_edge.polling.gaps import floor_to
from gridtally_edge.polling.ondemand import refused
from gridtally_edge.polling.poll import PollResult
from gridtally_edge.polling.street import StreetMeter
from gridtally_edge.polling.tasks import TaskOutcome, result_of
from gridtally_edge.polling.timesync import SyncPolicy, Verdict
from gridtally_edge.polling.watching import check_event
from gridtally_edge.prepay.events import ReadFinished, RunRead, RunTask
from gridtally_edge.transports.arbiter import Priority
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.events import BY_NAME
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import Setting, SettingKind
from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    from gridtally_edge.core import EdgeCore

CORRECTED = BY_NAME["clock_corrected"].code
JUMP_NEEDED = BY_NAME["clock_jump_needed"].code
SYNC_FAILED = BY_NAME["time_sync_failed"].code
WRITTEN = BY_NAME["settings_written"].code
NOT_TAKEN = BY_NAME["setting_not_taken"].code
REFUSED = BY_NAME["setting_refused"].code
SYNC_WITHIN_MS = MS_PER_HOUR
SYNC_RETRY_MS = 60_000
PLACE_WITHIN_MS = 120_000
LOOK_AGAIN_MS = 30_000
GAS = "gas"
NOT_REFUSED = frozenset({"", Reason.NO_ANSWER, Reason.TOO_LATE, Reason.HELD, Reason.WRONG_SERIAL})


def order_task(core: EdgeCore, task: RunTask, moment: Moment) -> tuple[Effect, ...]:
    """A verified command's task."""
    meter = core.street.by_number(task.meter_no)
    if meter is None:
        return not_found(core, task, moment)
    if meter.wrong_form and task.type is CommandType.WRITE_SETTINGS:
        return core.tell_prepay(refused(task.cmd_id, Reason.WRONG_FORM, moment.now_ms), moment)
    if meter.binding is not None and meter.binding.commodity == GAS and any(s.kind == SettingKind.LOAD_LIMIT for s in _written(task)):
        return core.tell_prepay(refused(task.cmd_id, Reason.NO_FLOW_LIMIT, moment.now_ms), moment)
    if _ends_profile(task) and _is_unread(core, meter, moment):
        return core.tell_prepay(replace(refused(task.cmd_id, Reason.HELD, moment.now_ms), again_ms=moment.now_ms + LOOK_AGAIN_MS), moment)
    return (StartTask(meter.key, task, Priority.ON_DEMAND, meter.interval_ms, policy_at(moment)),)


def _ends_profile(task: RunTask) -> bool:
    """Another capture period: many meters then empty their load profile."""
    return any(s.kind == SettingKind.CAPTURE_PERIOD for s in _written(task))


def _written(task: RunTask) -> tuple[Setting, ...]:
    return task.settings if task.type is CommandType.WRITE_SETTINGS else ()


def _is_unread(core: EdgeCore, meter: StreetMeter, moment: Moment) -> bool:
    """Whether the meter's load profile has closed intervals that are not read yet."""
    state = core.state_of(meter.meter_no)
    closed_ms = floor_to(moment.now_ms + max(0, state.clock_offset_ms), meter.interval_ms)
    return Capability.LOAD_PROFILE in meter.on_line.capabilities and (state.mark_ms or 0) < closed_ms


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An order for a meter of ours that has not answered anywhere since the start."""

    order: RunRead | RunTask
    until_ms: int


def not_found(core: EdgeCore, order: RunRead | RunTask, moment: Moment) -> tuple[Effect, ...]:
    """No meter of that number is on a line: wait a little for one that the cloud has here, refuse any other."""
    if core.street.expects(order.meter_no):
        core.unplaced.append(Unplaced(order, moment.now_ms + PLACE_WITHIN_MS))
        return ()
    return core.tell_prepay(refused(order.cmd_id, Reason.UNKNOWN_METER, moment.now_ms), moment)


def placed(core: EdgeCore, moment: Moment) -> tuple[Effect, ...]:
    """Orders whose meter was found meanwhile, or will not be."""
    waiting, core.unplaced = core.unplaced, []
    effects: tuple[Effect, ...] = ()
    for one in waiting:
        if core.street.by_number(one.order.meter_no) is not None:
            effects += core.order(one.order, moment)
        elif moment.now_ms > one.until_ms:
            effects += core.tell_prepay(refused(one.order.cmd_id, Reason.NO_ANSWER, moment.now_ms), moment)
        else:
            core.unplaced.append(one)
    return effects


def task_done(core: EdgeCore, done: TaskDone, moment: Moment) -> tuple[Effect, ...]:
    meter = core.street.meters.get(done.key)
    outcome = done.outcome
    effects: tuple[Effect, ...] = ()
    if meter is not None:
        before = core.state_of(done.task.meter_no)
        state = _state_after(before, done.task, outcome)
        if not done.task.cmd_id:
            _plan_next(meter, state, outcome, moment)
        events = tuple(event for say in _EVENTS for event in say(before, state, outcome)) + _refused_settings(done.task, outcome)
        core.gather(MeterUpdate(state, meter.interval_ms, events=events), before, moment)
        effects = core.flush(moment) + (RenewPort(meter.key),) * _changes_profile(outcome)
    if done.task.cmd_id:
        effects += core.tell_prepay(_answer(done.task, outcome), moment)
    return effects + core.send(moment)


def clock_was_read(core: EdgeCore, meter: StreetMeter, result: PollResult, moment: Moment) -> None:
    """After a poll that read the meter's clock: is a correction due, and when?"""
    if result.clock_offset_ms is None or not meter.meter_no or not meter.on_line.can(Capability.SET_CLOCK):
        return
    policy, offset_ms = policy_at(moment), result.clock_offset_ms
    verdict = timesync.verdict(offset_ms, core.prepay.clock(moment.now_ms).state, policy)
    if verdict is Verdict.SET:
        meter.sync_at_ms = timesync.when_to_set(moment.now_ms, offset_ms, meter.interval_ms, policy)
    else:
        meter.sync_at_ms = None
    if verdict is Verdict.FLAG and not meter.jump_flagged:
        state = core.state_of(meter.meter_no)
        event = MeterEvent(JUMP_NEEDED, result.finished_ms, f"offset={offset_ms} ms")
        core.gather(MeterUpdate(state, meter.interval_ms, events=(event,)), state, moment)
    meter.jump_flagged = verdict is Verdict.FLAG


def due_syncs(core: EdgeCore, moment: Moment) -> tuple[Effect, ...]:
    """Corrections whose moment has come."""
    due = [m for m in core.street.meters.values() if m.sync_at_ms is not None and m.sync_at_ms <= moment.now_ms]
    return tuple(_sync(meter, moment) for meter in due if meter.meter_no)


def policy_at(moment: Moment) -> SyncPolicy:
    """Under fast virtual time a reading itself takes virtual seconds, so less can be asked of a clock."""
    tolerance_ms = max(timesync.DEFAULT.tolerance_ms, int(moment.factor * 1_000) if moment.factor > 1 else 0)
    return replace(
        timesync.DEFAULT, tolerance_ms=tolerance_ms, largest_ms=max(timesync.DEFAULT.largest_ms, 2 * tolerance_ms)
    )


def _sync(meter: StreetMeter, moment: Moment) -> StartTask:
    meter.sync_at_ms = None
    task = RunTask(
        b"", meter.meter_no, meter.serial, CommandType.SET_CLOCK, moment.now_ms, moment.now_ms + SYNC_WITHIN_MS
    )  # fmt: skip
    return StartTask(meter.key, task, Priority.PROFILE, meter.interval_ms, policy_at(moment))


def _state_after(before: MeterState, task: RunTask, outcome: TaskOutcome) -> MeterState:
    state = before
    clock = outcome.clock
    if clock is not None:
        was_set = clock.old_ms != clock.new_ms
        state = replace(state, clock_offset_ms=clock.left_ms, clock_read_ms=outcome.at_ms)
        state = replace(state, clock_set_ms=outcome.at_ms) if was_set else state
    if task.type is CommandType.SET_CLOCK and outcome.ok:
        state = replace(state, sync_failures=0)
    elif task.type is CommandType.SET_CLOCK and outcome.reason not in NOT_REFUSED:
        state = replace(state, sync_failures=before.sync_failures + 1)
    return state


def _plan_next(meter: StreetMeter, state: MeterState, outcome: TaskOutcome, moment: Moment) -> None:
    policy = policy_at(moment)
    if outcome.again_ms is not None:
        meter.sync_at_ms = outcome.again_ms
    elif outcome.ok and outcome.clock is not None and abs(outcome.clock.left_ms) > policy.tolerance_ms:
        meter.sync_at_ms = outcome.at_ms + meter.interval_ms  # a further step
    elif 0 < state.sync_failures < policy.tries:
        meter.sync_at_ms = outcome.at_ms + SYNC_RETRY_MS


def _clock_events(before: MeterState, after: MeterState, outcome: TaskOutcome) -> tuple[MeterEvent, ...]:
    clock, tries = outcome.clock, timesync.DEFAULT.tries
    events: list[MeterEvent] = []
    if clock is not None and outcome.ok and clock.old_ms != clock.new_ms:
        text = f"old={clock.old_ms} new={clock.new_ms} left={clock.left_ms} ms"
        events.append(MeterEvent(CORRECTED, outcome.at_ms, text))
    if before.sync_failures < tries <= after.sync_failures:
        events.append(MeterEvent(SYNC_FAILED, outcome.at_ms, f"refused={after.sync_failures} {outcome.fault}".strip()))
    return tuple(events)


def _settings_events(_: MeterState, __: MeterState, outcome: TaskOutcome) -> tuple[MeterEvent, ...]:
    codes = {"": WRITTEN, Reason.NOT_READ_BACK: NOT_TAKEN}
    if outcome.reason not in codes or not (outcome.sent and outcome.settings):
        return ()
    names = ",".join(SettingKind(s.kind).name.lower() for s in outcome.settings)
    return (MeterEvent(codes[outcome.reason], outcome.at_ms, names),)


def _refused_settings(task: RunTask, outcome: TaskOutcome) -> tuple[MeterEvent, ...]:
    """Settings that were sound, and the meter itself did not take."""
    if task.type is not CommandType.WRITE_SETTINGS or outcome.reason != Reason.METER_FAULT:
        return ()
    names = ",".join(SettingKind(s.kind).name.lower() for s in task.settings)
    return (MeterEvent(REFUSED, outcome.at_ms, f"{names} error={outcome.reason} {outcome.fault}"[:200].strip()),)


def _diagnostic_events(_: MeterState, __: MeterState, outcome: TaskOutcome) -> tuple[MeterEvent, ...]:
    return tuple(check_event(d, outcome.at_ms) for d in outcome.diagnostics or () if d.state is DiagnosticState.FAILED)


_EVENTS: tuple[Callable[[MeterState, MeterState, TaskOutcome], tuple[MeterEvent, ...]], ...] = (
    _clock_events, _settings_events, _diagnostic_events,
)  # fmt: skip


def _changes_profile(outcome: TaskOutcome) -> bool:
    return outcome.sent and any(s.kind == SettingKind.CAPTURE_PERIOD for s in outcome.settings)


def _answer(task: RunTask, outcome: TaskOutcome) -> ReadFinished:
    return ReadFinished(
        task.cmd_id, outcome.ok, outcome.at_ms, result_of(outcome), outcome.reason, outcome.serial, again_ms=outcome.again_ms,
        sent=outcome.sent, refused=outcome.refused,
    )
