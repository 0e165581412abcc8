"""Rules that hold one measured thing against another: channels, registers, months, a second meter (mdm.md B.2 rows 12, 13, 16 to 19).

* They never fail an interval. Two things contradict each other and a person has to see which is wrong.
* What is missing is None; a rule without all it needs finds nothing.
* All is integer arithmetic; shares are permille.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

from gridtally_cloud.vee.model import Finding, RuleSet, Stretch
from gridtally_shared.records import dataclass

Said = tuple[str, int, int]
"""(text, value, limit)"""


@dataclass(frozen=True, slots=True)
class Month:
    """Use of some days of a channel. `estimated` of `expected` intervals are ours."""

    wh: int
    days: int
    estimated: int = 0
    expected: int = 0


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of the same day beside the channel that is judged; interval values in its order, None where they are not whole.

    `varh` is the sum of all quadrants, `had_varh` whether there was any in the weeks before. `demand_w` is the highest maximum demand
    the meter showed. `rates_moved` are the steps of the rate registers, `total_moved` that of their total. `reference` is the same month
    of last year, else the month before. `check_wh` is the day of the check meter."""

    varh: Sequence[int] | None = None
    vah: Sequence[int] | None = None
    had_varh: bool = False
    total_moved: int | None = None
    rates_moved: tuple[int, ...] = ()
    step: int = 1
    month: Month | None = None
    reference: Month | None = None
    demand_w: int | None = None
    check_wh: int | None = None


def kvarh(wh: Sequence[int], varh: Sequence[int], had_varh: bool, period_s: int, rules: RuleSet) -> Said | None:
    """Reactive without active for a day, none where there used to be some, or a power factor too low at the day's peak."""
    used, reactive = sum(wh), sum(varh)
    if not used and reactive:
        return f"{reactive} varh on a day without active energy", reactive, 0
    if not reactive and had_varh and used >= rules.spike_floor_wh:
        return f"no varh on a day with {used} Wh, although there used to be", 0, used
    peak = max(range(len(wh)), key=wh.__getitem__)
    apparent = isqrt(wh[peak] ** 2 + varh[peak] ** 2)
    factor = 1000 * wh[peak] // apparent if apparent else 1000
    if wh[peak] * 3600 < rules.spike_floor_wh * period_s or factor >= rules.power_factor_permille:
        return None
    return f"power factor 0.{factor:03d} at the peak of the day, {wh[peak]} Wh", factor, rules.power_factor_permille


def kvah(wh: Sequence[int], vah: Sequence[int], varh: Sequence[int] | None, step: int, rules: RuleSet) -> Said | None:
    """Apparent energy is never below active, and is what active and reactive make together, interval by interval."""
    active, apparent = sum(wh), sum(vah)
    allowed = step * len(wh)
    if apparent < active - allowed:
        return f"{apparent} VAh is below the {active} Wh of the day", apparent, active
    if varh is None:
        return None
    made = sum(isqrt(w * w + v * v) for w, v in zip(wh, varh, strict=True))
    allowed += made * rules.kvah_permille // 1000
    if abs(apparent - made) <= allowed:
        return None
    return f"{apparent} VAh, and active and reactive energy make {made}; {allowed} apart would be allowed", apparent, made


def tou_sum(total: int, rates: Sequence[int], step: int) -> Said | None:
    """The total moves by as much as its rates together, give or take a step each."""
    allowed, moved = step * (len(rates) + 1), sum(rates)
    if abs(total - moved) <= allowed:
        return None
    return f"the rate registers moved by {moved} Wh together, the total by {total}; {allowed} apart would be allowed", moved, total


def high_low(now: Month, reference: Month, rules: RuleSet) -> Said | None:
    """Use a day against that of the reference: more than double or less than two fifths is looked at."""
    if min(now.days, reference.days) < rules.high_low_days or not reference.wh:
        return None
    mine, theirs = now.wh * reference.days, reference.wh * now.days
    if mine * 1000 <= rules.high_permille * theirs and mine * 1000 >= rules.low_permille * theirs:
        return None
    ratio = mine * 1000 // theirs
    text = f"{now.wh // now.days} Wh a day, {reference.wh // reference.days} in the month it is compared with: {ratio / 10:.1f}%"
    return text, ratio, rules.high_permille if ratio >= rules.high_permille else rules.low_permille


def prolonged(now: Month, rules: RuleSet) -> Said | None:
    share = 1000 * now.estimated // max(1, now.expected)
    if share <= rules.estimated_permille:
        return None
    return f"{now.estimated} of {now.expected} intervals of the month are estimated or missing", share, rules.estimated_permille


def demand(wh: int, seconds: int, demand_w: int, limit_w: int, rules: RuleSet) -> Said | None:
    """The maximum demand is within the service, and the load factor at most 1."""
    top, mean = limit_w * rules.limit_factor_permille // 1000, wh * 3600 // max(1, seconds)
    if demand_w > top:
        return f"maximum demand {demand_w} W; the service allows {top}", demand_w, top
    if mean > demand_w:
        return f"mean power {mean} W is above the maximum demand of {demand_w} W", mean, demand_w
    return None


def main_check(wh: int, check_wh: int, step: int, rules: RuleSet) -> Said | None:
    """Two meters of the same energy agree on a day."""
    allowed = max(2 * step, check_wh * rules.main_check_permille // 1000)
    if abs(wh - check_wh) <= allowed:
        return None
    return f"{wh} Wh, the check meter says {check_wh}; {allowed} apart would be allowed", wh, check_wh


def across(day: Stretch, limit_w: int, beside: Beside, rules: RuleSet) -> tuple[Finding, ...]:
    """All of them for one whole, believed day of active energy."""
    wh = list(day.values)
    seconds, b = len(day) * day.period_s, beside
    said: Mapping[str, Said | None] = {
        "kvarh": None if b.varh is None else kvarh(wh, b.varh, b.had_varh, day.period_s, rules),
        "kvah": None if b.vah is None else kvah(wh, b.vah, b.varh, 1, rules),
        "demand": None if b.demand_w is None else demand(sum(wh), seconds, b.demand_w, limit_w, rules),
        "main_check": None if b.check_wh is None else main_check(sum(wh), b.check_wh, b.step, rules),
    }
    return _findings(said, day)


def whatever_the_day(day: Stretch, beside: Beside, rules: RuleSet) -> tuple[Finding, ...]:
    """Those that need no interval of the day itself."""
    b = beside
    said: Mapping[str, Said | None] = {
        "tou_sum": tou_sum(b.total_moved, b.rates_moved, b.step) if b.total_moved is not None and b.rates_moved else None,
        "high_low": high_low(b.month, b.reference, rules) if b.month and b.reference else None,
        "prolonged": prolonged(b.month, rules) if b.month else None,
    }
    return _findings(said, day)


def _findings(said: Mapping[str, Said | None], day: Stretch) -> tuple[Finding, ...]:
    first, after = day.start_ms, day.start_of(len(day))
    return tuple(Finding(rule, 1, first, after, *what) for rule, what in said.items() if what)
