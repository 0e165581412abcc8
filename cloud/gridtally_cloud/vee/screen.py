"""Which rules are worth asking of a stretch: a native pass over its columns passes what is clean (performance.md section 8).

* It knows the rules of single intervals, of a day's peaks and of runs. A bit says that a rule could find something in a day, none
  that it finds nothing: then it is not asked. What a rule finds is said by the rule alone.
* Rules about events, registers and contradictions are asked where there are any.
* What is not asked of a channel (vee/checks.py, rules that are off) is not looked for either.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from gridtally_cloud.vee.checks import TABLE
from gridtally_cloud.vee.local import Span
from gridtally_cloud.vee.model import RuleSet, Stretch
from gridtally_cloud.vee.said import MARKS
from gridtally_native import MAX_PERMILLE, MAX_SCREEN, screen_days

EVERYTHING = 255
NEVER = MAX_SCREEN
ALL_MARKS = sum(mask for _, mask, _ in MARKS)


@lru_cache(maxsize=256)
def asked_of(unit: str, direction: str, off: frozenset[str]) -> frozenset[str]:
    """The rules that are asked for a channel under a rule set that has some switched off."""
    return frozenset(check.rule for check in TABLE if check.applies(unit, direction)) - off


def screened(stretch: Stretch, days: Sequence[Span], rules: RuleSet, limit_w: int, direction: str) -> bytes:
    """For each local day the SCREEN_ bits of the rules to be asked."""
    return screened_to(stretch, [after for _, _, after in days], rules, limit_w, direction)


def screened_to(stretch: Stretch, ends: Sequence[int], rules: RuleSet, limit_w: int, direction: str) -> bytes:
    """The same for any parts of a stretch that end there."""
    asked = asked_of(stretch.unit, direction, rules.off)
    top = min(limit_w * stretch.period_s * rules.limit_factor_permille // 3_600_000, NEVER) if "limit" in asked else NEVER
    return screen_days(
        stretch.values, stretch.quality, stretch.present, ends,
        -top if direction == "net" or "limit" not in asked else 0, top,
        rules.spike_floor_wh if "spike" in asked else NEVER, min(rules.spike_permille, MAX_PERMILLE),
        rules.stuck_run if "stuck" in asked else NEVER, rules.zero_run if "zero" in asked else NEVER, ALL_MARKS,
    )  # fmt: skip


def everything(_stretch: Stretch, days: Sequence[Span], _rules: RuleSet, _limit_w: int, _direction: str) -> bytes:
    """Every rule is asked of every day."""
    return bytes([EVERYTHING]) * len(days)
