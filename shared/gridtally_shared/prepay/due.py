"""What is due at this moment: which levels are crossed, whether a pool is left, which step down the policy asks for, and
whether a supply that money switched off must come back. Pure questions; the table of `transitions.py` is built on them.

Source: prepayment.md 3.3 to 3.6.
"""

from __future__ import annotations

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.holds import holds_against_cut
from gridtally_shared.prepay.policy import NoSwitch, Overdraft, Policy, ZeroAction
from gridtally_shared.prepay.regions import Entitlement, Funds, LoadLimit, Mode, Schedule, Switch
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.prepay.standing import Standing

PPM = 1_000_000
REQUESTS = (ZeroAction.POSTPAID, ZeroAction.REPLENISH)
STEPS_DOWN = (ZeroAction.DISCONNECT, ZeroAction.LIMIT)
OF_MANY = frozenset({"weather", "disaster"})
"""Holds that are set on many supplies at once."""
HYSTERESIS_PERCENT = 125


# ---- money --------------------------------------------------------------------------------------------------


def is_prepaid(s: Situation) -> bool:
    return s.regions.mode in (Mode.PREPAID, Mode.CONVERTING)


def is_balance_known(s: Situation) -> bool:
    """Where nobody pays ahead, nothing has to be known."""
    return s.facts.known or not is_prepaid(s)


def at_zero(s: Situation) -> bool:
    return is_prepaid(s) and s.facts.known and s.facts.balance_nano <= s.policy.zero_nano


def crossed(s: Situation) -> tuple[str, ...]:
    """The low levels that are reached, by name. A level of hours that was told is left again only well above it, because
    the estimate moves; while there is no estimate it stands, so that a silence is not told as a new end."""
    if not (is_prepaid(s) and s.facts.known):
        return ()
    f, low, told, topup_nano = s.facts, s.policy.low, s.standing.told, s.standing.last_topup_nano
    money = (f"money:{m}" for m in low.money_nano if f.balance_nano <= m)
    percent = (f"percent:{p}" for p in low.percent_ppm if topup_nano and f.balance_nano * PPM <= topup_nano * p)
    hours = (f"hours:{h}" for h in low.hours if _within(f.time_left_ms, h, f"hours:{h}" in told))
    return (*money, *percent, *hours)


def _within(time_left_ms: int | None, hours: int, is_told: bool) -> bool:
    if time_left_ms is None:
        return is_told
    return time_left_ms <= hours * MS_PER_HOUR * (HYSTERESIS_PERCENT if is_told else 100) // 100


def is_low(s: Situation) -> bool:
    """A level is reached, or the emergency credit's own threshold."""
    return at_zero(s) or bool(crossed(s)) or is_offerable(s)


def is_offerable(s: Situation) -> bool:
    """Emergency credit may be offered: enabled, near zero, and not used up since the last top-up."""
    e = s.policy.emergency
    near = s.facts.balance_nano <= max(e.threshold_nano, s.policy.zero_nano)
    return is_prepaid(s) and s.facts.funded and e.limit_nano > 0 and near and s.standing.uses < e.uses_per_topup


def is_emergency_left(s: Situation) -> bool:
    e, since_ms = s.policy.emergency, s.standing.emergency_since_ms
    in_time = e.max_days is None or s.since(since_ms) < e.max_days * MS_PER_DAY
    return since_ms is not None and s.facts.emergency_nano < e.limit_nano and in_time


def has_allowance(s: Situation) -> bool:
    """Below zero and still entitled: a partial payment bought days, a request is under way, or an overdraft holds."""
    if is_bought(s):
        return True
    o = next((rule for rule in s.policy.overdraft if _fits(rule, s.facts.account)), None)
    if o is None:
        return s.policy.zero_action in REQUESTS
    in_money = o.money_nano is None or s.facts.balance_nano > s.policy.zero_nano - o.money_nano
    in_time = o.days is None or s.since(s.standing.overdrawn_since_ms) < o.days * MS_PER_DAY
    return in_money and in_time


def _fits(rule: Overdraft, account: AccountConfig) -> bool:
    of_class = not rule.load_classes or account.load_class in rule.load_classes
    return of_class and (rule.up_to_w is None or 0 < account.contract_w <= rule.up_to_w)


def is_bought(s: Situation) -> bool:
    """The days a partial payment bought are not over."""
    return s.standing.partial_until_ms is not None and s.now_ms < s.standing.partial_until_ms


def partial_days(s: Situation) -> int:
    """Days that a part of what was owed has bought, 0 none."""
    owed, rule = s.standing.owed_nano, s.policy.restore
    if owed <= 0 or (rule.once and s.standing.partial_used):
        return 0
    paid_ppm = (owed + s.facts.balance_nano) * PPM // owed
    return max((p.days for p in rule.partial if paid_ppm >= p.ratio_ppm), default=0)


