"""Commands that read a meter, work at it, or show the consumer a message.

* A read or task that no answer came for is tried again, which harms nobody: a task looks before it writes.
* A message is DISPLAYED when it is on the consumer's page; READ and ANSWERED (the consumer's yes or no, in the result) follow
  from there, and it is DONE when its time is over (ETSI 5.2.5 flows 4 to 6, 5.2.16).

Source: architecture.md 3; prepayment.md 6.3.
"""

from __future__ import annotations

import json

from gridtally_edge.prepay import guards
from gridtally_edge.prepay.command_states import MOST_TRIES, RETRY_MS, end, move
from gridtally_edge.prepay.events import ReadFinished, RunRead, RunTask
from gridtally_edge.prepay.notices import note, show_alert
from gridtally_edge.prepay.rows import CommandRow, MessageRow, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import ClockState, Command, CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.messages.order import order_of

S = CommandState
SHOWN = frozenset({S.DISPLAYED, S.READ})

TASK_ENDS: dict[str, CommandState] = {
    Reason.UNSUPPORTED: S.REFUSED,
    Reason.WRONG_FORM: S.REFUSED,
    Reason.NO_FLOW_LIMIT: S.REFUSED,
    Reason.MALFORMED: S.REFUSED,
    Reason.TOO_LATE: S.EXPIRED,
}
"""How a task ends that was not carried out; everything else has failed."""


def read(turn: Turn, row: CommandRow, command: Command) -> None:
    row.tries += 1
    move(turn, row, S.EXECUTING)
    start_read(turn, row, command)


def start_read(turn: Turn, row: CommandRow, command: Command) -> None:
    meter = turn.plan.meters.get(row.meter_no)
    if meter is None:
        end(turn, row, S.FAILED, Reason.UNKNOWN_METER)
        return
    kind = CommandType(command.type)
    turn.effects.append(RunRead(row.cmd_id, row.meter_no, meter.serial, kind, command.from_ms, command.to_ms))


def task(turn: Turn, row: CommandRow, command: Command) -> None:
    refusal = _why_no_task(turn, command)
    if refusal:
        end(turn, row, S.REFUSED, refusal)
        return
    again, row.tries = row.tries > 0 or row.state == S.EXECUTING, row.tries + 1
    move(turn, row, S.EXECUTING)
    start_task(turn, row, command, again)


def start_task(turn: Turn, row: CommandRow, command: Command, again: bool) -> None:
    meter = turn.plan.meters.get(row.meter_no)
    if meter is None:
        end(turn, row, S.FAILED, Reason.UNKNOWN_METER)
        return
    order = RunTask(
        row.cmd_id, row.meter_no, meter.serial, CommandType(command.type), row.at_ms, row.expires_ms, command.settings,
        command.reset, again,
    )  # fmt: skip
    turn.effects.append(order)


def finished(turn: Turn, row: CommandRow, done: ReadFinished, is_task: bool) -> None:
    """The answer to a read or a task that is being executed."""
    again_ms = _again_ms(turn, row, done) if is_task else None
    if again_ms is not None:
        row.due_ms = again_ms
        save(turn.db, row)
    elif done.ok:
        end(turn, row, S.DONE, result=done.result)
    else:
        reason = done.reason or Reason.NO_ANSWER
        end(turn, row, TASK_ENDS.get(reason, S.FAILED) if is_task else S.FAILED, reason, done.result)


def _again_ms(turn: Turn, row: CommandRow, done: ReadFinished) -> int | None:
    """When a task is tried again: at the moment it asks for, or a little later after a silence."""
    if done.ok:
        return None
    if done.again_ms is not None:
        row.tries -= 1
        return done.again_ms
    unheard = done.reason in (Reason.NO_ANSWER, Reason.METER_BUSY) and row.tries < MOST_TRIES
    return turn.now_ms + RETRY_MS if unheard else None


def _why_no_task(turn: Turn, command: Command) -> str:
    """Meter clocks are set only by a clock that is trusted (safety.md 12)."""
    if command.type == CommandType.SET_CLOCK and turn.clock.state is not ClockState.TRUSTED:
        return Reason.CLOCK_UNTRUSTED
    return "" if guards.is_well_formed(command) else Reason.MALFORMED


# ---- messages -----------------------------------------------------------------------------------------------


def message(turn: Turn, row: CommandRow, command: Command) -> None:
    account = turn.plan.by_meter.get(command.meter_no)
    if account is None:
        end(turn, row, S.REFUSED, Reason.UNSUPPORTED)
        return
    try:
        order = order_of(command.detail)
    except ContractError:
        end(turn, row, S.REFUSED, Reason.MALFORMED)
        return
    params = json.dumps({p.name: p.value for p in order.params})
    shown = MessageRow(
        None, account.account_no, command.meter_no, turn.now_ms, order.code or "TEXT", params, command.text[:500], row.expires_ms,
        row.cmd_id, asks=int(order.asks), entry=note(turn, account, order),
    )  # fmt: skip
    save(turn.db, shown)
    show_alert(turn, account)
    move(turn, row, S.DISPLAYED)


def message_read(turn: Turn, row: CommandRow) -> None:
    """The consumer opened it."""
    if row.state == S.DISPLAYED:
        move(turn, row, S.READ)


def message_answered(turn: Turn, row: CommandRow, accepted: bool) -> None:
    """The consumer said yes or no, once: told as ANSWERED, and the command is done."""
    if row.state in SHOWN:
        row.result = b"\xf5" if accepted else b"\xf4"
        move(turn, row, S.ANSWERED)
        end(turn, row, S.DONE, result=row.result)


def message_over(turn: Turn, row: CommandRow) -> None:
    """The time of a shown message is over: it was said, and is done; one that wants an answer nobody gave has expired."""
    shown = some(turn.db, MessageRow, "WHERE cmd_id = ? AND asks = 1", row.cmd_id)
    if shown:
        end(turn, row, S.EXPIRED, Reason.UNANSWERED)
    else:
        end(turn, row, S.DONE, result=row.result)
