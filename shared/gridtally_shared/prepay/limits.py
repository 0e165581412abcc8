"""Which load limit a supply should have: the lowest of all that ask for one, each with its reason.

* Credit: the step of the LIMITED state, in watts or as a share of the contract. Orders and schedules bring theirs.
* While a time frame or an event runs, want of money limits nothing: the supply is there at the level that was booked (C3-S2.13).
* A step that asks for a share of a contract nobody knows limits nothing: unknown always means "stay on".
* A person who is protected (a flag, a hold, the weather) is not limited while that lasts. Protected hours only keep a limit
  from being stepped down and from tripping.

Source: prepayment.md 6.1; safety.md 5.
"""

from __future__ import annotations

from gridtally_shared.prepay.facts import Limit
from gridtally_shared.prepay.regions import Entitlement, Switch
from gridtally_shared.prepay.situation import Situation

PPM = 1_000_000
CREDIT = "credit"


def can_hold(s: Situation) -> bool:
    """Without a switch only a limiter of the meter's own holds a limit."""
    return s.facts.switch is not Switch.NOT_FITTED or s.facts.limiter == "meter"


def asked(s: Situation) -> tuple[Limit, ...]:
    """Every limit somebody asks for now."""
    return (*_credit(s), *s.facts.limits)


def lowest(s: Situation) -> Limit | None:
    """Of equal ones the first: money before orders."""
    return min(asked(s), key=lambda limit: limit.watts, default=None)


def in_force(s: Situation) -> Limit | None:
    """The limit that was stepped down to."""
    return Limit(s.standing.limit_w, s.standing.limit_by) if s.standing.limit_w is not None else None


def _credit(s: Situation) -> tuple[Limit, ...]:
    steps, number = s.policy.limit.steps, s.regions.step
    if s.scheduled or s.regions.entitlement is not Entitlement.LIMITED or not 1 <= number <= len(steps):
        return ()
    step = steps[number - 1]
    share_w = s.facts.account.contract_w * (step.percent_ppm or 0) // PPM
    watts = step.watts if step.watts is not None else share_w
    return (Limit(watts, f"{CREDIT}:{step.code}"),) if watts > 0 else ()
