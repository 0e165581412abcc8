"""Switch commands: what they must pass, their number in the one order of a switch, their end.

* A direct order brings its number; a scheduled one takes the next number when its time has come, so that what happens to
  the switch until then does not void it. What was switched after its time does: late is not newer (safety.md 3).
* Many closes at once are a mass restore: they take turns, for the feeder's sake, first come first served. A home that is paid comes back by
  the engine, which waits for nobody (safety.md 14).
* Money never closes what a command opened, but for a cut for nonpayment (a disconnect run): that is refused where there is money by now,
  and a payment brings the supply back. A hold is above every command (safety.md 1), also one that comes while an order, whoever gave it,
  still waits for its line.
* What the rules of an account managed from the cloud led to (cause `prepay`) is asked for the register as a cut of our own, and is
  refused where this concentrator runs the account itself: a cut of before the handover never comes after it (safety.md 17).

Source: safety.md 1, 3, 5, 14; reliability-security.md 5; prepayment.md T19, T20.
"""

from __future__ import annotations

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import actions, guards
from gridtally_edge.prepay.account_orders import holds_at
from gridtally_edge.prepay.command_states import MOST_TRIES, RETRY_MS, command_of, end, move, wait
from gridtally_edge.prepay.events import SwitchOutcome, SwitchResult
from gridtally_edge.prepay.holds import holds_against_close, holds_against_cut
from gridtally_edge.prepay.rows import ActionRow, CommandRow, one, save, some
from gridtally_edge.prepay.rules import policy_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import AccountConfig, Command, CommandType
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import TERMINAL, CommandState, Reason
from gridtally_shared.prepay.ordered import NONPAYMENT, PREPAY, PrepayOrder, prepay_order
from gridtally_shared.supply_test import FLOWING_W

SWITCHES = frozenset({CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE})
UNRESOLVED_MS = 600_000
CUTS_PER_HOUR_AT_LEAST, CUTS_PER_DAY_AT_LEAST = 2, 4
CLOSES_AT_LEAST, CLOSES_PERCENT, CLOSES_WITHIN_MS, TURN_MS = 4, 10, 60_000, 5_000
"""Homes of one feeder that are closed by command within a minute: a few at once, the others a tenth of them a minute."""
HOLD_OVERRIDES = frozenset({"safety", "work"})
S = CommandState

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
    SwitchResult.LIVE: (S.REFUSED, Reason.LOAD_SIDE_LIVE),
    SwitchResult.PRESENCE: (S.REFUSED, Reason.HELD),
}


def switch(turn: Turn, row: CommandRow, command: Command) -> None:
    close = command.type == CommandType.SWITCH_CLOSE
    refusal = _why_not(turn, row, command, close)
    if refusal:
        end(turn, row, S.REFUSED, refusal, switch_now(turn, command))
        return
    row.reserved = row.reserved or _number(turn, command)
    turn.switch(command.meter_no).counter = row.reserved
    if actions.open_action(turn, command.meter_no) is not None:
        account = turn.plan.by_meter.get(command.meter_no)
        if close and account is not None:
            actions.withdraw_cut(turn, account)
        wait(turn, row, turn.now_ms)
        return
    if close and not row.tries and not _has_its_turn(turn, command.meter_no):
        wait(turn, row, turn.now_ms + TURN_MS, Reason.RATE_LIMIT)
        return
    row.tries += 1
    move(turn, row, S.EXECUTING)
    asked = prepay_order(command) or PrepayOrder()
    actions.order_by_command(turn, command.meter_no, row.cmd_id, close, row.reserved, row.expires_ms, asked)


