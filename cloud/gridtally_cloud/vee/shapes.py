"""Rules that look at the shape of a day: what is higher than the day allows, and what stands still.

* `spike` (mdm.md B.2 row 9): the highest interval lies more than the allowed share above the third highest. It is taken away
  and the day looked at again, so that two spikes do not hide each other.
* `stuck` (row 10): so many equal intervals in a row that are not zero. `zero`: the same of zeros. A run goes on over midnight.
* A shape is a suspicion, never a proof: what the register says of the same span decides (vee/judge.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from gridtally_cloud.vee.model import Finding, RuleSet, Stretch


def spike(block: Stretch, rules: RuleSet) -> tuple[Finding, ...]:
    order = sorted((i for i in range(len(block.values)) if block.present[i]), key=lambda i: block.values[i], reverse=True)
    found: list[Finding] = []
    while len(order) >= 3:
        top, third = block.values[order[0]], max(0, block.values[order[2]])
        if top < rules.spike_floor_wh or (top - third) * 1000 <= rules.spike_permille * third:
            break
        at = order.pop(0)
        text = f"{top} {block.unit}, the third highest interval of the day is {third}"
        found.append(Finding("spike", 1, block.start_of(at), block.start_of(at + 1), text, top, third))
    return tuple(found)


def standing_still(stretch: Stretch, rules: RuleSet) -> tuple[Finding, ...]:
    """`stuck` and `zero` over a stretch of any length: a run does not end at midnight."""
    return tuple(_still(stretch, first, after) for first, after in _runs(stretch) if after - first >= _allowed(stretch, first, rules))


def _allowed(stretch: Stretch, first: int, rules: RuleSet) -> int:
    return rules.stuck_run if stretch.values[first] else rules.zero_run


def _still(block: Stretch, first: int, after: int) -> Finding:
    value = block.values[first]
    text = f"{after - first} intervals in a row are {value} {block.unit}"
    return Finding("stuck" if value else "zero", 1, block.start_of(first), block.start_of(after), text, value, after - first)


def _runs(block: Stretch) -> Iterator[tuple[int, int]]:
    """[first, after) of each stretch of equal values that are there."""
    first = 0
    for i in range(1, len(block.values) + 1):
        ends = i == len(block.values) or not block.present[i] or not block.present[first] or block.values[i] != block.values[first]
        if ends:
            if block.present[first]:
                yield first, i
            first = i
