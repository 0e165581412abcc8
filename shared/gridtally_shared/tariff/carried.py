"""The open cycle of a charge, handed from one concentrator to the next: slabs, remainders and charged days go on. Pure.

* A cell of the open cycle names its version by place in a plan, and two concentrators need not hold the same versions. So each version
  that matters travels with what tells it apart, and the one that takes over finds it in its own plan.
* Where its plan prices the open cycle otherwise (another tariff, a version that began at another instant), nothing is taken over: slabs
  begin anew for the days that are left, as with any other terms.
* What was charged while the clock was not believed stays charged as it is; it is not carried.

Source: prepayment.md 5.7 (slab counters restart at the billing boundary), 5.8.
"""

from __future__ import annotations

from dataclasses import replace

from gridtally_shared.contract.prepay_messages import CarriedCharge, VersionMark
from gridtally_shared.errors import ContractError
from gridtally_shared.tariff.daybook import starts_at
from gridtally_shared.tariff.running import Running, Terms
from gridtally_shared.tariff.running_text import running_from, running_text
from gridtally_shared.tariff.terms import Plan


def carried(plan: Plan, running: Running) -> CarriedCharge:
    """What the next concentrator is given."""
    return CarriedCharge(running_text(replace(running, guessed=(), guessed_wh=0)), _marks(plan))


def taken_over(charge: CarriedCharge, plan: Plan, terms: Terms) -> Running | None:
    """The charge under the terms here; None where it does not fit them, or is not understood."""
    try:
        running = running_from(charge.running)
    except ContractError:
        return None
    moved = _moved(charge.versions, plan, running) if running.terms.goes_on(terms) else None
    if moved is None:
        return None
    state = running.state
    cells = tuple(((cycle, moved[v], period, measure), wh) for (cycle, v, period, measure), wh in state.cells if v in moved)
    peaks = tuple(((cycle, moved[v], code, period), wh) for (cycle, v, code, period), wh in state.peaks if v in moved)
    if (len(cells), len(peaks)) != (len(state.cells), len(state.peaks)):
        return None
    return replace(running, terms=terms, state=replace(state, cells=cells, peaks=peaks))


def _marks(plan: Plan) -> tuple[VersionMark, ...]:
    return tuple(VersionMark(v.number, v.first, v.at_ms) for v in plan.versions)


def _moved(marks: tuple[VersionMark, ...], plan: Plan, running: Running) -> dict[int, int] | None:
    """Place there to place here of each version in force since the open cycle began; None where they differ."""
    try:
        there = _in_force(marks, plan, running)
    except (ValueError, OverflowError):
        return None
    mine = _marks(plan)
    here = _in_force(mine, plan, running)
    old, new = [marks[i] for i in there], [mine[i] for i in here]
    same = len(old) == len(new) and old[0].number == new[0].number and old[1:] == new[1:]
    return dict(zip(there, here, strict=True)) if same else None


def _in_force(marks: tuple[VersionMark, ...], plan: Plan, running: Running) -> list[int]:
    """The places of the versions from the one in force at the beginning of the open cycle to the one in force now."""
    begins_ms = starts_at(running.state.cycle_day, plan.zone)
    starts = [starts_at(m.first, plan.zone) if m.at_ms is None else m.at_ms for m in marks]
    now_ms = max(running.state.until_ms, running.state.counted_ms)
    first = max([0, *(i for i, start_ms in enumerate(starts) if start_ms <= begins_ms)])
    return [i for i, start_ms in enumerate(starts) if i == first or (i > first and start_ms <= now_ms)]
