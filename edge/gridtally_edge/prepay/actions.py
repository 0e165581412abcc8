"""Orders to switches: stored before they leave, one at a time per switch, resolved by reading and never by repeating.

* One counter per switch numbers all actions, local and commanded (safety.md 3).
* `intent` -> the order is on its way; `unresolved` -> nobody knows whether it acted, the switch is read;
  `finished` -> what the meter reported is in the journal and, for a command, in its receipt.
"""

from __future__ import annotations

import os

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.decide import OffReason
from gridtally_edge.prepay.events import Permit, RunRead, RunSwitch, SwitchOutcome, SwitchResult
from gridtally_edge.prepay.holds import protected_hours
from gridtally_edge.prepay.notices import show_on_meter, tell
from gridtally_edge.prepay.rows import ActionRow, save, some
from gridtally_edge.prepay.switching import REACHED
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, CommandType
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import SwitchEvidence, detail

CUT_WINDOW_MS = MS_PER_HOUR // 2
RESTORE_WINDOW_MS = 3 * MS_PER_DAY
RETRY_FIRST_MS = 45_000
RETRY_MOST_MS = MS_PER_HOUR
STUCK_CUT_MS = MS_PER_DAY
REACHED_RESULTS = frozenset({SwitchResult.DONE, SwitchResult.ALREADY})
SEEMED_TO_FAIL = frozenset({SwitchResult.STUCK.value, SwitchResult.NO_ANSWER.value, SwitchResult.UNKNOWN.value})
RETRIED = frozenset({SwitchResult.NO_ANSWER, SwitchResult.METER_FAULT, SwitchResult.WRONG_SERIAL, SwitchResult.NO_REGISTER})


def open_action(turn: Turn, meter_no: int) -> ActionRow | None:
    """The action of this switch that is not finished, if there is one."""
    rows = some(turn.db, ActionRow, "WHERE meter_no = ? AND state <> 'finished'", meter_no)
    return rows[0] if rows else None


def order_by_balance(turn: Turn, account: AccountConfig, close: bool, action_id: bytes) -> None:
    """Store and send the order of a local decision."""
    counter = turn.switch(account.meter_no).counter + 1
    action = ActionRow(
        action_id, account.meter_no, account.account_no, account.account_epoch, b"", counter, int(close), "local",
        "intent", turn.now_ms,
    )  # fmt: skip
    latest_ms = turn.now_ms + RESTORE_WINDOW_MS if close else _latest_cut_ms(turn, account)
    _send(turn, action, latest_ms, None if close else _raw_register_wh(turn, account))


def order_by_command(turn: Turn, meter_no: int, cmd_id: bytes, close: bool, counter: int, latest_ms: int) -> None:
    """Store and send the order of a verified command."""
    account = turn.plan.by_meter.get(meter_no)
    account_no, epoch = (account.account_no, account.account_epoch) if account else (0, 0)
    action = ActionRow(
        new_id(), meter_no, account_no, epoch, cmd_id, counter, int(close), "command", "intent", turn.now_ms,
    )  # fmt: skip
    _send(turn, action, latest_ms, None)


def new_id() -> bytes:
    return os.urandom(16)


def withdraw_cut(turn: Turn, account: AccountConfig) -> None:
    """Credit came while a local cut waits for its line: the order is not carried out if it has not left yet."""
    action = open_action(turn, account.meter_no)
    if action is not None and action.origin == "local" and not action.close:
        permit = turn.permits.get(action.action_id)
        if permit is not None:
            permit.withdraw()


