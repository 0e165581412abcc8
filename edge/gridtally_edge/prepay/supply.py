"""The step the core takes after every event: ask the engine about one supply, keep its standing, carry out its effects.

* Evidence is written before the effects of its row: when an order leaves, why it does is durable.
* A supply that is paid and at rest is passed by without a question: most supplies, most of the time.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.prepay import limiter, limiting
from gridtally_edge.prepay.actions import (
    brings_back_nano,
    new_id,
    order_by_balance,
    order_by_limit,
    withdraw_close,
    withdraw_cut,
    withdraw_trip,
)
from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.decide import facts_of
from gridtally_edge.prepay.forecasting import follow, mark_near
from gridtally_edge.prepay.notices import left_ms, tell, warn
from gridtally_edge.prepay.rows import ActionRow, some
from gridtally_edge.prepay.rules import local_of, policy_of, standing_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import detail
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.prepay.cut_tests import CUT_TESTS, run, told
from gridtally_shared.prepay.due import is_at_rest, quiet_above_ms, quiet_above_nano
from gridtally_shared.prepay.engine import Fired, advance
from gridtally_shared.prepay.facts import Happening, OffReason
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.prepay.situation import Situation, calendar_of
from gridtally_shared.prepay.standing import Standing, standing_text
from gridtally_shared.prepay.table import ORDERS, Effect

CAREFUL_AFTER_CHANGE_MS = MS_PER_DAY
PROTECTION_SEEN_MS = 7 * MS_PER_DAY
SHARES_USED_UP = frozenset({"held:hourly_share", "held:hourly_share,feeder"})
"""Nothing but the share of an hour holds a cut; the feeder's own share may be used up with it."""
OFFLINE = tuple(test for test in CUT_TESTS if test[0] == "offline")


def evaluate(turn: Turn, account: AccountConfig, happening: Happening | None = None) -> None:
    """Decide on one supply and do what follows; nothing before its opening."""
    book = turn.book(account)
    if account.meter_no not in turn.plan.meters or book.state.opened_wh is None:
        return
    follow(turn, account)
    _decide(turn, account, happening)
    mark_near(turn, account)


def _decide(turn: Turn, account: AccountConfig, happening: Happening | None) -> None:
    book, rules = turn.book(account), policy_of(turn, account)
    before = standing_of(book)
    if happening is None and _is_settled(turn, account, rules.policy, before):
        return
    facts = facts_of(turn, account, rules, happening)
    step = advance(before, facts, rules.policy, happening)
    _keep(book, before, step.standing)
    for fired in step.fired:
        _carry_out(turn, account, fired)
    limiting.noted(turn, account, before, step.standing)
    if step.standing.decision in SHARES_USED_UP:
        _trip(turn)
    _tell_limit(turn, account, before, step.standing)
    limiter.look_for(turn, account)
    limiter.follow(turn, account)


def withdraw_offline(turn: Turn) -> None:
    """The link fell while cuts wait for their line: those that may not be made offline are not carried out if they have not left yet."""
    for action in some(turn.db, ActionRow, "WHERE state <> 'finished' AND close = 0 AND origin IN ('local', 'schedule', 'back_off')"):
        account = turn.plan.by_meter.get(action.meter_no)
        permit = turn.permits.get(action.action_id)
        if account is not None and permit is not None and not _may_cut_offline(turn, account):
            permit.withdraw()


def _may_cut_offline(turn: Turn, account: AccountConfig) -> bool:
    rules = policy_of(turn, account)
    situation = Situation(facts_of(turn, account, rules), rules.policy, standing_of(turn.book(account)))
    return all(test.holds for test in told(run(OFFLINE, situation)))


def _is_settled(turn: Turn, account: AccountConfig, policy: Policy, standing: Standing) -> bool:
    if turn.book(account).state.balance_nano <= quiet_above_nano(policy, standing) or not is_at_rest(standing):
        return False
    if policy.low.hours:
        span_ms = left_ms(turn, account)
        if span_ms is not None and span_ms <= quiet_above_ms(policy):
            return False
    if turn.switch(account.meter_no).off_reason == OffReason.LIMIT.value or limiting.is_limited(turn, account):
        return False
    money_is_out = turn.switch(account.meter_no).off_reason == OffReason.BALANCE.value
    return not money_is_out and account.mode == AccountMode.PREPAID


def _keep(book: Book, before: Standing, after: Standing) -> None:
    if after != before:
        book.row.standing, book.row.last_decision = standing_text(after), after.decision


def _carry_out(turn: Turn, account: AccountConfig, fired: Fired) -> None:
    action_id = b"" if ORDERS.isdisjoint(fired.effects) else new_id()
    if fired.evidence is not None:
        turn.book(account).add(
            Kind.DECISION, turn.stamp(), meter_no=account.meter_no, cause=action_id, detail=detail(fired.evidence)
        )
    for effect in fired.effects:
        act = ACTS.get(effect)
        if act is not None:
            act(turn, account, fired, action_id)


def _report_held(turn: Turn, account: AccountConfig, fired: Fired, action_id: bytes) -> None:
    evidence = fired.evidence
    if evidence is not None and evidence.verdict == "held":
        blocked = ",".join(t.name for t in evidence.tests if not t.holds)
        turn.report(account.meter_no, "cut_held", f"account={account.account_no} by={blocked}")


def _trip(turn: Turn) -> None:
    """Soon after a change of tariff, policy or clock, cuts above the hourly share wait for a person, who changes the
    rules again (safety.md 13); at other times they wait for the hour."""
    changed_ms = turn.fact("changed_ms")
    if changed_ms and turn.now_ms - changed_ms < CAREFUL_AFTER_CHANGE_MS:
        turn.remember("breaker_tripped", 1)
        turn.report(0, "cut_held", "breaker: too many cuts in an hour soon after a change; change tariff, policy or share to go on")


