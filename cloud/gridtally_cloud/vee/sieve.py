"""A first look at all days of a lot together, that lets the clean ones through and costs little for each.

* Days of many channels stand one after the other, each with its neighbours and an empty interval behind them, where runs end; one native
  pass (vee/screen.py) looks at all of one rule set. What is suspected in a neighbour alone is none of the day's business, but a run of
  equal values that only grows long after midnight.
* The register was read at both midnights and moved by what the day sums to, or was never read. Nothing was told, and other channels,
  rates and months say nothing against it.
* Whatever does not pass here is judged as always; that it would have been found clean by that, a test holds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import field

from sqlalchemy import Connection

from gridtally_cloud.vee.classes import Point, rules_for
from gridtally_cloud.vee.columns import MISSING, Columns
from gridtally_cloud.vee.held import REGISTER_OF
from gridtally_cloud.vee.lot import DayOf, Lot
from gridtally_cloud.vee.model import RuleSet, Stretch
from gridtally_cloud.vee.near import Near, Ref
from gridtally_cloud.vee.registers import tolerance
from gridtally_cloud.vee.screen import screened_to
from gridtally_native import SCREEN_STUCK, SCREEN_ZERO
from gridtally_shared.records import dataclass

RUNS = SCREEN_STUCK | SCREEN_ZERO


@dataclass(slots=True)
class Rules:
    """Rule sets in force, asked for once."""

    conn: Connection
    known: dict[int, dict[Point, RuleSet]] = field(default_factory=dict)

    def of(self, point: Point, day: int) -> RuleSet:
        of_day = self.known.setdefault(day, {})
        found = of_day.get(point)
        if found is None:
            found = of_day[point] = rules_for(self.conn, point, day)
        return found


@dataclass(slots=True)
class _Sheet:
    """Days that are looked at in one pass. `ends` are those of days and gaps between them, `places` of each day: where its own end
    stands in `ends`, and whether the next one belongs to it."""

    ref: Ref
    rules: RuleSet
    values: array[int] = field(default_factory=lambda: array("q"))
    quality: array[int] = field(default_factory=lambda: array("H"))
    present: bytearray = field(default_factory=bytearray)
    ends: list[int] = field(default_factory=list)
    places: list[tuple[DayOf, int, bool]] = field(default_factory=list)

    def add(self, name: DayOf, near: Near) -> None:
        self.places.append((name, len(self.ends) + near.own, near.own + 1 < len(near.parts)))
        for part in near.parts:
            self._put(part)
        self._put(_GAP)

    def _put(self, part: Columns) -> None:
        self.values += part.values
        self.quality += part.quality
        self.present += part.present
        self.ends.append(len(self.values))

    def unsuspected(self) -> Iterable[DayOf]:
        """Those in which no rule about intervals could find anything."""
        whole = Stretch(0, self.ref.period_s, self.ref.unit, self.values, self.quality, bytes(self.present))
        bits = screened_to(whole, self.ends, self.rules, self.ref.limit_w, self.ref.direction)
        return [name for name, own, more in self.places if not bits[own] and not (more and bits[own + 1] & RUNS)]


_GAP = Columns(array("q", [0]), array("H", [MISSING]), b"\0")


def unsuspected(near: dict[DayOf, Near], lot: Lot, rules: Rules) -> list[DayOf]:
    """Days in whose intervals nothing is to be found, and of whose meters nothing was told."""
    sheets: dict[tuple[object, ...], _Sheet] = {}
    for name, days in near.items():
        ref = lot.refs[name[1]]
        if lot.events and any(row.meter_no in lot.events for row in lot.meters.get(ref.usage_point_no, ())):
            continue
        rule_set = rules.of(lot.point_of(ref), name[0])
        key = (id(rule_set), ref.limit_w, ref.unit, ref.direction, ref.period_s)
        if key not in sheets:
            sheets[key] = _Sheet(ref, rule_set)
        sheets[key].add(name, days)
    return [name for sheet in sheets.values() for name in sheet.unsuspected()]


def agrees(lot: Lot, ref: Ref, near: Near, rules: RuleSet) -> bool | None:
    """Whether the register moved as the day sums; None where it was not read at its midnights. Where no one register can tell (two
    meters, a quantity without), nothing speaks against the day."""
    meters = lot.meters.get(ref.usage_point_no, ())
    quantity = REGISTER_OF.get(ref.quantity)
    if quantity is None or len(meters) != 1:
        return True
    meter_no = meters[0].meter_no
    before = lot.at_midnight.get((meter_no, quantity, near.grid.start_ms))
    now = lot.at_midnight.get((meter_no, quantity, near.grid.end_ms))
    if before is None or now is None:
        return None
    moved, total = now - before, sum(near.day.values)
    return moved >= 0 and abs(moved - total) <= tolerance(moved, meters[0].register_step_wh, rules)
