"""Commands from the cloud: checked in a fixed order, stored before they run, and every one of them answered.

Order of checks: size, signature by a known key, shape, addressed to me, same cmd_id (its stored receipt again, before
any counter), counter, what it replaces, time window by clock state, local limits, intent stored, run, result stored, receipt.

* What can not be trusted gets no receipt (a forger could have the real one refused): it becomes an event.
* What is for later waits here and runs without the uplink. It needs a believed clock: until there is one it is held and
  says so; expired it never runs.
* One for a meter that the configuration does not name yet waits too, and says so: a new concentrator may hear of an order
  before it hears of the meter. Nobody's meter by its expiry, it is refused.
* All types are rows of HANDLERS; a new one is a row.

Source: reliability-security.md 5; architecture.md 3; safety.md 1, 3, 5, 14; C3-FR14.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.prepay import command_changes, command_limit, command_tasks, guards, schedule_left, schedules, tokens
from gridtally_edge.prepay.command_states import command_of, end, send_receipt, wait
from gridtally_edge.prepay.command_switch import is_unresolved, switch, switch_finished, switch_now, take_back
from gridtally_edge.prepay.events import MessageSeen, ReadFinished
from gridtally_edge.prepay.guards import Timing
from gridtally_edge.prepay.rows import CommandRow, CounterRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared import cbor
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Command, CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.signing import KID, open_unverified, verify1

__all__ = ["HANDLERS", "arrived", "message_seen", "prune", "read_finished", "resume", "run_due", "switch_finished"]

CHANNEL = "command"
LARGEST_BYTES = 16 * 1024
KEEP_MS = 90 * MS_PER_DAY
LOOK_AGAIN_MS = 5_000
S = CommandState


def arrived(turn: Turn, envelope: bytes) -> None:
    """Take in an envelope."""
    try:
        if len(envelope) > LARGEST_BYTES:
            raise ContractError("larger than a command may be")
        body = verify1(turn.identity.command_keys, CHANNEL, envelope)
        command = decode(Command, body)
        if command.dcu != turn.identity.dcu:
            raise ContractError(f"addressed to {command.dcu}")
    except ContractError as error:
        turn.report_seldom("command_refused", f"reason={str(error)[:200]}")
        return
    known = one(turn.db, CommandRow, command.cmd_id)
    if known is not None:
        send_receipt(turn, known)
        return
    _accept(turn, command, body, cbor.loads(open_unverified(envelope)[0])[KID])
    _wake(turn)


def run_due(turn: Turn) -> None:
    """Run what has waited for its time, its switch or its retry; end what came too late."""
    for row in some(turn.db, CommandRow, "WHERE state < 20 ORDER BY not_before_ms, at_ms"):
        if row.state in command_tasks.SHOWN and turn.now_ms > row.expires_ms:
            command_tasks.message_over(turn, row)
        elif row.due_ms is not None and turn.now_ms >= row.due_ms:
            begin = _begin if row.reason == Reason.UNKNOWN_METER else _run_in_time
            begin(turn, row, command_of(row))
        elif row.due_ms is None and row.state == S.EXECUTING and _is_read(row) and turn.now_ms > row.expires_ms:
            end(turn, row, S.EXPIRED, Reason.TOO_LATE)
        elif row.due_ms is None and row.state == S.EXECUTING and is_unresolved(turn, row):
            end(turn, row, S.FAILED, Reason.NO_ANSWER)
    schedules.run_due(turn)
    schedule_left.light(turn)
    tokens.run_due(turn)
    _wake(turn)


def _wake(turn: Turn) -> None:
    """Be told a tick when the next step is due, not at the next full minute."""
    due_ms = next_due_ms(turn)
    if due_ms is not None:
        turn.wake_at(due_ms)


def resume(turn: Turn) -> None:
    """After a restart: a read whose answer never came is read again, which harms nobody; a task looks before it writes."""
    for row in some(turn.db, CommandRow, "WHERE state = ? AND due_ms IS NULL", int(S.EXECUTING)):
        if _is_task(row):
            command_tasks.start_task(turn, row, command_of(row), again=True)
        elif _is_read(row):
            command_tasks.start_read(turn, row, command_of(row))
    tokens.resume(turn)


def read_finished(turn: Turn, finished: ReadFinished) -> bool:
    """The answer to a read or a task; False when the id is not one's."""
    row = one(turn.db, CommandRow, finished.cmd_id)
    if row is not None and row.state == S.EXECUTING:
        command_tasks.finished(turn, row, finished, _is_task(row))
    return row is not None


def message_seen(turn: Turn, seen: MessageSeen) -> None:
    """The consumer opened a message of a command, or said yes or no to it."""
    row = one(turn.db, CommandRow, seen.cmd_id)
    if row is None or row.state not in command_tasks.SHOWN:
        return
    if seen.accepted is None:
        command_tasks.message_read(turn, row)
    else:
        command_tasks.message_answered(turn, row, seen.accepted)


def next_due_ms(turn: Turn) -> int | None:
    """When the next command that waits is to be looked at again."""
    found = turn.db.execute("SELECT min(due_ms) FROM command WHERE state < 20 AND due_ms > ?", (turn.now_ms,)).fetchone()[0]
    due = (found, schedules.next_due_ms(turn), tokens.next_due_ms(turn))
    return min((ms for ms in due if ms is not None), default=None)


