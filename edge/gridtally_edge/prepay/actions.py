"""Orders to switches: stored before they leave, one at a time per switch, resolved by reading and never by repeating.

* One counter per switch numbers all actions, local and commanded (safety.md 3).
* `intent` -> the order is on its way; `unresolved` -> nobody knows whether it acted, the switch is read;
  `finished` -> what the meter reported is in the journal and, for a command, in its receipt.
"""

from __future__ import annotations

import os
from dataclasses import replace

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.events import Permit, RunRead, RunSwitch, SwitchOutcome, SwitchResult
from gridtally_edge.prepay.meter_holds import tell as tell_mdm
from gridtally_edge.prepay.notices import show_on_meter, tell
from gridtally_edge.prepay.rows import ActionRow, CommandRow, one, save, some
from gridtally_edge.prepay.rules import local_of, money_rules_of, policy_of
from gridtally_edge.prepay.switching import REACHED
from gridtally_edge.prepay.turn import CLOSE_RETRY_MOST_MS, RETRY_MOST_MS, STUCK_CUT_MS, Turn
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import AccountConfig, Command, CommandType
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import SwitchEvidence, detail
from gridtally_shared.ledger.way_back import brings_back
from gridtally_shared.prepay.cut_tests import asks_presence
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.ordered import NONPAYMENT, PREPAY, PrepayOrder, is_by_money
from gridtally_shared.prepay.retold import OFF_BY
from gridtally_shared.prepay.situation import calendar_of
from gridtally_shared.supply_test import LIVE_MV

CUT_WINDOW_MS = MS_PER_HOUR // 2
RESTORE_WINDOW_MS = 3 * MS_PER_DAY
SITE_WINDOW_MS = 600_000
RETRY_FIRST_MS = 45_000
QUICK_MOST_MS = 300_000
ALARM_AT_RETRY = 5
REACHED_RESULTS = frozenset({SwitchResult.DONE, SwitchResult.ALREADY})
SEEMED_TO_FAIL = frozenset({SwitchResult.STUCK.value, SwitchResult.NO_ANSWER.value, SwitchResult.UNKNOWN.value})
RETRIED = frozenset({
    SwitchResult.NO_ANSWER, SwitchResult.METER_FAULT, SwitchResult.WRONG_SERIAL, SwitchResult.NO_REGISTER, SwitchResult.LIVE,
    SwitchResult.PRESENCE,
})  # fmt: skip
QUICK = frozenset({SwitchResult.NO_ANSWER, SwitchResult.METER_FAULT, SwitchResult.LIVE})
"""Ends of a close that may be over at any moment: somebody waits for supply, so the pauses stay short."""


def open_action(turn: Turn, meter_no: int) -> ActionRow | None:
    """The action of this switch that is not finished, if there is one."""
    rows = some(turn.db, ActionRow, "WHERE meter_no = ? AND state <> 'finished'", meter_no)
    return rows[0] if rows else None


def order_by_balance(turn: Turn, account: AccountConfig, close: bool, action_id: bytes, by_hand: bool = False) -> None:
    """Store and send the order of a local decision. `by_hand`: somebody is there and asked for it."""
    _order_here(turn, account, close, action_id, "local", turn.now_ms + RESTORE_WINDOW_MS, by_hand)


def order_by_limit(turn: Turn, account: AccountConfig, close: bool, action_id: bytes, by_hand: bool = False) -> None:
    """Store and send a trip above the load limit, or the close after it."""
    _order_here(turn, account, close, action_id, "limit", turn.now_ms + RESTORE_WINDOW_MS, by_hand)


def order_by_schedule(turn: Turn, account: AccountConfig, close: bool, action_id: bytes, until_ms: int, back: bool = False) -> None:
    """Store and send what a schedule asks for, until the window it belongs to ends. `back`: off as before the window, which is nobody's to
    undo but a person's."""
    _order_here(turn, account, close, action_id, "back_off" if back else "schedule", until_ms)


def order_on_site(turn: Turn, meter_no: int, account: AccountConfig | None, action_id: bytes, close: bool) -> None:
    """Store and send what a named person on site asked for: an order of a person, which asks no rule of money. `account` None: it is not
    run here."""
    _send(turn, _action_here(turn, meter_no, account, close, action_id, "site"), turn.now_ms + SITE_WINDOW_MS, None)


