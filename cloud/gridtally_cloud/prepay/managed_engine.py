"""The engine of a managed account: the concentrator's own reducer and cut tests, run here; the concentrator carries out (safety.md 17).

* Each decision stands in the account's journal with its evidence before its order leaves, in one transaction; the order names it.
* An order is an ordinary signed command with cause `prepay`. A cut lives for minutes and never into protected hours: it can not come to
  a home that has paid meanwhile. A payment takes back one that is on its way; a close goes out in the same run.
* Messages and events carry the codes of the concentrator. A limit of the load is not set from here: whose policy asks for one is not
  managed (managed.py).

Source: prepayment.md 3.3 to 3.5; safety.md 1 to 5.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.measurements import take_event
from gridtally_cloud.prepay.managed_facts import Known, Said, facts_of, rules_of
from gridtally_cloud.prepay.managed_forecast import Forecasts, span_to_tell
from gridtally_cloud.prepay.managed_pen import Pen
from gridtally_cloud.prepay.managed_supply import ARMED, CLOSE_RETRY_MOST_MS, Ended, Supply, newest_of
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, Event
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import detail
from gridtally_shared.ledger.money_order import MoneyRules, owed
from gridtally_shared.ledger.way_back import brings_back
from gridtally_shared.prepay.cut_tests import asks_presence
from gridtally_shared.prepay.due import is_at_rest, quiet_above_ms, quiet_above_nano
from gridtally_shared.prepay.engine import Fired, advance
from gridtally_shared.prepay.facts import Happening, OffReason
from gridtally_shared.prepay.in_force import InForce
from gridtally_shared.prepay.money import money_rules
from gridtally_shared.prepay.ordered import PREPAY, PrepayOrder
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.prepay.regions import Funds
from gridtally_shared.prepay.situation import calendar_of
from gridtally_shared.prepay.standing import Standing, standing_from, standing_text
from gridtally_shared.prepay.table import CLOSES, ORDERS, Effect
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

ACTOR = "system:managed"
STREAM = b"mdm".ljust(16, b"\0")
CUT_LIFE_MS = 600_000
ALARM_AT_RETRY = 5
OFF_BY_RULES = frozenset({OffReason.BALANCE.value, OffReason.LIMIT.value})
"""What its concentrator opened above a limit is closed from here: the limit is no more, for none is kept here."""
PROTECTION_SEEN_MS = 7 * MS_PER_DAY

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Desk:
    """One run for one account: its journal, its supply, and what is known around them."""

    conn: Connection
    signer: Signer
    now_ms: int
    said: Said
    known: Known
    pen: Pen
    supply: Supply
    forecasts: Forecasts

    @property
    def arrival(self) -> Arrival:
        return Arrival(self.conn, StreamKey(self.pen.account.dcu, STREAM, 0), 0, self.now_ms)

    @property
    def rules(self) -> InForce:
        return rules_of(self.known.config, self.said, self.now_ms)

    @property
    def standing(self) -> Standing:
        return standing_from(self.supply.standing, self.supply.decision)

    def money_rules(self, at_ms: int) -> MoneyRules:
        """For every charge and every top-up of this account."""
        rules = rules_of(self.known.config, self.said, at_ms)
        return money_rules(rules.policy, self.standing, self.known.region.zone, at_ms)

    def left_ms(self, policy: Policy, settled: bool = False) -> int | None:
        """How long the balance lasts, told with caution; made anew where that is due and all is written."""
        if settled:
            self.forecasts.follow(self.arrival, self.pen, policy, self.standing.regions.funds is not Funds.IN_CREDIT)
        return span_to_tell(self.arrival, self.pen, self.known.interval_ms)

    def tell(self, code: str, **params: int) -> None:
        self.pen.tell(self.now_ms, code, **params)

    def report(self, name: str, text: str) -> None:
        """An event, as a concentrator would tell it."""
        take_event(self.arrival, Event(self.pen.account.meter_no, EVENTS[name].code, self.now_ms, text))


def evaluate(desk: Desk, happening: Happening | None = None, topup_nano: int = 0, settled: bool = True) -> None:
    """Decide on the supply and do what follows; nothing before its opening."""
    pen, supply, before = desk.pen, desk.supply, desk.standing
    supply.held, supply.held_wh, supply.good_ms = pen.held, pen.held_wh, pen.good_ms
    if pen.state.opened_wh is None or pen.account.closed_at_ms is not None:
        return
    rules = desk.rules
    left_ms = desk.left_ms(rules.policy, settled)
    if happening is None and _is_at_ease(desk, rules, before, left_ms):
        return
    facts = facts_of(desk.known, supply, pen.state, rules, desk.now_ms, topup_nano, settled)
    if rules.policy.low.hours:
        facts = replace(facts, time_left_ms=left_ms)
    step = advance(before, facts, rules.policy, happening)
    supply.standing, supply.decision = standing_text(step.standing), step.standing.decision
    for fired in step.fired:
        _carry_out(desk, fired)


def _is_at_ease(desk: Desk, rules: InForce, standing: Standing, left_ms: int | None) -> bool:
    """Paid, at rest and not off by money: most supplies, most of the time."""
    if rules.policy.low.hours and left_ms is not None and left_ms <= quiet_above_ms(rules.policy):
        return False
    rich = desk.pen.state.balance_nano > quiet_above_nano(rules.policy, standing)
    return rich and is_at_rest(standing) and desk.supply.off_reason not in OFF_BY_RULES


def _carry_out(desk: Desk, fired: Fired) -> None:
    cmd_id = b""
    for effect in fired.effects:
        if effect in ORDERS:
            cmd_id = _order(desk, effect in CLOSES, fired)
    if fired.evidence is not None:
        desk.pen.add(Kind.DECISION, desk.now_ms, cause=cmd_id, detail=detail(fired.evidence))
    for effect in fired.effects:
        act = ACTS.get(effect)
        if act is not None:
            act(desk, fired)


# ---- orders ---------------------------------------------------------------------------------------------------


def _order(desk: Desk, close: bool, fired: Fired) -> bytes:
    """Sign and queue the order of a decision; the id of its command, b"" where it could not be given."""
    policy, state, account = desk.rules.policy, desk.pen.state, desk.pen.account
    asked = PrepayOrder(None if close else state.register_wh, close and _arms(desk), detail(fired.evidence) if fired.evidence else b"")
    kind = CommandType.SWITCH_CLOSE if close else CommandType.SWITCH_OPEN
    latest_ms = desk.now_ms + CUT_LIFE_MS
    calendar = calendar_of(policy, desk.known.region)
    expires_ms = 0 if close else calendar.free_until_ms(desk.now_ms, latest_ms)
    request = CommandRequest(account.meter_no, kind, ACTOR, PREPAY, expires_ms=expires_ms, detail=encode(asked))
    try:
        issued = commanding.issue(desk.conn, desk.signer, request, desk.now_ms)
    except RefusedCommand as refused:
        log.warning("an order of a managed account was refused", extra={"account_no": account.account_no, "reason": str(refused)})
        desk.supply.stuck_until_ms = desk.now_ms + CLOSE_RETRY_MOST_MS
        return b""
    desk.supply.order_id, desk.supply.order_close = issued.cmd_id, close
    return issued.cmd_id


def _arms(desk: Desk) -> bool:
    return asks_presence(desk.known.config, desk.rules.policy)


def take_back(desk: Desk, close: bool) -> None:
    """The order under way is not wanted any more: at once where it never left the house, else its concentrator decides who was first."""
    supply = desk.supply
    view = newest_of(desk.conn, supply.order_id) if supply.order_id is not None and supply.order_close is close else None
    if view is not None and not view.ended:
        commanding.cancel(desk.conn, desk.signer, view.cmd_id, ACTOR, desk.now_ms)


def note_end(desk: Desk, ended: Ended) -> None:
    """Write down what became of an order, and tell the consumer where the switch has moved."""
    evidence = ended.evidence
    desk.pen.add(Kind.SWITCH, desk.now_ms, cause=ended.cmd_id, detail=detail(evidence))
    if not ended.reached:
        if evidence.close and desk.supply.retries == ALARM_AT_RETRY:
            desk.report("restore_delayed", f"account={desk.pen.account.account_no} tries={desk.supply.retries} result={evidence.result}")
        return
    if not evidence.close:
        desk.tell("CUT", a=_brings_back(desk))
    else:
        desk.tell("ARMED" if evidence.state_after == ARMED else "ON", b=desk.pen.state.balance_nano)


# ---- what is told ---------------------------------------------------------------------------------------------


def _brings_back(desk: Desk) -> int:
    """The least payment that restores."""
    restore_nano = max(1, desk.rules.policy.restore.min_balance_nano)
    return brings_back(desk.pen.state, desk.money_rules(desk.now_ms), restore_nano)


def _emergency_left(desk: Desk) -> int:
    return max(0, desk.rules.policy.emergency.limit_nano - owed(desk.pen.state, Pool.EMERGENCY))


def _warn(desk: Desk) -> None:
    balance_nano, left_ms = desk.pen.state.balance_nano, desk.left_ms(desk.rules.policy)
    if left_ms is None:
        desk.tell("LOW_BARE", b=balance_nano)
    else:
        desk.tell("LOW", b=balance_nano, t=left_ms)
    desk.report("low_balance", f"account={desk.pen.account.account_no} balance_nano={balance_nano}")


def _tell_protected(desk: Desk) -> None:
    calendar = calendar_of(desk.rules.policy, desk.known.region)
    until_ms = calendar.free_from_ms(desk.now_ms, desk.now_ms + PROTECTION_SEEN_MS)
    if until_ms is None or until_ms <= desk.now_ms:
        desk.tell("PROT_OPEN")
    else:
        desk.tell("PROT", d=until_ms)


def _report_held(desk: Desk, fired: Fired) -> None:
    if fired.evidence is not None and fired.evidence.verdict == "held":
        blocked = ",".join(t.name for t in fired.evidence.tests if not t.holds)
        desk.report("cut_held", f"account={desk.pen.account.account_no} by={blocked}")


def _ask(desk: Desk, event: str) -> None:
    desk.report(event, f"account={desk.pen.account.account_no} balance_nano={desk.pen.state.balance_nano}")


Act = Callable[[Desk, Fired], None]
ACTS: dict[Effect, Act] = {
    Effect.TELL_LOW: lambda desk, _: _warn(desk),
    Effect.TELL_ZERO: lambda desk, _: desk.tell("ZERO", b=desk.pen.state.balance_nano),
    Effect.TELL_OFFER: lambda desk, _: desk.tell("EC_OFFER", b=_emergency_left(desk)),
    Effect.TELL_EMERGENCY: lambda desk, _: desk.tell("EC_ON", b=_emergency_left(desk)),
    Effect.TELL_OVERDRAWN: lambda desk, _: desk.tell("OVERDRAWN", b=desk.pen.state.balance_nano),
    Effect.TELL_PROTECTED: lambda desk, _: _tell_protected(desk),
    Effect.TELL_FIELD: lambda desk, _: desk.tell("FIELD", a=_brings_back(desk)),
    Effect.TELL_STAYS_ON: lambda desk, _: desk.tell("STAYS_ON", a=_brings_back(desk)),
    Effect.ASK_PAYMENT: lambda desk, _: _ask(desk, "replenish_asked"),
    Effect.ASK_FIELD: lambda desk, _: _ask(desk, "field_cut_asked"),
    Effect.CALL_BACK: lambda desk, _: _ask(desk, "field_cut_called_back"),
    Effect.ASK_DORMANT: lambda desk, _: _ask(desk, "account_dormant"),
    Effect.ASK_MODE: lambda desk, _: _ask(desk, "billing_asked"),
    Effect.HOLD: _report_held,
    Effect.WITHDRAW: lambda desk, _: take_back(desk, False),
    Effect.WITHDRAW_CLOSE: lambda desk, _: take_back(desk, True),
}
"""What is not here needs nothing done, or is an order."""
