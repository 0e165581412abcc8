"""Rules about single intervals of a day, as pure functions; raw values are never touched.

* `gap` (mdm.md B.2 row 7): every interval of the local day must be there; one finding per hole.
* `conflict` (row 0): another value came for an interval already held.
* `limit` (row 8): 0 <= v <= Pmax x L/60 x k, for energy; a net channel may go as far below zero.

Shapes of a day are in vee/shapes.py, what the meter says itself in vee/said.py, sums against the register in vee/judge.py, what channels
and months say of each other in vee/across.py. The table of all is vee/checks.py.
"""

from __future__ import annotations

from gridtally_cloud.vee.model import DayBlock, DayContext, Finding


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
    top = context.limit_w * block.period_s * context.rules.limit_factor_permille // (3600 * 1000)
    bottom = -top if context.net else 0
    found = []
    for i, value in enumerate(block.values):
        if block.present[i] and not bottom <= value <= top:
            text = f"{value} {block.unit} in {block.period_s // 60} min; the service allows {bottom} to {top}"
            found.append(Finding("limit", 1, block.start_of(i), block.start_of(i + 1), text, value, top))
    return tuple(found)