def _order_here(turn: Turn, account: AccountConfig, close: bool, action_id: bytes, origin: str, until_ms: int,
                by_hand: bool = False) -> None:  # fmt: skip
    latest_ms = until_ms if close else min(until_ms, latest_cut_ms(turn, account))
    arm = close and not by_hand and asks_presence(account, policy_of(turn, account).policy)
    action = _action_here(turn, account.meter_no, account, close, action_id, origin)
    _send(turn, action, latest_ms, None if close else _raw_register_wh(turn, account), arm)


def _action_here(turn: Turn, meter_no: int, account: AccountConfig | None, close: bool, action_id: bytes, origin: str) -> ActionRow:
    """With the next number of the switch."""
    whose, counter = _whose(account), turn.switch(meter_no).counter + 1
    return ActionRow(action_id, meter_no, *whose, b"", counter, int(close), origin, "intent", turn.now_ms)


def _whose(account: AccountConfig | None) -> tuple[int, int]:
    return (account.account_no, account.account_epoch) if account is not None else (0, 0)


def order_by_command(turn: Turn, meter_no: int, cmd_id: bytes, close: bool, counter: int, latest_ms: int,
                     asked: PrepayOrder) -> None:  # fmt: skip
    """Store and send the order of a verified command; `asked` is what it wants to be true of the meter."""
    account_no, epoch = _whose(turn.plan.by_meter.get(meter_no))
    action = ActionRow(
        new_id(), meter_no, account_no, epoch, cmd_id, counter, int(close), "command", "intent", turn.now_ms,
    )  # fmt: skip
    _send(turn, action, latest_ms, None if close else asked.min_register_wh, asked.arm and close)


def new_id() -> bytes:
    return os.urandom(16)


def withdraw_cut(turn: Turn, account: AccountConfig) -> None:
    """Credit came while a local cut waits for its line: the order is not carried out if it has not left yet."""
    _withdraw(turn, account, False, "local")


def withdraw_trip(turn: Turn, account: AccountConfig) -> None:
    """The same of a trip above a limit that is no more."""
    _withdraw(turn, account, False, "limit")


def withdraw_close(turn: Turn, account: AccountConfig) -> None:
    """The same of a close, by money or after a trip, that the money does not allow any more."""
    _withdraw(turn, account, True, "local", "limit")


def _withdraw(turn: Turn, account: AccountConfig, close: bool, *origins: str) -> None:
    action = open_action(turn, account.meter_no)
    if action is not None and action.origin in origins and bool(action.close) is close:
        permit = turn.permits.get(action.action_id)
        if permit is not None:
            permit.withdraw()


def late_cut(turn: Turn, meter_no: int) -> OffReason:
    """Why a switch may have opened although no order was seen to succeed: its newest order was a cut that seemed to
    fail, and the contactor followed late. Otherwise nobody ordered it."""
    rows = some(turn.db, ActionRow, "WHERE meter_no = ? ORDER BY counter DESC LIMIT 1", meter_no)
    if not rows or rows[0].close or rows[0].result not in SEEMED_TO_FAIL:
        return OffReason.UNORDERED
    return _off_reason(turn, rows[0])


def _off_reason(turn: Turn, action: ActionRow) -> OffReason:
    """What a command by the rules of an account opened, money opened."""
    return OffReason.BALANCE if is_by_money(_cause(turn, action)) else OFF_BY[action.origin]


def _is_by_rules(turn: Turn, action: ActionRow) -> bool:
    return _cause(turn, action) == PREPAY


def _cause(turn: Turn, action: ActionRow) -> str:
    row = one(turn.db, CommandRow, action.cmd_id) if action.cmd_id else None
    return decode(Command, row.body).cause if row is not None and row.body else ""


def leave_unresolved(turn: Turn, action: ActionRow) -> None:
    """Nobody knows whether the order acted: look at the switch."""
    action.state, action.unresolved_ms = "unresolved", turn.now_ms
    save(turn.db, action)
    meter = turn.plan.meters.get(action.meter_no)
    if meter is not None:
        turn.effects.append(RunRead(action.action_id, action.meter_no, meter.serial, CommandType.READ_SWITCH))


def outcome_as_read(action: ActionRow, state: SwitchState, serial: str, at_ms: int) -> SwitchOutcome:
    """The outcome of an unresolved action, from the state the switch has now."""
    reached = state in REACHED[bool(action.close)]
    result = SwitchResult.DONE if reached else SwitchResult.NO_ANSWER
    return SwitchOutcome(result, serial, SwitchState.UNKNOWN, state, True, at_ms, fault="resolved by reading the switch")