def prune(turn: Turn) -> None:
    """Forget ended commands after 90 days; their counters and expiry keep them from running again."""
    turn.db.execute("DELETE FROM command WHERE state >= 20 AND at_ms < ?", (turn.now_ms - KEEP_MS,))
    tokens.prune(turn)


def _accept(turn: Turn, command: Command, body: bytes, key_id: bytes) -> None:
    row = CommandRow(
        command.cmd_id, body, command.meter_no, command.type, S.ACCEPTED, "", b"", turn.now_ms, command.expires_ms,
        not_before_ms=command.not_before_ms,
    )  # fmt: skip
    if command.type not in HANDLERS:
        end(turn, row, S.REFUSED, Reason.UNSUPPORTED)
        return
    row.expires_ms = guards.expiry_ms(command)
    guard = one(turn.db, CounterRow, key_id) or CounterRow(key_id)
    counted = guards.counted(guard, command.counter, guards.class_of(command))
    if counted is None:
        end(turn, row, S.REFUSED, Reason.OVERTAKEN, switch_now(turn, command))
        return
    save(turn.db, counted)
    _begin(turn, row, command)


def _begin(turn: Turn, row: CommandRow, command: Command) -> None:
    if command.meter_no in turn.plan.meters or command.type == CommandType.CANCEL or schedules.is_of_account_here(turn, command):
        _take_up(turn, row, command)
    elif turn.now_ms >= row.expires_ms:
        end(turn, row, S.REFUSED, Reason.UNKNOWN_METER)
    else:
        wait(turn, row, min(turn.now_ms + LOOK_AGAIN_MS, row.expires_ms), Reason.UNKNOWN_METER)


def _take_up(turn: Turn, row: CommandRow, command: Command) -> None:
    if command.target and command.type != CommandType.CANCEL:
        standing = command_changes.withdrawn(turn, command, Reason.RESCHEDULED, _withdraw)
        if standing is not None:
            end(turn, row, S.REFUSED, Reason.TOO_LATE, standing)
            return
    if command.type == CommandType.SCHEDULE:
        schedules.take(turn, row, command)
    else:
        _run_in_time(turn, row, command)


def _run_in_time(turn: Turn, row: CommandRow, command: Command) -> None:
    row.due_ms = None
    when = guards.timing(command, guards.class_of(command), turn.now_ms, turn.clock)
    if isinstance(when, Reason):
        end(turn, row, S.REFUSED, when)
    elif when is Timing.LATE:
        end(turn, row, *_too_late(row))
    elif when is Timing.EARLY:
        wait(turn, row, command.not_before_ms + turn.clock.uncertainty_ms)
    elif when is Timing.HELD:
        wait(turn, row, turn.now_ms, Reason.CLOCK_UNTRUSTED)
    else:
        row.reason = ""
        HANDLERS[CommandType(command.type)](turn, row, command)


def _too_late(row: CommandRow) -> tuple[CommandState, str]:
    """One that was tried and never answered has failed; one that never ran has expired."""
    return (S.FAILED, Reason.NO_ANSWER) if row.tries else (S.EXPIRED, Reason.TOO_LATE)


def _cancel(turn: Turn, row: CommandRow, command: Command) -> None:
    command_changes.cancel(turn, row, command, _withdraw)


def _withdraw(turn: Turn, row: CommandRow) -> bool:
    ending = WITHDRAWN_BY.get(CommandType(row.type))
    return ending is not None and ending(turn, row)


WITHDRAWN_BY: dict[CommandType, Callable[[Turn, CommandRow], bool]] = {
    CommandType.SCHEDULE: schedules.end_early,
    CommandType.SWITCH_OPEN: take_back,
    CommandType.SWITCH_CLOSE: take_back,
}
"""What ends early when it is cancelled while it runs; everything else goes on."""


HANDLERS: dict[CommandType, Callable[[Turn, CommandRow, Command], None]] = {
    CommandType.SWITCH_OPEN: switch,
    CommandType.SWITCH_CLOSE: switch,
    CommandType.READ_INSTANT: command_tasks.read,
    CommandType.READ_INTERVALS: command_tasks.read,
    CommandType.READ_EVENTS: command_tasks.read,
    CommandType.READ_SWITCH: command_tasks.read,
    CommandType.TEST_SUPPLY: command_tasks.read,
    CommandType.READ_DAILY: command_tasks.read,
    CommandType.READ_BILLING: command_tasks.read,
    CommandType.READ_NAME_PLATE: command_tasks.read,
    CommandType.READ_SETTINGS: command_tasks.task,
    CommandType.WRITE_SETTINGS: command_tasks.task,
    CommandType.SET_CLOCK: command_tasks.task,
    CommandType.RESET: command_tasks.task,
    CommandType.RUN_DIAGNOSTICS: command_tasks.task,
    CommandType.MESSAGE: command_tasks.message,
    CommandType.CANCEL: _cancel,
    CommandType.SCHEDULE: schedules.take,
    CommandType.TOKEN: tokens.ordered,
    CommandType.LIMIT: command_limit.limit,
}


def _is_read(row: CommandRow) -> bool:
    return HANDLERS.get(CommandType(row.type)) is command_tasks.read


def _is_task(row: CommandRow) -> bool:
    return HANDLERS.get(CommandType(row.type)) is command_tasks.task
