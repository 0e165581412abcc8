"""What a policy's single fields can not show: rules that contradict each other or lead nowhere. ConfigError with the path."""

from __future__ import annotations

from gridtally_shared.prepay.policy import DebtKind, OfflineCut, Policy, ZeroAction
from gridtally_shared.tariff.forms import refuse

MINUTES_PER_DAY = 1_440
REQUESTS = (ZeroAction.POSTPAID, ZeroAction.REPLENISH)


def checked(policy: Policy) -> Policy:
    """The policy, when it says one thing only. Raises ConfigError."""
    for check in (_zero, _offline, _steps, _protected, _money, _debts, _topup):
        check(policy)
    return policy


def _zero(p: Policy) -> None:
    if p.then in REQUESTS:
        raise refuse("then", p.then.value, 'what follows a request is "none", "disconnect" or "limit"')
    if p.then is not ZeroAction.NONE and p.zero_action not in REQUESTS:
        raise refuse("then", p.then.value, 'only "postpaid" and "replenish" are followed by something; take it out')


def _offline(p: Policy) -> None:
    if p.offline_cut is OfflineCut.GRACE and p.offline_grace_h < 1:
        raise refuse("offline.grace_h", p.offline_grace_h, "write the hours of grace, at least 1")
    if p.lease_days is not None and p.offline_cut is not OfflineCut.ALLOWED:
        raise refuse("offline.lease_days", p.lease_days, 'a longer lease goes with "cut": "allowed" only; take it out')
    if p.offline_cut is OfflineCut.ALLOWED and not p.keypad:
        raise refuse("offline.cut", "allowed", 'a cut offline needs a code that restores on the spot: "keypad": true, or cut "grace"')


def _steps(p: Policy) -> None:
    for i, step in enumerate(p.limit.steps):
        if (step.watts is None) == (step.percent_ppm is None):
            raise refuse(f"limit.steps[{i}]", step.code, "write either watts or percent")
    count = len(p.limit.steps)
    if ZeroAction.LIMIT in (p.zero_action, p.then) and not 1 <= p.limit.at_zero <= count:
        raise refuse("limit.at_zero", p.limit.at_zero, f"the action at zero is limit: write a step from 1 to {count}")
    if p.emergency.step > count:
        raise refuse("emergency.step", p.emergency.step, f"there are {count} steps in limit.steps")


def _protected(p: Policy) -> None:
    for name, spans in (("daily", p.protected.daily), ("window", (p.protected.window,) if p.protected.window else ())):
        for i, span in enumerate(spans):
            if span.first >= MINUTES_PER_DAY or span.first == span.until:
                path = f"protected.{name}[{i}]" if name == "daily" else "protected.window"
                raise refuse(path, span.first, "write two different times of day, the first before 24:00")
    for i, rule in enumerate(p.protected.flags):
        if (rule.first is None) != (rule.until is None):
            raise refuse(f"protected.flags[{i}]", rule.flag, "write both 'from' and 'to', or neither")


def _money(p: Policy) -> None:
    for i, rule in enumerate(p.overdraft):
        if rule.money_nano is None and rule.days is None:
            raise refuse(f"overdraft[{i}]", "no bound", "write how far below zero ('money'), how long ('days'), or both")
    if p.emergency.threshold_nano and p.emergency.limit_nano == 0:
        raise refuse("emergency.limit", "0", "an offer needs an amount above zero")
    if any(part.ratio_ppm > 1_000_000 for part in p.restore.partial):
        raise refuse("restore.partial", "over 100", "a share is at most 100 percent")
    if any(percent > 1_000_000 for percent in p.low.percent_ppm):
        raise refuse("low.percent_of_last", "over 100", "a share is at most 100 percent")


def _debts(p: Policy) -> None:
    if len({d.kind for d in p.debts}) < len(p.debts) or len({d.period for d in p.debts}) > 1:
        raise refuse("debts", f"{len(p.debts)} rules", "write one rule by time and one by payment at most, of the same period")
    for i, debt in enumerate(p.debts):
        by_time = debt.kind is DebtKind.TIME
        if by_time and not debt.rate_nano:
            raise refuse(f"debts[{i}].rate", 0, "a debt by time takes a rate each period")
        if not by_time and not 0 < debt.percent_ppm <= 1_000_000:
            raise refuse(f"debts[{i}].percent", debt.percent_ppm, "a debt by payment takes a share of a top-up, up to 100 percent")


def _topup(p: Policy) -> None:
    if p.topup.max_nano is not None and p.topup.max_nano < p.topup.min_nano:
        raise refuse("topup.max", p.topup.max_nano, "write at least the smallest top-up")