def _has_its_turn(turn: Turn, meter_no: int) -> bool:
    """Not too many homes behind one feeder (or this concentrator, where none is named) are taken up in the same minute."""
    account = turn.plan.by_meter.get(meter_no)
    beside = (turn.plan.on_feeder(account.feeder) if account else frozenset()) or frozenset(turn.plan.meters)
    query = "SELECT meter_no FROM action WHERE origin = 'command' AND close = 1 AND created_ms > ? AND created_ms <= ?"
    closed = sum(found in beside for (found,) in turn.db.execute(query, (turn.now_ms - CLOSES_WITHIN_MS, turn.now_ms)))
    return closed < max(CLOSES_AT_LEAST, len(beside) * CLOSES_PERCENT // 100)


def switch_finished(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    """The end of a commanded switch action: its receipt, or another try when the order never reached the meter."""
    row = one(turn.db, CommandRow, action.cmd_id)
    if row is None or row.state in TERMINAL:
        return
    if outcome.result is SwitchResult.NO_ANSWER and not outcome.sent and row.tries < MOST_TRIES:
        row.due_ms = turn.now_ms + RETRY_MS
        save(turn.db, row)
        return
    withheld = _why_withheld(turn, action) if outcome.result is SwitchResult.WITHDRAWN else ""
    state, reason = (S.REFUSED, withheld) if withheld else ENDS[outcome.result]
    end(turn, row, state, reason, encode(actions.evidence_of(action, outcome)))


def withdraw_held(turn: Turn) -> None:
    """A hold that came while an order waits for its line stands above it, and so does a payment above a cut for want of it: the order is
    not carried out if it has not left yet."""
    for action in some(turn.db, ActionRow, "WHERE state <> 'finished'"):
        permit = turn.permits.get(action.action_id)
        if permit is not None and _why_withheld(turn, action):
            permit.withdraw()


def _why_withheld(turn: Turn, action: ActionRow) -> str:
    account = turn.plan.by_meter.get(action.meter_no)
    holds = holds_at(turn, action.meter_no)
    if action.close:
        return Reason.HELD if holds_against_close(holds) else ""
    if action.origin == "site":  # ordered for safety or work by who stands there
        return ""
    row = one(turn.db, CommandRow, action.cmd_id) if action.cmd_id else None
    cause = command_of(row).cause if row is not None else ""
    if holds_against_cut(holds) and cause not in HOLD_OVERRIDES:
        return Reason.PROTECTED
    return Reason.PAID if cause.startswith(NONPAYMENT) and account is not None and _has_money(turn, account) else ""


def switch_now(turn: Turn, command: Command) -> bytes:
    """What the sender of a refused switch order needs to reissue it: the newest action number and the state."""
    if command.type not in SWITCHES:
        return b""
    known = turn.switch(command.meter_no)
    close = command.type == CommandType.SWITCH_CLOSE
    return encode(SwitchEvidence(close, "refused", known.counter, known.state, known.state, known.serial))


def take_back(turn: Turn, row: CommandRow) -> bool:
    """A cut by the rules of an account is cancelled while it waits for its line: it is not carried out if it has not left yet, and its own
    receipt says so (prepayment.md 5.9)."""
    action = actions.open_action(turn, row.meter_no)
    if action is not None and action.cmd_id == row.cmd_id and command_of(row).cause == PREPAY:
        permit = turn.permits.get(action.action_id)
        if permit is not None:
            permit.withdraw()
    return False


def is_unresolved(turn: Turn, row: CommandRow) -> bool:
    """Nobody could see for ten minutes what became of its order; the switch is watched on, the sender is told now."""
    query = "SELECT 1 FROM action WHERE meter_no = ? AND cmd_id = ? AND state = 'unresolved' AND unresolved_ms < ?"
    key = (row.meter_no, row.cmd_id, turn.now_ms - UNRESOLVED_MS)
    return turn.db.execute(query, key).fetchone() is not None


def _number(turn: Turn, command: Command) -> int:
    return command.switch_counter or turn.switch(command.meter_no).counter + 1


def _why_not(turn: Turn, row: CommandRow, command: Command, close: bool) -> str:
    known, first = turn.switch(command.meter_no), not row.reserved
    account = turn.plan.by_meter.get(command.meter_no)
    holds = holds_at(turn, command.meter_no)
    state = SwitchState(known.state)
    live = close and state is SwitchState.OPEN and (known.power_w or 0) > FLOWING_W
    protected = not close and command.cause not in HOLD_OVERRIDES and holds_against_cut(holds)
    by_rules = command.cause == PREPAY
    rules = (
        (not by_rules or prepay_order(command) is not None, Reason.MALFORMED),
        (close or not by_rules or account is None, Reason.PROTECTED),
        (_is_newest(turn, row, command), Reason.OVERTAKEN),
        (not (first and _is_superseded(turn, row, command)), Reason.SUPERSEDED),
        (state is not SwitchState.NOT_FITTED, Reason.UNSUPPORTED),
        (not (close and holds_against_close(holds)), Reason.HELD),
        (not live, Reason.LOAD_SIDE_LIVE),
        (not protected, Reason.PROTECTED),
        (close or not command.cause.startswith(NONPAYMENT) or account is None or not _has_money(turn, account), Reason.PAID),
        (close or not first or _cuts_left(turn), Reason.RATE_LIMIT),
    )
    return next((reason for holds_, reason in rules if not holds_), "")


def _has_money(turn: Turn, account: AccountConfig) -> bool:
    """A payment that came before the order for want of it."""
    return turn.book(account).state.balance_nano > policy_of(turn, account).policy.zero_nano


def _is_newest(turn: Turn, row: CommandRow, command: Command) -> bool:
    counter = turn.switch(command.meter_no).counter
    if row.reserved:
        return counter <= row.reserved
    return counter < command.switch_counter or takes_number_later(command)


def takes_number_later(command: Command) -> bool:
    return command.switch_counter == 0 and guards.is_scheduled(command)


def _is_superseded(turn: Turn, row: CommandRow, command: Command) -> bool:
    """Whether the switch was moved, or may have been, by what was due after this scheduled order's time."""
    if not takes_number_later(command):
        return False
    query = """SELECT 1 FROM action LEFT JOIN command USING (cmd_id) WHERE action.meter_no = ? AND action.cmd_id <> ?
        AND action.result IN ('', 'done', 'already', 'stuck', 'unknown')
        AND coalesce(nullif(command.not_before_ms, 0), action.created_ms) > ? LIMIT 1"""
    return turn.db.execute(query, (row.meter_no, row.cmd_id, command.not_before_ms)).fetchone() is not None


def _cuts_left(turn: Turn) -> bool:
    """Commanded cuts: at most 5 % of the meters an hour and 10 % a day, but two and four of a small DCU."""
    query = "SELECT count(*) FROM action WHERE origin = 'command' AND close = 0 AND created_ms > ?"
    meters = len(turn.plan.meters)
    limits = (
        (MS_PER_HOUR, max(CUTS_PER_HOUR_AT_LEAST, meters * 5 // 100)),
        (MS_PER_DAY, max(CUTS_PER_DAY_AT_LEAST, meters * 10 // 100)),
    )
    return all(turn.db.execute(query, (turn.now_ms - span,)).fetchone()[0] < most for span, most in limits)
