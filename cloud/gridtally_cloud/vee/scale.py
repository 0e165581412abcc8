"""Estimates scaled so that a window sums to what its register moved, exactly (mdm.md B.3-6).

* T is what the register moved beyond the measured intervals. Where it is below zero by more than the tolerance, nothing is
  scaled: register and intervals contradict each other, and a person has to look.
* Each estimate becomes its share of T; where all are zero, equal parts. What rounding leaves goes to the largest remainders.
* Where the register is only known give or take, the estimates move no further than into what it allows.
* Zeros of an outage stay zero, unless there is nothing else to carry T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gridtally_cloud.vee.estimate import Estimate, Method
from gridtally_cloud.vee.model import Stretch
from gridtally_cloud.vee.registers import Window


def scaled(stretch: Stretch, window: Window, estimates: Sequence[Estimate], failed: bytes) -> list[Estimate]:
    """The estimates within a window, scaled; as they came where the register does not allow it or an interval has no value."""
    inside = [e for e in estimates if window.first <= e.index < window.after]
    indices = range(window.first, window.after)
    total = window.moved - sum(stretch.values[i] for i in indices if not failed[i])
    if not inside or len(inside) != sum(failed[i] for i in indices) or total < -window.tolerance:
        return inside
    carriers = [e for e in inside if e.method is not Method.OUTAGE] or inside
    weights = [max(0, e.value) for e in carriers]
    total = max(0, min(max(sum(weights), total - window.slack), total + window.slack))
    parts = dict(zip((e.index for e in carriers), shares(total, weights), strict=True))
    return [replace(e, value=parts.get(e.index, e.value)) for e in inside]


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` split by weight into integers that sum to it exactly; equally where all weights are zero."""
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    parts = [divmod(total * weight, whole) for weight in weights]
    left = total - sum(part for part, _ in parts)
    first = sorted(range(len(parts)), key=lambda i: (-parts[i][1], i))[:left]
    return [part + (i in first) for i, (part, _) in enumerate(parts)]
