"""What was used while nobody could charge it (a concentrator was dead): priced at the lowest rate of that time. Pure.

* All of it is taken as used in that stretch of the gap in which it costs least, slabs and taxes included; nobody pays more because a
  box of ours failed. The entry names the stretch, so the cloud prices it again the same way.
* A tariff that bills a highest demand keeps the use spread over the gap: pressed into a stretch it would look like a peak.

Source: prepayment.md 5.8, 5.9.
"""

from __future__ import annotations

from collections.abc import Iterator

from gridtally_shared.tariff.cycles import cycle_of
from gridtally_shared.tariff.daybook import day_of, pieces_of
from gridtally_shared.tariff.lines import total_nano
from gridtally_shared.tariff.running import Part, Running, parts_of, used
from gridtally_shared.tariff.terms import Plan
from gridtally_shared.tariff.use import demands_of


def gap_parts(plan: Plan, running: Running, from_ms: int, to_ms: int, wh: int) -> tuple[Part, ...]:
    """How the use of a gap is charged: one part in its cheapest stretch, or spread over it."""
    if demands_of(plan) or to_ms <= from_ms:
        return parts_of(plan, from_ms, to_ms, wh)
    choices = (Part(start_ms, end_ms, wh) for start_ms, end_ms in _stretches(plan, running, from_ms, to_ms))
    return (min(choices, key=lambda part: total_nano(used(plan, running, part.from_ms, part.to_ms, part.wh)[1])),)


def _stretches(plan: Plan, running: Running, from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """The first stretch of each price: a period of a version in a cycle."""
    seen = set()
    for day in range(day_of(from_ms, plan.zone), day_of(to_ms - 1, plan.zone) + 1):
        for piece in pieces_of(plan, day):
            start_ms, end_ms = max(piece.start_ms, from_ms), min(piece.end_ms, to_ms)
            price = (cycle_of(plan, running.terms.account, day).first, piece.version, piece.period)
            if start_ms < end_ms and price not in seen:
                seen.add(price)
                yield start_ms, end_ms