def late_cut(turn: Turn, meter_no: int) -> OffReason:
    """Why a switch may have opened although no order was seen to succeed: its newest order was a cut that seemed to
    fail, and the contactor followed late. Otherwise nobody ordered it."""
    rows = some(turn.db, ActionRow, "WHERE meter_no = ? ORDER BY counter DESC LIMIT 1", meter_no)
    if not rows or rows[0].close or rows[0].result not in SEEMED_TO_FAIL:
        return OffReason.UNORDERED
    return OffReason.ORDER if rows[0].origin == "command" else OffReason.BALANCE


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
    if outcome.result is SwitchResult.STUCK:
        turn.report(action.meter_no, "switch_stuck", f"ordered={'close' if action.close else 'open'} {outcome.fault}".strip())
    if outcome.result is SwitchResult.WRONG_SERIAL:
        turn.report(action.meter_no, "serial_mismatch", f"serial={outcome.serial} {outcome.fault}")
    account = turn.plan.accounts.get(action.account_no)
    if account is not None and account.account_epoch == action.epoch:
        _write_down(turn, account, action, outcome)


def evidence_of(action: ActionRow, outcome: SwitchOutcome) -> SwitchEvidence:
    return SwitchEvidence(
        bool(action.close), outcome.result.value, action.counter, outcome.state_before.value, outcome.state_after.value,
        outcome.serial, outcome.register_wh, action.origin, outcome.fault[:200],
    )  # fmt: skip


def _send(turn: Turn, action: ActionRow, latest_ms: int, min_register_wh: int | None) -> None:
    save(turn.db, action)
    turn.switch(action.meter_no).counter = action.counter
    permit = turn.permits.setdefault(action.action_id, Permit())
    serial = turn.plan.meters[action.meter_no].serial
    order = RunSwitch(
        action.action_id, action.meter_no, serial, bool(action.close), latest_ms, min_register_wh, permit
    )  # fmt: skip
    turn.effects.append(order)


def _raw_register_wh(turn: Turn, account: AccountConfig) -> int | None:
    """What is charged so far, as the meter's own register shows it."""
    charged_wh = turn.book(account).state.register_wh
    modulus_wh = turn.switch(account.meter_no).register_modulus_wh
    return charged_wh % modulus_wh if charged_wh is not None and modulus_wh else charged_wh


def _latest_cut_ms(turn: Turn, account: AccountConfig) -> int:
    """The order may wait for its line, but not into protected hours as the most advanced true clock would see them."""
    uncertainty_ms = turn.clock.uncertainty_ms
    hours = protected_hours(account.protected_hours, account.zone)
    limit_ms = turn.now_ms + CUT_WINDOW_MS
    return hours.free_until_ms(turn.now_ms + uncertainty_ms, limit_ms + uncertainty_ms) - uncertainty_ms


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
        row.stuck_until_ms = turn.now_ms + min(RETRY_MOST_MS, RETRY_FIRST_MS << min(row.retries, 10))
        row.retries += 1


def _note_reached(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> None:
    row = turn.switch(action.meter_no)
    row.ordered, row.use_reported, row.open_wh = action.close, 0, None
    by_command = action.origin == "command"
    row.power_w = None  # what was drawn before says nothing of the load side now
    if action.close:
        row.off_reason, row.off_since_ms, row.resyncs = OffReason.NONE.value, 0, 0
        row.closed_by_order_ms = turn.now_ms if by_command else row.closed_by_order_ms
    else:
        row.off_reason = (OffReason.ORDER if by_command else OffReason.BALANCE).value
        row.off_since_ms, row.closed_by_order_ms = outcome.at_ms, None


def _write_down(turn: Turn, account: AccountConfig, action: ActionRow, outcome: SwitchOutcome) -> None:
    evidence = detail(evidence_of(action, outcome))
    turn.book(account).add(
        Kind.SWITCH, turn.stamp(), meter_no=action.meter_no, cause=action.cmd_id or action.action_id, detail=evidence
    )
    if outcome.result in REACHED_RESULTS:
        _tell_supply(turn, account, action)
        show_on_meter(turn, account, at_once=True)


def _tell_supply(turn: Turn, account: AccountConfig, action: ActionRow) -> None:
    balance_nano = turn.book(account).state.balance_nano
    if action.close:
        tell(turn, account, "ON", b=balance_nano)
    elif action.origin == "local":
        tell(turn, account, "CUT", a=max(1, account.restore_min_nano) - balance_nano)
    else:
        tell(turn, account, "CUT_ORDER")
