"""Schedules at the edge: time frames and events, started and ended here, with or without the uplink.

* Level-triggered: at every step the wanted state follows from the schedules, the time and how far the time is believed. A
  restart, a missed end, a step of the clock or an old disk image are caught up at the next step.
* Without a believed clock nothing starts, and what is off by a schedule comes back: unknown always means "stay on".
* A supply goes off by a schedule only through the same cut tests as by money, without those of the money itself; it comes back
  through the restore tests. What a person orders in between is left alone.
* The consumer is told when a schedule comes and when it is cancelled; who is to be dark knows it beforehand.
* They are the account's: behind another meter, they go on there.
* An overlap that comes all the same is kept, refused and reported: the first one wins (C3-FR18).

Source: prepayment.md T28, 3.5; safety.md 1, 2, 5; C3-S2.10, S2.13, S2.16, S3.9.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import tzinfo

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import actions, notices, schedule_money
from gridtally_edge.prepay.command_states import command_of, end, move
from gridtally_edge.prepay.decide import facts_of
from gridtally_edge.prepay.events import RunRead
from gridtally_edge.prepay.rows import ActionRow, CommandRow, ScheduleRow, SwitchRow, one, save, some
from gridtally_edge.prepay.rules import local_of, policy_of, standing_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import AccountConfig, ClockState, Command, CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import DecisionEvidence, TestResult, detail
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.prepay.cut_tests import CUT_TESTS, RESTORE_TESTS, run, told
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.schedules.document import Action, Outcome, Programme, Schedule, Step, schedule_from
from gridtally_shared.schedules.windows import Span, clash, next_edge_ms, span_at, zone_named

NOT_OF_A_SCHEDULE = frozenset({"zero_action", "mode", "allowance", "schedule", "notice", "order", "resync"})
CUT_HERE = tuple(test for test in CUT_TESTS if test[0] not in NOT_OF_A_SCHEDULE)
LAST_READING_MS = 7 * MS_PER_DAY
REOPENED = frozenset({OffReason.ORDER.value, OffReason.UNORDERED.value})
"""What a supply goes back to after a window; off for want of money is the engine's own to decide, and off by another schedule ended with
that one."""
DUE = """WHERE stage <> 'over' OR reopen_ms IS NOT NULL
    OR (action = ? AND meter_no IN (SELECT meter_no FROM switch WHERE off_reason = 'schedule')) ORDER BY start_ms"""
"""Those that are over too while their supply is off by one: an order that was carried out after its window is undone."""
S = CommandState


def take(turn: Turn, row: CommandRow, command: Command) -> None:
    """A SCHEDULE command has come: kept and answered, refused, or refused for an overlap. One that was booked for the account's meter of
    before is held at the one of now."""
    row.due_ms = None  # it may have waited for its meter; now it waits for its time
    try:
        schedule = schedule_from(command.detail)
        zone_named(schedule.zone)
    except (ContractError, ValueError):
        end(turn, row, S.REFUSED, Reason.MALFORMED)
        return
    account = turn.plan.accounts.get(schedule.account_no)
    if account is None or turn.plan.by_meter.get(command.meter_no, account) is not account:
        end(turn, row, S.REFUSED, Reason.UNKNOWN_METER)
        return
    other = _in_the_way(turn, account.meter_no, schedule)
    if other is not None:
        turn.report(account.meter_no, "schedule_overlap", f"schedule={schedule.schedule_no} other={other.schedule_no}")
        end(turn, row, S.REFUSED, Reason.OVERLAP, encode(other))
        return
    held = ScheduleRow(
        row.cmd_id, schedule.schedule_no, account.meter_no, account.account_no, account.account_epoch, schedule.programme,
        schedule.start_ms, schedule.end_ms, action=schedule.action,
    )  # fmt: skip
    save(turn.db, held)
    move(turn, row, S.DELIVERED)
    notices.tell(turn, account, _code(schedule), s=schedule.start_ms, d=schedule.end_ms)
    _step(turn, held)


def is_of_account_here(turn: Turn, command: Command) -> bool:
    """Whether it is a schedule of an account we serve, whichever meter it names: the account may have another one by now."""
    try:
        return command.type == CommandType.SCHEDULE and schedule_from(command.detail).account_no in turn.plan.accounts
    except ContractError:
        return False


def follow(turn: Turn) -> None:
    """The configuration names the meters of now: schedules go with their account. One of an epoch that ended elsewhere is forgotten,
    with its command: if it goes on here it comes again."""
    for row in some(turn.db, ScheduleRow, "WHERE stage <> 'over'"):
        account = turn.plan.accounts.get(row.account_no)
        if account is not None and row.epoch < account.account_epoch:
            row.stage, row.running, row.reopen_ms = "over", 0, None
            turn.db.execute("DELETE FROM command WHERE cmd_id = ?", (row.cmd_id,))
        elif account is not None:
            row.meter_no = account.meter_no
        save(turn.db, row)


def forget(turn: Turn, cmd_id: bytes) -> None:
    """It was cancelled, or moved, before it began."""
    row = one(turn.db, ScheduleRow, cmd_id)
    account = turn.plan.accounts.get(row.account_no) if row is not None else None
    if row is None or row.stage == "over":
        return
    row.stage = "over"
    save(turn.db, row)
    if account is not None:
        notices.tell(turn, account, "SCHEDULE_GONE", s=row.start_ms)


def _code(schedule: Schedule) -> str:
    """The message that tells of it."""
    if schedule.programme == Programme.B:
        return "SCHEDULE_EVENT"
    return f"SCHEDULE_{'ON' if schedule.action == Action.SUPPLY else 'OFF'}{'_TIMES' if schedule.windows else ''}"


def run_due(turn: Turn) -> None:
    """Whatever the time asks for now, of every schedule here."""
    for row in some(turn.db, ScheduleRow, DUE, int(Action.OFF)):
        _step(turn, row)


def end_early(turn: Turn, command_row: CommandRow) -> bool:
    """The requester ends it: its time is over now."""
    row = one(turn.db, ScheduleRow, command_row.cmd_id)
    if row is None or row.stage != "running":
        return False
    row.end_ms, row.early = min(row.end_ms, max(row.start_ms + 1, turn.now_ms)), 1
    _step(turn, row)
    return True


def next_due_ms(turn: Turn) -> int | None:
    """When the next window starts or ends, for a clock that may be early or late."""
    rows = some(turn.db, ScheduleRow, "WHERE stage <> 'over'")
    apart_ms = turn.clock.uncertainty_ms if turn.clock.state is not ClockState.UNTRUSTED else 0
    since_ms = turn.now_ms - apart_ms
    edges = [next_edge_ms(schedule, since_ms, _zone(turn, row, schedule)) for row in rows if (schedule := _schedule(turn, row))]
    moments = (edge_ms + s * apart_ms for edge_ms in edges if edge_ms is not None for s in (-1, 0, 1))
    return min((ms for ms in moments if ms > turn.now_ms), default=None)


# ---- one step -------------------------------------------------------------------------------------------------


def _step(turn: Turn, row: ScheduleRow) -> None:
    schedule, account = _schedule(turn, row), turn.plan.accounts.get(row.account_no)
    if schedule is None or account is None or account.account_epoch != row.epoch:
        return
    window = _window(turn, row, schedule)
    if window is not None and not row.running and row.stage in ("waiting", "running"):
        _enter(turn, account, row, schedule, window)
    elif window is None and row.running and not _keeps(turn, schedule):
        _leave(turn, account, row, schedule)
    _pursue(turn, account, row, schedule, window)
    if _is_over(turn, row) and row.stage != "over":
        _close(turn, account, row)
    save(turn.db, row)


def _keeps(turn: Turn, schedule: Schedule) -> bool:
    """A supply that is on stays on while nobody knows the time; one that is off does not stay off."""
    return schedule.action == Action.SUPPLY and turn.clock.state is ClockState.UNTRUSTED


def _window(turn: Turn, row: ScheduleRow, schedule: Schedule) -> Span | None:
    """The window that holds now: for OFF over the whole uncertainty of the clock, for SUPPLY anywhere in it."""
    clock = turn.clock
    if clock.state is ClockState.UNTRUSTED:
        _say_held(turn, row)
        return None
    timely = replace(schedule, end_ms=row.end_ms)
    zone = _zone(turn, row, schedule)
    early, late = (span_at(timely, turn.now_ms + s * clock.uncertainty_ms, zone) for s in (-1, 1))
    if schedule.action == Action.OFF:
        return early if early == late else None
    return span_at(timely, turn.now_ms, zone) or early


def _say_held(turn: Turn, row: ScheduleRow) -> None:
    command = one(turn.db, CommandRow, row.cmd_id)
    if command is not None and command.state == S.DELIVERED and turn.now_ms >= row.start_ms:
        move(turn, command, S.DELIVERED, Reason.CLOCK_UNTRUSTED)


def _is_over(turn: Turn, row: ScheduleRow) -> bool:
    return turn.clock.state is not ClockState.UNTRUSTED and turn.now_ms - turn.clock.uncertainty_ms >= row.end_ms


def _enter(turn: Turn, account: AccountConfig, row: ScheduleRow, schedule: Schedule, window: Span) -> None:
    switch, command = turn.switch(row.meter_no), one(turn.db, CommandRow, row.cmd_id)
    first = row.runs == 0
    row.stage, row.running, row.runs, row.window_ms, row.reopen_ms = "running", 1, row.runs + 1, window.start_ms, None
    row.before = switch.off_reason if SwitchState(switch.state) is SwitchState.OPEN else ""
    if first:
        schedule_money.start(turn, account, row, schedule)
    else:
        schedule_money.write(turn, account, row, Step.OPENED)
    if command is not None and command.state == S.DELIVERED:
        move(turn, command, S.EXECUTING)
    turn.report(row.meter_no, "schedule_started", f"schedule={row.schedule_no} run={row.runs}")
    _read(turn, row)


def _leave(turn: Turn, account: AccountConfig, row: ScheduleRow, schedule: Schedule) -> None:
    row.running = 0
    if schedule.action == Action.SUPPLY and row.before in REOPENED:
        row.reopen_ms = turn.now_ms
    schedule_money.write(turn, account, row, Step.CLOSED)
    turn.report(row.meter_no, "schedule_ended", f"schedule={row.schedule_no} run={row.runs}")
    _read(turn, row)


def _close(turn: Turn, account: AccountConfig, row: ScheduleRow) -> None:
    """Its time is over: done when the reading that closes an event is there."""
    command = one(turn.db, CommandRow, row.cmd_id)
    if row.runs == 0:
        row.stage = "over"
        if command is not None:
            end(turn, command, S.EXPIRED, Reason.TOO_LATE)
        return
    row.stage = "closing"
    read_ms = turn.switch(row.meter_no).register_ms
    if row.programme == Programme.B and read_ms < row.end_ms and turn.now_ms < row.end_ms + LAST_READING_MS:
        return
    row.stage = "over"
    outcome = schedule_money.finish(turn, account, row)
    if command is not None and command.state == S.EXECUTING:
        end(turn, command, S.DONE, Reason.ENDED_EARLY if row.early else "", encode(outcome))


# ---- the switch ------------------------------------------------------------------------------------------------


def _pursue(turn: Turn, account: AccountConfig, row: ScheduleRow, schedule: Schedule, window: Span | None) -> None:
    """Take the switch where this schedule wants it, if the tests let it; held, it is tried again at the next step."""
    wanted = _wanted(turn, row, schedule)
    if wanted is None or actions.open_action(turn, row.meter_no) is not None:
        return
    tests = tests_of(turn, account, wanted)
    blocked = ",".join(t.name for t in tests if not t.holds)
    verdict = f"{'restore' if wanted else 'cut'}{'_held' if blocked else ''}"
    if blocked and row.held == f"{verdict}:{blocked}":
        return
    action_id = b"" if blocked else actions.new_id()
    evidence = detail(DecisionEvidence(verdict, tests, "T28", reason=f"schedule {row.schedule_no}"))
    turn.book(account).add(Kind.DECISION, turn.stamp(), meter_no=row.meter_no, cause=action_id, detail=evidence)
    row.held = f"{verdict}:{blocked}" if blocked else ""
    if blocked:
        turn.report(row.meter_no, "schedule_held", f"schedule={row.schedule_no} {verdict} by={blocked}")
    else:
        until_ms = window.end_ms if window else turn.now_ms + actions.RESTORE_WINDOW_MS
        actions.order_by_schedule(turn, account, wanted, action_id, until_ms, not wanted and schedule.action == Action.SUPPLY)


def _wanted(turn: Turn, row: ScheduleRow, schedule: Schedule) -> bool | None:
    """True: closed, False: open, None: as it is."""
    switch = turn.switch(row.meter_no)
    is_open = SwitchState(switch.state) is SwitchState.OPEN
    is_closed = SwitchState(switch.state) in (SwitchState.CLOSED, SwitchState.ARMED)
    if row.running and schedule.action == Action.SUPPLY:
        return True if is_open and not _ordered_since(turn, row, row.window_ms) and not _opened_by_hand(switch, row) else None
    if row.running:
        return False if is_closed and not _ordered_since(turn, row, row.window_ms) else None
    if schedule.action == Action.OFF:
        return True if is_open and switch.off_reason == OffReason.SCHEDULE.value and not _is_kept_off(turn, row) else None
    if row.reopen_ms is not None and is_closed and not _ordered_since(turn, row, row.reopen_ms):
        return False
    row.reopen_ms = None
    return None


def _is_kept_off(turn: Turn, row: ScheduleRow) -> bool:
    """Another schedule keeps this supply off now."""
    clause = "WHERE meter_no = ? AND running = 1 AND action = ? AND cmd_id <> ? LIMIT 1"
    return bool(some(turn.db, ScheduleRow, clause, row.meter_no, int(Action.OFF), row.cmd_id))


def _ordered_since(turn: Turn, row: ScheduleRow, since_ms: int) -> bool:
    """Somebody ordered this switch by a command since then: that stands."""
    clause = "WHERE meter_no = ? AND origin = 'command' AND created_ms >= ? LIMIT 1"
    return bool(some(turn.db, ActionRow, clause, row.meter_no, since_ms))


def _opened_by_hand(switch: SwitchRow, row: ScheduleRow) -> bool:
    """Somebody at the meter opened it within the window: he may stand there with a reason."""
    return switch.off_reason == OffReason.UNORDERED.value and switch.off_since_ms > row.window_ms


def tests_of(turn: Turn, account: AccountConfig, close: bool) -> tuple[TestResult, ...]:
    """What a schedule's order must pass."""
    rules = policy_of(turn, account)
    situation = Situation(facts_of(turn, account, rules), rules.policy, standing_of(turn.book(account)))
    return told(run(RESTORE_TESTS if close else CUT_HERE, situation))


