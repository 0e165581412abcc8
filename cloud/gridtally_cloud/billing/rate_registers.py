"""What a meter's rate registers say of a stretch: energy by time of use, both ways, where no intervals are held.

* The tariff names the register of each period. Each register's movement is given to the engine as one series that lies within the first
  piece of its period; as only sums of a period are priced, the bill is that of the intervals.
* Used only where they can say all that is asked: energy taken and given back, one version and one cycle, a reading of every register at
  both ends, none estimated. Registers that moved outside their period, backwards, or otherwise than the total register say nothing.

Source: ETSI F3c; mdm.md B.2 row 16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection

from gridtally_cloud.billing.usage import value_near
from gridtally_shared.quantities import BY_NAME, ENERGY_IMPORT, Quantity
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.cycles import cycle_of
from gridtally_shared.tariff.daybook import Piece, day_of, pieces_of
from gridtally_shared.tariff.terms import Account, Measure, Plan
from gridtally_shared.tariff.use import Series, demands_of, measures_of

STEP_WH = 10
"""A register may lag behind the total one by the digit it does not show."""
COUNTED = {Measure.IMPORT, Measure.EXPORT}
Moved = Mapping[str, tuple[int, int]]
"""Period to Wh taken and given back."""


@dataclass(frozen=True, slots=True)
class RateRegisters:
    """Those of one meter. `slack_ms`: a reading this near to an instant counts as the one at it. `end_wh`: the first number they can not
    show, 0 where it is not known; one that showed less was over it, as the others then agree."""

    conn: Connection
    meter_no: int
    slack_ms: int
    end_wh: int = 0

    def between(self, plan: Plan, from_ms: int, to_ms: int) -> tuple[Series, ...]:
        """Nothing where they can not say."""
        pieces = tuple(_pieces(plan, from_ms, to_ms))
        rates = _rates(plan, pieces)
        if not rates:
            return ()
        total_wh = self._moved(ENERGY_IMPORT, from_ms, to_ms)
        moved = {period: self._both_ways(plan, rate, from_ms, to_ms) for period, rate in rates}
        known = {period: both for period, both in moved.items() if both is not None}
        return placed(pieces, known) if len(known) == len(moved) and _agrees(known, total_wh) else ()

    def _both_ways(self, plan: Plan, rate: int, from_ms: int, to_ms: int) -> tuple[int, int] | None:
        taken = self._moved(BY_NAME[f"energy_import_rate{rate}_wh"], from_ms, to_ms)
        exports = Measure.EXPORT in measures_of(plan)
        given = self._moved(BY_NAME[f"energy_export_rate{rate}_wh"], from_ms, to_ms) if exports else 0
        return None if taken is None or given is None else (taken, given)

    def _moved(self, quantity: Quantity, from_ms: int, to_ms: int) -> int | None:
        first, last = (value_near(self.conn, self.meter_no, quantity, at_ms, self.slack_ms) for at_ms in (from_ms, to_ms))
        if first is None or last is None or last < first >= self.end_wh:
            return None
        return last - first if last >= first else last - first + self.end_wh


def plan_names_registers(plan: Plan) -> bool:
    return any(version.registers for version in plan.versions)


def are_rates(series: Sequence[Series]) -> bool:
    """Whether these were made here: one count each."""
    return bool(series) and all(len(each.import_wh) == 1 for each in series)


def placed(pieces: Sequence[Piece], moved: Moved) -> tuple[Series, ...]:
    """Each movement within the first piece of its period; nothing where a period has none, and energy."""
    first: dict[str, Piece] = {}
    for piece in pieces:
        first.setdefault(piece.period, piece)
    if any(any(both) for period, both in moved.items() if period not in first):
        return ()
    rows = sorted((first[period].start_ms, first[period].end_ms, both) for period, both in moved.items() if period in first)
    return tuple(Series(start_ms, end_ms - start_ms, [taken], [given]) for start_ms, end_ms, (taken, given) in rows)


def _pieces(plan: Plan, from_ms: int, to_ms: int) -> Iterator[Piece]:
    for day in range(day_of(from_ms, plan.zone), day_of(to_ms - 1, plan.zone) + 1):
        for p in pieces_of(plan, day):
            start_ms, end_ms = max(p.start_ms, from_ms), min(p.end_ms, to_ms)
            if start_ms < end_ms:
                yield Piece(start_ms, end_ms, p.day, p.version, p.period)


def _rates(plan: Plan, pieces: Sequence[Piece]) -> tuple[tuple[str, int], ...]:
    """The registers of the one version and cycle of these pieces; none where there are two, or where a register can not say enough."""
    if not pieces or demands_of(plan) or set(measures_of(plan)) - COUNTED:
        return ()
    whole = not plan.cycle.months or len({cycle_of(plan, Account(), p.day).first for p in (pieces[0], pieces[-1])}) == 1
    return plan.versions[pieces[0].version].registers if whole and pieces[0].version == pieces[-1].version else ()


def _agrees(moved: Moved, total_wh: int | None) -> bool:
    return total_wh is not None and abs(sum(taken for taken, _ in moved.values()) - total_wh) <= STEP_WH * len(moved)
