"""Commands from the cloud: checked in a fixed order, stored before they run, and every one of them answered.

Order of checks: size, signature by a known key, shape, addressed to me, same cmd_id (its stored receipt again, before
any counter), counter, time window by clock state, local limits, intent stored, run, result stored, receipt.

* What can not be trusted gets no receipt (a forger could have the real one refused): it becomes an event.
* All types are rows of HANDLERS; a new one is a row.
* Receipts travel in the urgent lane, in the transaction that changed the state.

Source: reliability-security.md 5; architecture.md 3; safety.md 1, 3, 5.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import actions, guards
from gridtally_edge.prepay.decide import LIVE_LOAD_W
from gridtally_edge.prepay.events import ReadFinished, RunRead, SwitchOutcome, SwitchResult
from gridtally_edge.prepay.guards import Timing
from gridtally_edge.prepay.holds import holds_against_close, holds_against_cut
from gridtally_edge.prepay.rows import ActionRow, CommandRow, CounterRow, MessageRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared import cbor
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Command, CommandReceipt, CommandType, EntryKind, Lane
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import TERMINAL, CommandState, Reason
from gridtally_shared.signing import KID, open_unverified, verify1

CHANNEL = "command"
LARGEST_BYTES = 16 * 1024
MOST_TRIES = 3
RETRY_MS = 45_000
UNRESOLVED_MS = 600_000
CUTS_PER_HOUR_AT_LEAST, CUTS_PER_DAY_AT_LEAST = 2, 4
HOLD_OVERRIDES = frozenset({"safety", "work"})
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
        _send_receipt(turn, known)
        return
    _accept(turn, command, body, cbor.loads(open_unverified(envelope)[0])[KID])


def run_due(turn: Turn) -> None:
    """Run what has waited for its time, its switch or its retry; end what came too late."""
    for row in some(turn.db, CommandRow, "WHERE state < 20 ORDER BY at_ms"):
        command = decode(Command, row.body)
        if row.state == S.DISPLAYED and turn.now_ms > row.expires_ms:
            _end(turn, row, S.DONE)
        elif row.due_ms is not None and turn.now_ms >= row.due_ms:
            _run_in_time(turn, row, command)
        elif row.due_ms is None and row.state == S.EXECUTING and _is_read(row) and turn.now_ms > row.expires_ms:
            _end(turn, row, S.EXPIRED, Reason.TOO_LATE)
        elif row.due_ms is None and row.state == S.EXECUTING and _is_unresolved(turn, row):
            _end(turn, row, S.FAILED, Reason.NO_ANSWER)


def resume(turn: Turn) -> None:
    """After a restart: a read whose answer never came is read again; reading twice harms nobody."""
    for row in some(turn.db, CommandRow, "WHERE state = ? AND due_ms IS NULL", int(S.EXECUTING)):
        if _is_read(row):
            _start_read(turn, row, decode(Command, row.body))


def read_finished(turn: Turn, finished: ReadFinished) -> bool:
    """The answer to a read command; False when the id is not one."""
    row = one(turn.db, CommandRow, finished.cmd_id)
    if row is None:
        return False
    if row.state == S.EXECUTING:
        if finished.ok:
            _end(turn, row, S.DONE, result=finished.result)
        else:
            _end(turn, row, S.FAILED, finished.reason or Reason.NO_ANSWER)
    return True


ENDS: dict[SwitchResult, tuple[CommandState, str]] = {
    SwitchResult.DONE: (S.DONE, ""),
    SwitchResult.ALREADY: (S.DONE, ""),
    SwitchResult.WRONG_SERIAL: (S.FAILED, Reason.WRONG_SERIAL),
    SwitchResult.NOT_FITTED: (S.REFUSED, Reason.UNSUPPORTED),
    SwitchResult.WITHDRAWN: (S.EXPIRED, Reason.TOO_LATE),
    SwitchResult.NO_REGISTER: (S.FAILED, Reason.METER_FAULT),
    SwitchResult.STUCK: (S.FAILED, Reason.SWITCH_STUCK),
    SwitchResult.NO_ANSWER: (S.FAILED, Reason.NO_ANSWER),
    SwitchResult.METER_FAULT: (S.FAILED, Reason.METER_FAULT),
    SwitchResult.UNKNOWN: (S.FAILED, Reason.NO_ANSWER),
}


def switch_finished(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    """The end of a commanded switch action: its receipt, or another try when the order never reached the meter."""
    row = one(turn.db, CommandRow, action.cmd_id)
    if row is None or row.state in TERMINAL:
        return
    if outcome.result is SwitchResult.NO_ANSWER and not outcome.sent and row.tries < MOST_TRIES:
        row.due_ms = turn.now_ms + RETRY_MS
        save(turn.db, row)
        return
    state, reason = ENDS[outcome.result]
    _end(turn, row, state, reason, encode(actions.evidence_of(action, outcome)))


def _accept(turn: Turn, command: Command, body: bytes, key_id: bytes) -> None:
    row = CommandRow(command.cmd_id, body, command.meter_no, command.type, S.ACCEPTED, "", b"", turn.now_ms, command.expires_ms)
    if command.type not in HANDLERS:
        _end(turn, row, S.REFUSED, Reason.UNSUPPORTED)
        return
    row.expires_ms = guards.expiry_ms(command)
    guard = one(turn.db, CounterRow, key_id) or CounterRow(key_id)
    counted = guards.counted(guard, command.counter, guards.class_of(command))
    if counted is None:
        _end(turn, row, S.REFUSED, Reason.OVERTAKEN, _switch_now(turn, command))
        return
    save(turn.db, counted)
    if command.meter_no not in turn.plan.meters:
        _end(turn, row, S.REFUSED, Reason.UNKNOWN_METER)
        return
    _run_in_time(turn, row, command)


def _run_in_time(turn: Turn, row: CommandRow, command: Command) -> None:
    row.due_ms = None
    when = guards.timing(command, guards.class_of(command), turn.now_ms, turn.clock)
    if isinstance(when, Reason):
        _end(turn, row, S.REFUSED, when)
    elif when is Timing.LATE:
        _end(turn, row, *_too_late(row))
    elif when is Timing.EARLY:
        _wait(turn, row, command.not_before_ms + turn.clock.uncertainty_ms)
    else:
        HANDLERS[CommandType(command.type)](turn, row, command)


def _too_late(row: CommandRow) -> tuple[CommandState, str]:
    """One that was tried and never answered has failed; one that never ran has expired."""
    return (S.FAILED, Reason.NO_ANSWER) if row.tries else (S.EXPIRED, Reason.TOO_LATE)


def _wait(turn: Turn, row: CommandRow, due_ms: int) -> None:
    row.due_ms = due_ms
    if row.state == S.EXECUTING or row.state == S.DELIVERED:
        save(turn.db, row)
    else:
        _move(turn, row, S.DELIVERED)


# ---- switch -------------------------------------------------------------------------------------------------


def _switch(turn: Turn, row: CommandRow, command: Command) -> None:
    close = command.type == CommandType.SWITCH_CLOSE
    refusal = _why_not(turn, command, close, first=not row.reserved)
    if refusal:
        _end(turn, row, S.REFUSED, refusal, _switch_now(turn, command))
        return
    turn.switch(command.meter_no).counter, row.reserved = command.switch_counter, 1
    if actions.open_action(turn, command.meter_no) is not None:
        account = turn.plan.by_meter.get(command.meter_no)
        if close and account is not None:
            actions.withdraw_cut(turn, account)
        _wait(turn, row, turn.now_ms)
        return
    row.tries += 1
    _move(turn, row, S.EXECUTING)
    actions.order_by_command(turn, command.meter_no, row.cmd_id, close, command.switch_counter, row.expires_ms)


def _why_not(turn: Turn, command: Command, close: bool, first: bool) -> str:
    switch = turn.switch(command.meter_no)
    account = turn.plan.by_meter.get(command.meter_no)
    holds = account.holds if account else ()
    newest = switch.counter < command.switch_counter if first else switch.counter <= command.switch_counter
    state = SwitchState(switch.state)
    live = close and state is SwitchState.OPEN and (switch.power_w or 0) > LIVE_LOAD_W
    protected = not close and command.cause not in HOLD_OVERRIDES and holds_against_cut(holds)
    rules = (
        (newest, Reason.OVERTAKEN),
        (state is not SwitchState.NOT_FITTED, Reason.UNSUPPORTED),
        (not (close and holds_against_close(holds)), Reason.HELD),
        (not live, Reason.LOAD_SIDE_LIVE),
        (not protected, Reason.PROTECTED),
        (close or not first or _cuts_left(turn), Reason.RATE_LIMIT),
    )
    return next((reason for holds_, reason in rules if not holds_), "")


def _cuts_left(turn: Turn) -> bool:
    """Commanded cuts: at most 5 % of the meters an hour and 10 % a day, but two and four of a small DCU."""
    query = "SELECT count(*) FROM action WHERE origin = 'command' AND close = 0 AND created_ms > ?"
    meters = len(turn.plan.meters)
    limits = (
        (MS_PER_HOUR, max(CUTS_PER_HOUR_AT_LEAST, meters * 5 // 100)),
        (MS_PER_DAY, max(CUTS_PER_DAY_AT_LEAST, meters * 10 // 100)),
    )
    return all(turn.db.execute(query, (turn.now_ms - span,)).fetchone()[0] < most for span, most in limits)


def _switch_now(turn: Turn, command: Command) -> bytes:
    """What the sender of a refused switch order needs to reissue it: the newest action number and the state."""
    if command.type not in (CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE):
        return b""
    switch = turn.switch(command.meter_no)
    close = command.type == CommandType.SWITCH_CLOSE
    return encode(SwitchEvidence(close, "refused", switch.counter, switch.state, switch.state, switch.serial))


# ---- reads and messages -------------------------------------------------------------------------------------


def _read(turn: Turn, row: CommandRow, command: Command) -> None:
    row.tries += 1
    _move(turn, row, S.EXECUTING)
    _start_read(turn, row, command)


def _start_read(turn: Turn, row: CommandRow, command: Command) -> None:
    meter = turn.plan.meters.get(row.meter_no)
    if meter is None:
        _end(turn, row, S.FAILED, Reason.UNKNOWN_METER)
        return
    kind = CommandType(command.type)
    turn.effects.append(RunRead(row.cmd_id, row.meter_no, meter.serial, kind, command.from_ms, command.to_ms))


def _message(turn: Turn, row: CommandRow, command: Command) -> None:
    account = turn.plan.by_meter.get(command.meter_no)
    if account is None:
        _end(turn, row, S.REFUSED, Reason.UNSUPPORTED)
        return
    message = MessageRow(
        None, account.account_no, command.meter_no, turn.now_ms, "TEXT", json.dumps({}), command.text[:500], row.expires_ms,
        row.cmd_id,
    )  # fmt: skip
    save(turn.db, message)
    _move(turn, row, S.DISPLAYED)


HANDLERS: dict[CommandType, Callable[[Turn, CommandRow, Command], None]] = {
    CommandType.SWITCH_OPEN: _switch,
    CommandType.SWITCH_CLOSE: _switch,
    CommandType.READ_INSTANT: _read,
    CommandType.READ_INTERVALS: _read,
    CommandType.READ_EVENTS: _read,
    CommandType.READ_SWITCH: _read,
    CommandType.MESSAGE: _message,
}


def _is_unresolved(turn: Turn, row: CommandRow) -> bool:
    """Nobody could see for ten minutes what became of its order; the switch is watched on, the sender is told now."""
    query = "SELECT 1 FROM action WHERE meter_no = ? AND cmd_id = ? AND state = 'unresolved' AND unresolved_ms < ?"
    key = (row.meter_no, row.cmd_id, turn.now_ms - UNRESOLVED_MS)
    return turn.db.execute(query, key).fetchone() is not None


def _is_read(row: CommandRow) -> bool:
    return HANDLERS.get(CommandType(row.type)) is _read


# ---- states and receipts ------------------------------------------------------------------------------------


def _move(turn: Turn, row: CommandRow, state: CommandState) -> None:
    changed = row.state != state
    row.state = state
    save(turn.db, row)
    if changed:
        _send_receipt(turn, row)


def _end(turn: Turn, row: CommandRow, state: CommandState, reason: str = "", result: bytes = b"") -> None:
    row.state, row.reason, row.result, row.due_ms, row.at_ms = state, str(reason), result, None, turn.now_ms
    save(turn.db, row)
    _send_receipt(turn, row)


def _send_receipt(turn: Turn, row: CommandRow) -> None:
    receipt = CommandReceipt(row.cmd_id, row.meter_no, row.state, row.at_ms, row.reason, row.result)
    turn.outbox.append(EntryKind.COMMAND_RECEIPT, receipt, Lane.URGENT, turn.now_ms)


def prune(turn: Turn) -> None:
    """Forget ended commands after 90 days; their counters and expiry keep them from running again."""
    turn.db.execute("DELETE FROM command WHERE state >= 20 AND at_ms < ?", (turn.now_ms - 90 * MS_PER_DAY,))
