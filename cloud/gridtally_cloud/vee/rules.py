"""The validation rules, as pure functions in a table; raw values are never touched.

* `gap` (mdm.md B.2 row 7): every interval of the local day must be there; one finding per hole.
* `conflict` (row 0): another value came for an interval already held.
* `limit` (row 8): 0 <= v <= Pmax x L/60 x k, for energy.
* `sum` (row 15): intervals against the movement of the register between its first and last sample of the day. An
  interval that a sample cuts in two counts by its share, and its whole value is added to the tolerance, because nobody
  knows how use was spread within it.
"""

from __future__ import annotations

from gridtally_cloud.vee.model import DayBlock, DayContext, Finding, Rule

ENERGY_UNITS = frozenset({"Wh", "VAh"})
MS_PER_HOUR = 3_600_000


def gap(block: DayBlock, _context: DayContext) -> tuple[Finding, ...]:
    holes: list[Finding] = []
    start: int | None = None
    for i in range(len(block.values) + 1):
        there = i == len(block.values) or bool(block.present[i])
        if not there and start is None:
            start = i
        elif there and start is not None:
            text = f"{i - start} of {len(block.values)} intervals of the day are missing"
            holes.append(Finding("gap", 1, block.start_of(start), block.start_of(i), text, i - start, len(block.values)))
            start = None
    return tuple(holes)


def conflict(block: DayBlock, context: DayContext) -> tuple[Finding, ...]:
    period_ms = block.period_s * 1000
    found = []
    for start_ms, other in context.contradictions:
        held = block.values[(start_ms - block.start_ms) // period_ms]
        text = f"{held} is held and {other} came later for the same interval"
        found.append(Finding("conflict", 1, start_ms, start_ms + period_ms, text, other, held))
    return tuple(found)


def limit(block: DayBlock, context: DayContext) -> tuple[Finding, ...]:
    if block.unit not in ENERGY_UNITS:
        return ()
    top = context.limit_w * block.period_s * context.rules.limit_factor_permille // (3600 * 1000)
    found = []
    for i, value in enumerate(block.values):
        if block.present[i] and not 0 <= value <= top:
            text = f"{value} {block.unit} in {block.period_s // 60} min; the service allows 0 to {top}"
            found.append(Finding("limit", 1, block.start_of(i), block.start_of(i + 1), text, value, top))
    return tuple(found)


def sum_check(block: DayBlock, context: DayContext) -> tuple[Finding, ...]:
    if len(context.registers) < 2:
        return ()
    first, last = context.registers[0], context.registers[-1]
    counted = _between(block, first.at_ms, last.at_ms)
    if counted is None:
        return ()
    total, cut = counted
    moved = last.value - first.value
    tolerance = context.rules.sum_tolerance
    allowed = max(tolerance.steps * context.register_step, abs(moved) * tolerance.permille // 1000) + cut
    difference = total - moved
    if abs(difference) <= allowed:
        return ()
    text = f"the intervals sum to {total} {block.unit}, the register moved by {moved}; {allowed} would be allowed"
    return (Finding("sum", 1, first.at_ms, last.at_ms, text, difference, allowed),)


def _between(block: DayBlock, from_ms: int, to_ms: int) -> tuple[int, int] | None:
    """(energy of the intervals within the span, energy of those cut by an end); None where one is missing."""
    period_ms, total, cut = block.period_s * 1000, 0, 0
    for i, value in enumerate(block.values):
        start = block.start_of(i)
        overlap = min(start + period_ms, to_ms) - max(start, from_ms)
        if overlap <= 0:
            continue
        if not block.present[i]:
            return None
        total += value * overlap // period_ms
        cut += value if overlap < period_ms else 0
    return total, cut


RULES: tuple[Rule, ...] = (
    Rule("gap", 1, gap),
    Rule("conflict", 1, conflict),
    Rule("limit", 1, limit),
    Rule("sum", 1, sum_check),
)


def validate(block: DayBlock, context: DayContext) -> tuple[Finding, ...]:
    """All findings against one channel-day, in the order of the rules."""
    return tuple(finding for rule in RULES for finding in rule.check(block, context))