def _balance(turn: Turn, account: AccountConfig) -> int:
    return turn.book(account).state.balance_nano


def _emergency(turn: Turn, account: AccountConfig) -> int:
    """What is left of the emergency credit."""
    return max(0, policy_of(turn, account).policy.emergency.limit_nano - owed(turn.book(account).state, Pool.EMERGENCY))


def _ask(turn: Turn, account: AccountConfig, event: str) -> None:
    """Upward, with what is there; the cloud answers with money or with another mode."""
    turn.report(account.meter_no, event, f"account={account.account_no} balance_nano={_balance(turn, account)}")


def _tell_protected(turn: Turn, account: AccountConfig) -> None:
    """With the end of the protection where the calendar says it; a flag or the weather has none."""
    calendar = calendar_of(policy_of(turn, account).policy, local_of(turn, account))
    until_ms = calendar.free_from_ms(turn.now_ms, turn.now_ms + PROTECTION_SEEN_MS)
    if until_ms is None or until_ms <= turn.now_ms:
        tell(turn, account, "PROT_OPEN")
    else:
        tell(turn, account, "PROT", d=until_ms)


def _tell_limit(turn: Turn, account: AccountConfig, before: Standing, after: Standing) -> None:
    """Each new limit in force, and its end."""
    if after.limit_w is not None and after.limit_w != before.limit_w:
        tell(turn, account, "LIMIT", w=after.limit_w)
    elif after.limit_w is None and before.limit_w is not None:
        tell(turn, account, "LIMIT_OFF")


def _tell_tripped(turn: Turn, account: AccountConfig) -> None:
    """The supply comes back by itself, once."""
    standing, policy = standing_of(turn.book(account)), policy_of(turn, account).policy
    turn.report(account.meter_no, "load_limit_exceeded", f"account={account.account_no} limit_w={standing.limit_w} by={standing.limit_by}")
    tell(turn, account, "RECLOSE", t=policy.reclose.delay_s * 1000)


def _tell_locked(turn: Turn, account: AccountConfig) -> None:
    standing = standing_of(turn.book(account))
    turn.report(account.meter_no, "load_limit_exceeded", f"account={account.account_no} limit_w={standing.limit_w} stays=open")
    tell(turn, account, "MANUAL")


def _by_hand(fired: Fired) -> bool:
    return fired.evidence is not None and fired.evidence.verdict.endswith("by_hand")


Act = Callable[[Turn, AccountConfig, Fired, bytes], None]
ACTS: dict[Effect, Act] = {
    Effect.TELL_LOW: lambda turn, account, fired, _: warn(turn, account),
    Effect.TELL_ZERO: lambda turn, account, fired, _: tell(turn, account, "ZERO", b=_balance(turn, account)),
    Effect.TELL_OFFER: lambda turn, account, fired, _: tell(turn, account, "EC_OFFER", b=_emergency(turn, account)),
    Effect.TELL_EMERGENCY: lambda turn, account, fired, _: tell(turn, account, "EC_ON", b=_emergency(turn, account)),
    Effect.TELL_OVERDRAWN: lambda turn, account, fired, _: tell(turn, account, "OVERDRAWN", b=_balance(turn, account)),
    Effect.TELL_PROTECTED: lambda turn, account, fired, _: _tell_protected(turn, account),
    Effect.ASK_PAYMENT: lambda turn, account, fired, _: _ask(turn, account, "replenish_asked"),
    Effect.ASK_FIELD: lambda turn, account, fired, _: _ask(turn, account, "field_cut_asked"),
    Effect.TELL_FIELD: lambda turn, account, fired, _: tell(turn, account, "FIELD", a=brings_back_nano(turn, account)),
    Effect.TELL_STAYS_ON: lambda turn, account, fired, _: tell(turn, account, "STAYS_ON", a=brings_back_nano(turn, account)),
    Effect.CALL_BACK: lambda turn, account, fired, _: _ask(turn, account, "field_cut_called_back"),
    Effect.ASK_DORMANT: lambda turn, account, fired, _: _ask(turn, account, "account_dormant"),
    Effect.ASK_MODE: lambda turn, account, fired, _: _ask(turn, account, "billing_asked"),
    Effect.HOLD: _report_held,
    Effect.ORDER_OPEN: lambda turn, account, fired, action_id: order_by_balance(turn, account, False, action_id),
    Effect.ORDER_CLOSE: lambda turn, account, fired, action_id: order_by_balance(turn, account, True, action_id, _by_hand(fired)),
    Effect.TRIP: lambda turn, account, fired, action_id: order_by_limit(turn, account, False, action_id),
    Effect.RECLOSE: lambda turn, account, fired, action_id: order_by_limit(turn, account, True, action_id, _by_hand(fired)),
    Effect.TELL_TRIPPED: lambda turn, account, fired, _: _tell_tripped(turn, account),
    Effect.TELL_LOCKED: lambda turn, account, fired, _: _tell_locked(turn, account),
    Effect.RECOVER: lambda turn, account, fired, _: withdraw_cut(turn, account),
    Effect.WITHDRAW: lambda turn, account, fired, _: withdraw_cut(turn, account),
    Effect.WITHDRAW_CLOSE: lambda turn, account, fired, _: withdraw_close(turn, account),
    Effect.WITHDRAW_TRIP: lambda turn, account, fired, _: withdraw_trip(turn, account),
}
"""An effect that is not here asks nothing of this concentrator."""
