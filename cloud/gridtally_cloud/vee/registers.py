"""What the meter's own register says of a stretch of intervals: the movement between two reads, over a rollover too.

* A register that goes back rolled over where the movement that follows is possible for the service (mdm.md B.2 row 14).
  Else the movement is unknown, and nothing is concluded from it.
* Windows begin and end on the grid of the intervals. A read beside it is brought there by its share of the interval it cuts,
  and the whole of that interval is its slack, because nobody knows how use was spread within it.
"""

from __future__ import annotations

from itertools import pairwise

from gridtally_cloud.vee.model import Finding, RegisterSample, RuleSet, Stretch
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Register:
    """`step` of the display in the unit of the intervals; `rollover` is the first number it can not show, 0 where unknown."""

    samples: tuple[RegisterSample, ...] = ()
    step: int = 1
    rollover: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Intervals [first, after) of a stretch, and by how much the register moved meanwhile, give or take `slack`. A sum may differ
    by `tolerance`, the slack included."""

    first: int
    after: int
    moved: int
    tolerance: int
    slack: int = 0


def windows(block: Stretch, register: Register, limit_w: int, rules: RuleSet) -> tuple[Window, ...]:
    """The spans between neighbouring reads that lie on the grid, in order of time."""
    reads = [(index, s) for s in sorted(register.samples, key=lambda s: s.at_ms) if (index := block.index_of(s.at_ms)) is not None]
    found = []
    for (first, before), (after, now) in pairwise(reads):
        most = limit_w * (after - first) * block.period_s * rules.limit_factor_permille // 3_600_000
        moved = movement(before.value, now.value, register.rollover, most)
        if moved is not None and after > first:
            slack = before.slack + now.slack
            found.append(Window(first, after, moved, tolerance(moved, register.step, rules) + slack, slack))
    return tuple(found)


def unexplained(block: Stretch, register: Register, limit_w: int, rules: RuleSet) -> tuple[Finding, ...]:
    """Reads between which the register went back, and no rollover explains it (mdm.md B.2 row 14)."""
    found = []
    for before, now in pairwise(sorted(register.samples, key=lambda s: s.at_ms)):
        most = limit_w * (now.at_ms - before.at_ms) // 3_600_000 * rules.limit_factor_permille // 1000
        if movement(before.value, now.value, register.rollover, most) is None and before.value - now.value > before.slack + now.slack:
            text = f"the register went back from {before.value} to {now.value} {block.unit}, and no rollover explains it"
            found.append(Finding("register", 1, before.at_ms, now.at_ms, text, now.value, before.value))
    return tuple(found)


def movement(before: int, now: int, rollover: int, most: int) -> int | None:
    """By how much a register moved; None where it went back and a rollover does not explain it."""
    if now >= before:
        return now - before
    rolled = rollover - before + now
    return rolled if rollover > before and rolled <= most else None


def on_grid(block: Stretch, sample: RegisterSample) -> RegisterSample | None:
    """A read brought to the start of the interval it falls in; None where that was not measured."""
    place, beside_ms = divmod(sample.at_ms - block.start_ms, block.period_s * 1000)
    if not beside_ms:
        return sample
    if not 0 <= place < len(block) or not block.present[place]:
        return None
    cut = block.values[place]
    return RegisterSample(block.start_of(place), sample.value - cut * beside_ms // (block.period_s * 1000), sample.slack + abs(cut))


def tolerance(moved: int, step: int, rules: RuleSet) -> int:
    allowed = rules.sum_tolerance
    return max(allowed.steps * step, moved * allowed.permille // 1000)
