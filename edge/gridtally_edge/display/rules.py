"""What the rules in force mean for one account now: emergency credit, debt and its rate, load limit, protection, schedule."""

from __future__ import annotations

import sqlite3

from gridtally_edge.display.coming import Schedule, schedules_of
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.prepay.emergency import IN_USE, OFFERED, EmergencyNow, emergency_now
from gridtally_shared.prepay.policy import DebtKind, DebtRule, Policy
from gridtally_shared.prepay.protection import Calendar
from gridtally_shared.prepay.regions import Funds
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.records import dataclass
from gridtally_shared.schedules.document import Programme

PROTECTION_SEEN_MS = 7 * MS_PER_DAY
FUNDS = {Funds.EC_OFFERED: OFFERED, Funds.EC_IN_USE: IN_USE}


@dataclass(frozen=True, slots=True)
class Debt:
    """What is owed, and how it is collected: `rate_nano` each `period`, `percent_ppm` of each top-up."""

    owed_nano: int
    rate_nano: int = 0
    period: str = ""
    percent_ppm: int = 0


@dataclass(frozen=True, slots=True)
class RulesNow:
    """`protected_until_ms`: until when nothing may be cut, None where nothing protects now; `limit_w` None: none in force;
    `event_credit_nano`: what an event that is held here now has left, None without one."""

    emergency: EmergencyNow
    debt: Debt
    limit_w: int | None
    protected_until_ms: int | None
    schedules: tuple[Schedule, ...]
    event_credit_nano: int | None


def rules_now(db: sqlite3.Connection, config: AccountConfig, policy: Policy, state: LedgerState, standing: Standing,
              now_ms: int) -> RulesNow:  # fmt: skip
    schedules = schedules_of(db, config, now_ms)
    is_event = any(s.is_running and s.programme == Programme.B for s in schedules)
    return RulesNow(
        emergency_now(policy, state, FUNDS.get(standing.regions.funds, "")), _debt(policy, state), standing.limit_w,
        _protected_until_ms(config, policy, now_ms),
        schedules, state.pools.get(Pool.EVENT, 0) if is_event else None,
    )  # fmt: skip


def _debt(policy: Policy, state: LedgerState) -> Debt:
    by_time, by_payment = _rule(policy, DebtKind.TIME), _rule(policy, DebtKind.PAYMENT)
    time_nano, payment_nano = owed(state, Pool.DEBT_TIME), owed(state, Pool.DEBT_PAYMENT)
    rate_nano = by_time.rate_nano if by_time and time_nano else 0
    percent_ppm = by_payment.percent_ppm if by_payment and payment_nano else 0
    return Debt(state.debt_nano, rate_nano, by_time.period.value if by_time and rate_nano else "", percent_ppm)


def _rule(policy: Policy, kind: DebtKind) -> DebtRule | None:
    return next((d for d in policy.debts if d.kind is kind), None)


def _protected_until_ms(config: AccountConfig, policy: Policy, now_ms: int) -> int | None:
    calendar = Calendar(policy.protected, zone_of(config.zone))
    if not calendar.reason(now_ms, now_ms):
        return None
    return calendar.free_from_ms(now_ms, now_ms + PROTECTION_SEEN_MS)
