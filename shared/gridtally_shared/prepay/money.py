"""What of a policy the money order needs, as it holds for one supply now: `MoneyRules` of `ledger/money_order.py`.

* Emergency credit can be spent while it is taken, or from the first coin below zero where it comes by itself.
* Fixed charges are charged for each day, whatever happens. Where their collection rule rests they wait as a debt, which never
  lowers the balance, and the next top-up pays them.
* A debt by time stands still where its collection rule says so: while cut, while limited, while protected or in emergency.
"""

from __future__ import annotations

from datetime import date, datetime, tzinfo

from gridtally_shared.ledger.money_order import MoneyRules
from gridtally_shared.prepay.policy import Collect, DebtKind, DebtRule, Period, Policy
from gridtally_shared.prepay.regions import Entitlement, Funds
from gridtally_shared.prepay.standing import Standing

DAYS_A_WEEK, MONTHS_A_YEAR = 7, 12


def money_rules(policy: Policy, standing: Standing, zone: tzinfo | None, now_ms: int) -> MoneyRules:
    by_payment, by_time = _rule(policy, DebtKind.PAYMENT), _rule(policy, DebtKind.TIME)
    first = by_payment or by_time
    return MoneyRules(
        emergency_nano=policy.emergency.limit_nano if _can_be_spent(policy, standing) else 0,
        payment_ppm=by_payment.percent_ppm if by_payment else 0,
        payment_cap_nano=by_payment.cap_nano if by_payment else None,
        time_rate_nano=by_time.rate_nano if by_time and collects(by_time.collect, standing) else 0,
        period=period_no(first.period, zone, now_ms) if first else 0,
        debt_may_cut=policy.debt_may_cut,
        fixed_waits=not collects(policy.fixed, standing),
    )


def collects(rule: Collect, standing: Standing) -> bool:
    """Whether a charge of this rule goes on now."""
    r = standing.regions
    rests = (
        r.entitlement in (Entitlement.CUT, Entitlement.RESTORE_DUE) and not rule.cut,
        r.entitlement is Entitlement.LIMITED and not rule.limited,
        (r.entitlement is Entitlement.PROTECTED or r.funds is Funds.EC_IN_USE) and not rule.emergency,
    )
    return not any(rests)


def period_no(period: Period, zone: tzinfo | None, now_ms: int) -> int:
    """The number of the local day, week (from Monday) or month; 0 where the zone is not known, and no cap can be kept."""
    if zone is None:
        return 0
    day = datetime.fromtimestamp(now_ms // 1000, zone).date()
    return {Period.DAY: date.toordinal, Period.WEEK: _week, Period.MONTH: _month}[period](day)


def _week(day: date) -> int:
    return (day.toordinal() - 1) // DAYS_A_WEEK


def _month(day: date) -> int:
    return day.year * MONTHS_A_YEAR + day.month


def _rule(policy: Policy, kind: DebtKind) -> DebtRule | None:
    return next((d for d in policy.debts if d.kind is kind), None)


def _can_be_spent(policy: Policy, standing: Standing) -> bool:
    taken = standing.emergency_since_ms is not None
    return taken or (policy.emergency.auto and standing.uses < policy.emergency.uses_per_topup)
