"""How long the money of one supply lasts, as concentrator and MDM both say it. Pure.

* The load history takes the hours that are over; the walk begins where the account is charged to.
* Near its end: the cautious value lies below the longest low level in hours of the policy (48 h where it names none).
* No span is told from a reading that is older than two recording intervals.

Source: prepayment.md 6.2; safety.md 17.
"""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.forecast.history import Calendar, LoadHistory, observed, spread
from gridtally_shared.forecast.hours import Stretch
from gridtally_shared.forecast.parameters import learnt
from gridtally_shared.forecast.timeleft import Basis, TimeLeft, time_left
from gridtally_shared.forecast.walk import Debit, Purse
from gridtally_shared.prepay.policy import DebtKind, Policy
from gridtally_shared.tariff.engine import cost
from gridtally_shared.tariff.running import Running
from gridtally_shared.tariff.terms import Plan

NEAR_HOURS = 48
STALE_INTERVALS = 2
"""No number is told when the newest reading is older than this many recording intervals."""


def with_hours(history: LoadHistory, zone: ZoneInfo, stretches: Iterable[Stretch]) -> LoadHistory:
    """The history with hours that are over."""
    calendar = Calendar(zone)
    for each in stretches:
        if each.hours == 1:
            history = observed(history, learnt(), calendar, each.start_ms, each.wh)
        else:
            history = spread(history, learnt(), calendar, each.start_ms, each.hours, each.wh)
    return history


def debits_of(policy: Policy, left_nano: int) -> tuple[Debit, ...]:
    """The debt by time, as the policy of now collects it."""
    rules = (rule for rule in policy.debts if rule.kind is DebtKind.TIME) if left_nano else ()
    return tuple(Debit(rule.period, rule.rate_nano, left_nano) for rule in rules)


def lasts(
    plan: Plan, running: Running | None, read_ms: int, balance_nano: int, history: LoadHistory, debits: tuple[Debit, ...]
) -> TimeLeft:
    """From the newest reading on. Basis NONE where nobody knows how the account is charged."""
    if running is None or running.guessed:
        return TimeLeft(read_ms, None, None, Basis.NONE)
    state, terms = running.state, running.terms.account
    idle, _ = cost(plan, terms, state, (), max(state.until_ms, read_ms), max(state.counted_ms, read_ms))
    return time_left(Purse(plan, terms, idle, balance_nano, debits), history, learnt(), Calendar(plan.zone))


def ends_soon(cautious_ms: int | None, policy: Policy, now_ms: int) -> bool:
    """Whether the last money is so near that every recording interval counts."""
    hours = max(policy.low.hours, default=NEAR_HOURS)
    return cautious_ms is not None and cautious_ms - now_ms < hours * MS_PER_HOUR


def told_span_ms(left: TimeLeft | None, now_ms: int, read_ms: int, interval_ms: int) -> int | None:
    """How long the balance will last, told with caution; None where that can not be said."""
    if left is None or left.cautious_ms is None or now_ms - read_ms > STALE_INTERVALS * interval_ms:
        return None
    return max(0, left.cautious_ms - now_ms)