# ---- what is here ----------------------------------------------------------------------------------------------


def _read(turn: Turn, row: ScheduleRow) -> None:
    """The register at the edge of a window."""
    meter = turn.plan.meters.get(row.meter_no)
    if meter is not None:
        turn.effects.append(RunRead(actions.new_id(), row.meter_no, meter.serial, CommandType.READ_INSTANT))


def _schedule(turn: Turn, row: ScheduleRow) -> Schedule | None:
    command = one(turn.db, CommandRow, row.cmd_id)
    return schedule_from(command_of(command).detail) if command is not None and command.body else None


def _zone(turn: Turn, row: ScheduleRow, schedule: Schedule) -> tzinfo | None:
    """The account's local time, where the schedule is of its zone."""
    account = turn.plan.accounts.get(row.account_no)
    return local_of(turn, account).zone if account is not None and account.zone == schedule.zone else None


def _in_the_way(turn: Turn, meter_no: int, wanted: Schedule) -> Outcome | None:
    for row in some(turn.db, ScheduleRow, "WHERE meter_no = ? AND stage <> 'over' ORDER BY start_ms", meter_no):
        other = _schedule(turn, row)
        span = clash(wanted, replace(other, end_ms=row.end_ms), _zone(turn, row, wanted)) if other is not None else None
        if span is not None:
            return Outcome(row.schedule_no, "overlap", span.start_ms)
    return None