def quiet_above_nano(policy: Policy, standing: Standing) -> int:
    """Above this balance, and with more time left than `quiet_above_ms`, a supply at rest has nothing to decide."""
    percent = (standing.last_topup_nano * p // PPM for p in policy.low.percent_ppm)
    return max(policy.zero_nano, policy.emergency.threshold_nano, *policy.low.money_nano, *percent, 0)


def quiet_above_ms(policy: Policy) -> int:
    return max(policy.low.hours, default=0) * MS_PER_HOUR


def is_at_rest(standing: Standing) -> bool:
    """Nothing is due, owed, limited, protected or told."""
    r = standing.regions
    calm = r.funds is Funds.IN_CREDIT and r.entitlement is Entitlement.FULL and r.limit is LoadLimit.IDLE
    free = standing.limit_w is None and standing.recloses == 0
    return calm and free and r.mode is Mode.PREPAID and r.schedule is Schedule.NONE and not standing.decision and standing.uses == 0


# ---- steps down ---------------------------------------------------------------------------------------------


def emergency_step(s: Situation) -> int:
    return s.policy.emergency.step if s.regions.funds is Funds.EC_IN_USE else 0


def target(s: Situation) -> ZeroAction:
    """What the policy does now: the option at zero, what follows a request, or the cut that follows a limit."""
    if emergency_step(s):
        return ZeroAction.LIMIT
    p = s.policy
    action = p.then if p.zero_action in REQUESTS else p.zero_action
    cut_after_h, since_ms = p.limit.cut_after_h, s.standing.limited_since_ms
    if action is ZeroAction.LIMIT and cut_after_h is not None and since_ms is not None:
        return ZeroAction.DISCONNECT if s.since(since_ms) >= cut_after_h * MS_PER_HOUR else action
    return action


def wants(s: Situation) -> bool:
    """A step down is due. An account that never had an instrument is not exhausted: its opening credit may be under way."""
    out = s.regions.funds is Funds.EXHAUSTED or emergency_step(s) > 0
    return out and s.facts.funded and is_prepaid(s) and target(s) in STEPS_DOWN


def wants_cut(s: Situation) -> bool:
    """Only where the supply is not open already: money never fights who opened it."""
    return wants(s) and target(s) is ZeroAction.DISCONNECT and s.facts.switch is not Switch.OPEN


def due_step(s: Situation) -> int:
    """The limit step that is due, 0 none."""
    if not wants(s) or target(s) is not ZeroAction.LIMIT:
        return 0
    return emergency_step(s) or s.policy.limit.at_zero or 1


def wants_limit(s: Situation) -> bool:
    r, step = s.regions, due_step(s)
    return step > 0 and not (r.entitlement is Entitlement.LIMITED and r.step == step) and s.facts.switch is not Switch.OPEN


# ---- the way back -------------------------------------------------------------------------------------------


def is_off_by_money(s: Situation) -> bool:
    return s.facts.switch is Switch.OPEN and s.facts.off_reason is OffReason.BALANCE


def is_restorable(s: Situation) -> bool:
    """A pool is available again, or the policy or a protection no longer lets this supply be off."""
    return is_off_by_money(s) and (has_pool(s) or is_released(s))


def has_pool(s: Situation) -> bool:
    """Somebody paid, or may owe."""
    paid = s.facts.balance_nano >= max(1, s.policy.restore.min_balance_nano) and s.facts.balance_nano > s.policy.zero_nano
    overdrawn = s.regions.funds is Funds.OVERDRAWN and (not s.policy.restore.clear_negative or is_bought(s))
    pool = overdrawn or s.regions.funds is Funds.EC_IN_USE
    return paid or pool


def is_released(s: Situation) -> bool:
    """Whatever the balance is: the policy or a protection does not let this supply be off."""
    protected = bool(holds_against_cut(s.facts.account.holds) or s.flags_protecting())
    return protected or not is_prepaid(s) or target(s) is not ZeroAction.DISCONNECT


def is_released_with_others(s: Situation) -> bool:
    """By what holds for many at once: the weather, a disaster, another policy. One that is paid, or protected for its own
    sake, comes back alone."""
    if not is_off_by_money(s) or has_pool(s) or not is_released(s):
        return False
    own = set(holds_against_cut(s.facts.account.holds)) - OF_MANY or s.flags_protecting() or not is_prepaid(s)
    return not own


def dark_since_ms(s: Situation) -> int:
    """Since when this supply is off without a payment."""
    return max(s.facts.off_since_ms, s.standing.credited_ms or 0)


def is_dormant(s: Situation) -> bool:
    """Money switched it off, and for the days of the policy nobody has paid."""
    days = s.policy.dormant_days
    return days is not None and is_off_by_money(s) and s.since(dark_since_ms(s)) >= days * MS_PER_DAY


# ---- without a switch ---------------------------------------------------------------------------------------


def sends_somebody(s: Situation) -> bool:
    """A cut is due behind a meter without a switch, and the policy sends somebody."""
    return wants_cut(s) and s.policy.no_switch is NoSwitch.FIELD_ORDER and s.facts.switch is Switch.NOT_FITTED


def stays_on(s: Situation) -> bool:
    """Used up behind a meter without a switch, and nobody comes: nothing is limited and nothing cut, whatever the option at zero."""
    if s.facts.switch is not Switch.NOT_FITTED or not wants(s) or sends_somebody(s):
        return False
    return target(s) is ZeroAction.DISCONNECT or s.facts.limiter == "none"


def wants_field(s: Situation) -> bool:
    """... for the days of the policy by now."""
    since_ms = s.standing.exhausted_since_ms
    return sends_somebody(s) and since_ms is not None and s.since(since_ms) >= s.policy.no_switch_days * MS_PER_DAY