def finish(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    """Write what became of an action: its row, the switch, the journal, the consumer's message."""
    action.state, action.finished_ms, action.result = "finished", turn.now_ms, outcome.result.value
    save(turn.db, action)
    turn.permits.pop(action.action_id, None)
    _note_on_switch(turn, action, outcome)
    _note_fault(turn, action, outcome)
    if outcome.result is SwitchResult.STUCK:
        turn.report(action.meter_no, "switch_stuck", f"ordered={'close' if action.close else 'open'} {outcome.fault}".strip())
    if outcome.result is SwitchResult.WRONG_SERIAL:
        turn.report(action.meter_no, "serial_mismatch", f"serial={outcome.serial} {outcome.fault}")
    account = turn.plan.accounts.get(action.account_no)
    if account is not None and account.account_epoch == action.epoch:
        _write_down(turn, account, action, outcome)
    elif action.origin == "site" and not action.account_no:
        tell_mdm(turn, action.meter_no, Kind.SWITCH, detail(evidence_of(action, outcome)))


def _note_fault(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    """A switch that did not move, or that says open in front of a live load side."""
    row, before = turn.switch(action.meter_no), turn.switch(action.meter_no).fault
    live = (outcome.load_side_mv or 0) > LIVE_MV and row.state == SwitchState.OPEN.value
    if outcome.load_side_mv is not None:
        row.load_side_mv = outcome.load_side_mv
    if outcome.result is SwitchResult.STUCK:
        row.fault = "stuck"
    elif live:
        row.fault = "live"
    elif outcome.result in REACHED_RESULTS:
        row.fault = ""
    if outcome.result is SwitchResult.PRESENCE:
        row.arms = 0
    elif outcome.state_after is SwitchState.ARMED:
        row.arms = 1
    if live and before != "live":
        turn.report(action.meter_no, "load_side_live", f"mv={outcome.load_side_mv} ordered={'close' if action.close else 'open'}")


def evidence_of(action: ActionRow, outcome: SwitchOutcome) -> SwitchEvidence:
    return SwitchEvidence(
        bool(action.close), outcome.result.value, action.counter, outcome.state_before.value, outcome.state_after.value,
        outcome.serial, outcome.register_wh, action.origin, outcome.fault[:200],
    )  # fmt: skip


def _send(turn: Turn, action: ActionRow, latest_ms: int, min_register_wh: int | None, arm: bool = False) -> None:
    save(turn.db, action)
    turn.switch(action.meter_no).counter = action.counter
    permit = turn.permits.setdefault(action.action_id, Permit())
    serial = turn.plan.meters[action.meter_no].serial
    order = RunSwitch(
        action.action_id, action.meter_no, serial, bool(action.close), latest_ms, min_register_wh, arm, permit
    )  # fmt: skip
    turn.effects.append(order)


def _raw_register_wh(turn: Turn, account: AccountConfig) -> int | None:
    """What is charged so far, as the meter's own register shows it."""
    charged_wh = turn.book(account).state.register_wh
    modulus_wh = turn.switch(account.meter_no).register_modulus_wh
    return charged_wh % modulus_wh if charged_wh is not None and modulus_wh else charged_wh


def latest_cut_ms(turn: Turn, account: AccountConfig) -> int:
    """The order may wait for its line, but not into protected hours as the most advanced true clock would see them."""
    uncertainty_ms = turn.clock.uncertainty_ms
    calendar = calendar_of(policy_of(turn, account).policy, local_of(turn, account))
    limit_ms = turn.now_ms + CUT_WINDOW_MS
    return calendar.free_until_ms(turn.now_ms + uncertainty_ms, limit_ms + uncertainty_ms) - uncertainty_ms


def _note_on_switch(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    row = turn.switch(action.meter_no)
    if outcome.state_after is not SwitchState.UNKNOWN and outcome.at_ms >= row.state_ms:
        row.state, row.state_ms = outcome.state_after.value, outcome.at_ms
    if outcome.result in REACHED_RESULTS:
        row.retries, row.stuck_until_ms = 0, 0
        _note_reached(turn, action, outcome)
    elif outcome.result is SwitchResult.STUCK and not action.close:
        row.stuck_until_ms = turn.now_ms + STUCK_CUT_MS
    elif outcome.result in RETRIED or outcome.result is SwitchResult.STUCK:
        close_ms = QUICK_MOST_MS if outcome.result in QUICK else CLOSE_RETRY_MOST_MS
        most_ms = close_ms if action.close else RETRY_MOST_MS
        row.stuck_until_ms = turn.now_ms + min(most_ms, RETRY_FIRST_MS << min(row.retries, 10))
        row.retries += 1
        _tell_delay(turn, action, outcome)


def _tell_delay(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    """A home is owed its supply and does not get it: somebody should know before its people call."""
    if action.close and action.origin in ("local", "limit") and turn.switch(action.meter_no).retries == ALARM_AT_RETRY:
        turn.report(action.meter_no, "restore_delayed", f"account={action.account_no} tries={ALARM_AT_RETRY} result={outcome.result.value}")


def look_behind(turn: Turn, account: AccountConfig) -> None:
    """A home that is owed its supply waits for a load side that was live: it is looked at again every few minutes, not with the
    next sweep, so that it comes back soon after whatever fed it has gone (safety.md 15)."""
    row, asked = turn.switch(account.meter_no), f"looked:{account.meter_no}"
    word, _, reasons = turn.book(account).row.last_decision.partition(":")
    if word != "restore_held" or "load_side" not in reasons.split(",") or row.state != SwitchState.OPEN.value:
        return
    meter = turn.plan.meters.get(account.meter_no)
    waited_ms = min(abs(turn.now_ms - row.state_ms), abs(turn.now_ms - turn.fact(asked)))
    if meter is not None and waited_ms >= QUICK_MOST_MS:
        turn.remember(asked, turn.now_ms)
        turn.effects.append(RunRead(new_id(), account.meter_no, meter.serial, CommandType.READ_INSTANT))


def answers_again(turn: Turn, meter_no: int) -> None:
    """A meter that gave no answer to a close has just been read: the close need not wait for its turn."""
    row = turn.switch(meter_no)
    if row.stuck_until_ms <= turn.now_ms:
        return
    rows = some(turn.db, ActionRow, "WHERE meter_no = ? ORDER BY counter DESC LIMIT 1", meter_no)
    if rows and rows[0].close and rows[0].result == SwitchResult.NO_ANSWER.value:
        row.stuck_until_ms = 0


def _note_reached(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    row = turn.switch(action.meter_no)
    row.ordered, row.use_reported, row.open_wh = action.close, 0, None
    row.power_w = None  # what was drawn before says nothing of the load side now
    if action.close:
        row.off_reason, row.off_since_ms, row.resyncs = OffReason.NONE.value, 0, 0
        by_person = action.origin == "command" and not _is_by_rules(turn, action)
        row.closed_by_order_ms = turn.now_ms if by_person else row.closed_by_order_ms
    else:
        row.off_reason = _off_reason(turn, action).value
        row.off_since_ms, row.closed_by_order_ms = outcome.at_ms, None


def _write_down(turn: Turn, account: AccountConfig, action: ActionRow, outcome: SwitchOutcome) -> None:
    told = evidence_of(action, outcome)
    if not action.close and _cause(turn, action).startswith(NONPAYMENT):
        told = replace(told, origin=NONPAYMENT)
    evidence = detail(told)
    turn.book(account).add(
        Kind.SWITCH, turn.stamp(), meter_no=action.meter_no, cause=action.cmd_id or action.action_id, detail=evidence
    )
    if outcome.result in REACHED_RESULTS:
        _tell_supply(turn, account, action, outcome.state_after)
        show_on_meter(turn, account, at_once=True)


def brings_back_nano(turn: Turn, account: AccountConfig) -> int:
    """The least payment that restores: emergency credit in use and shares of debts are paid off first."""
    restore_nano = max(1, policy_of(turn, account).policy.restore.min_balance_nano)
    return brings_back(turn.book(account).state, money_rules_of(turn, account), restore_nano)


def _tell_supply(turn: Turn, account: AccountConfig, action: ActionRow, state: SwitchState) -> None:
    balance_nano = turn.book(account).state.balance_nano
    if state is SwitchState.ARMED:
        tell(turn, account, "ARMED", b=balance_nano)
    elif action.close:
        tell(turn, account, "ON", b=balance_nano)
    elif action.origin == "limit":
        return  # told when it was decided (supply.py)
    elif action.origin == "local":
        tell(turn, account, "CUT", a=brings_back_nano(turn, account))
    else:
        tell(turn, account, "CUT_ORDER")
