"""A day of a lot judged by all rules, as vee/run.py judges it by itself, out of what was read for the lot."""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.vee.across import across, whatever_the_day
from gridtally_cloud.vee.beside import EVENTS_BEFORE_MS
from gridtally_cloud.vee.held import REGISTER_OF, register_of
from gridtally_cloud.vee.judge import Judgement, Known, judge
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.lot import DayOf, Lot
from gridtally_cloud.vee.lot_beside import Compared, beside_of, is_asked, within
from gridtally_cloud.vee.model import Finding, RuleSet, Stretch
from gridtally_cloud.vee.near import Near, Ref
from gridtally_cloud.vee.registers import Register
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """A day with its neighbours, and what the rules say of them."""

    name: DayOf
    ref: Ref
    near: Near
    stretch: Stretch
    known: Known
    judgement: Judgement

    @property
    def first(self) -> int:
        return self.near.first

    @property
    def after(self) -> int:
        return self.near.first + self.near.grid.n

    @property
    def span(self) -> range:
        """The day's intervals in its stretch."""
        return range(self.first, self.after)

    @property
    def is_believed(self) -> bool:
        return 1 not in self.judgement.failed[self.first : self.after]

    def touching(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """Those that are about the day."""
        grid = self.near.grid
        return tuple(f for f in findings if f.start_ms < grid.end_ms and f.end_ms > grid.start_ms)


def judged(lot: Lot, name: DayOf, near: Near, rules: RuleSet) -> Judged:
    ref = lot.refs[name[1]]
    stretch = near.stretch(ref.unit)
    known = _known(lot, ref, stretch, near, rules)
    return Judged(name, ref, near, stretch, known, judge(stretch, known))


def nothing_found(lot: Lot, name: DayOf, near: Near, rules: RuleSet) -> Judged:
    """The same of a day that the sieve let through, without asking again: its registers were not read."""
    ref = lot.refs[name[1]]
    stretch = near.stretch(ref.unit)
    no = bytes(len(stretch))
    return Judged(name, ref, near, stretch, Known(rules, ref.limit_w, LocalTime(ref.zone)), Judgement((), no, no, ()))


def is_clean(j: Judged) -> bool:
    return 0 not in j.near.day.present and j.is_believed and not j.touching(j.judgement.findings)


def day_of(near: Near, ref: Ref) -> Stretch:
    held = near.day
    return Stretch(near.grid.start_ms, ref.period_s, ref.unit, held.values, held.quality, held.present)


def against(
    conn: Connection, lot: Lot, ref: Ref, near: Near, rules: RuleSet, compared: Compared, believed: bool
) -> tuple[Finding, ...] | None:
    """What other channels, registers and months say of the day; most of them only of one that is whole and believed. None
    where the lot does not hold them."""
    if not is_asked(ref):
        return ()
    day = day_of(near, ref)
    others = beside_of(conn, lot, ref, day, near.grid.day, compared)
    if others is None:
        return None
    found = (*(across(day, ref.limit_w, others, rules) if believed else ()), *whatever_the_day(day, others, rules))
    return tuple(f for f in found if f.rule not in rules.off)


def _known(lot: Lot, ref: Ref, stretch: Stretch, near: Near, rules: RuleSet) -> Known:
    meters = lot.meters.get(ref.usage_point_no, [])
    register = Register()
    if len(meters) == 1 and ref.quantity in REGISTER_OF:
        reads = within(lot.registers.get((meters[0].meter_no, REGISTER_OF[ref.quantity]), []), stretch)
        midnights = [midnight_ms(day, ref.zone) for day in (*near.days, near.days[-1] + 1)]
        register = register_of(reads, meters[0], stretch, midnights)
    since_ms, until_ms = stretch.start_ms - EVENTS_BEFORE_MS, stretch.start_of(len(stretch))
    events = [event for m in meters for event in lot.events.get(m.meter_no, ()) if since_ms <= event.at_ms <= until_ms]
    in_order = tuple(sorted(events, key=lambda event: event.at_ms))  # as `events_of` has them where there are two meters
    return Known(rules, ref.limit_w, LocalTime(ref.zone), register, (), ref.direction, in_order)
