"""Passes clean days many at a time: a day in which no rule finds anything is written down as validated, with few queries for all of them.

* Only days that were never judged. What is known of them is read together (vee/lot.py) and judged by the same rules; where one finds
  anything, or a day needs more than was read, nothing is written and vee/run.py judges it by itself.
* What is written is what vee/run.py would write for a day without findings. A test holds both ways together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import field

from sqlalchemy import Connection, bindparam, delete, update

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.store.inbox import SUMMED_UNITS
from gridtally_cloud.store.tables import vee_finding, vee_run
from gridtally_cloud.store.totals import DaySum, save_days
from gridtally_cloud.vee.across import Beside, across, whatever_the_day
from gridtally_cloud.vee.beside import DEMAND, EVENTS_BEFORE_MS, RATES, TOTAL, demand_of, rates_of
from gridtally_cloud.vee.checks import BY_RULE
from gridtally_cloud.vee.classes import Point, rules_for
from gridtally_cloud.vee.held import REGISTER_OF, register_of
from gridtally_cloud.vee.judge import Known, judge
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.lot import DayOf, Lot, Ref, lot_of, stretch_around
from gridtally_cloud.vee.model import RegisterSample, RuleSet, Stretch
from gridtally_cloud.vee.registers import Register
from gridtally_shared.records import dataclass

VALIDATED = "validated"

_run, _found = vee_run.c, vee_finding.c
_OF_DAY = (_run.shard == SHARD, _run.day == bindparam("of_day"), _run.channel_no == bindparam("of_channel"))
_PASSED = update(vee_run).where(*_OF_DAY).values(
    status=VALIDATED, findings=0, rule_set=bindparam("rule_set"), stands=bindparam("stands"), at_ms=bindparam("at_ms"))  # fmt: skip
_NO_FINDINGS = delete(vee_finding).where(
    _found.shard == SHARD, _found.day == bindparam("of_day"), _found.channel_no == bindparam("of_channel"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clean:
    """A day without findings; `version` of its blocks stands, `total` is None where days of the unit are not summed."""

    day: int
    channel_no: int
    version: int
    rule_set: str
    n: int
    total: int | None


@dataclass(slots=True)
class _Rules:
    """Rule sets in force, asked for once."""

    conn: Connection
    known: dict[tuple[Point, int], RuleSet] = field(default_factory=dict)

    def of(self, point: Point, day: int) -> RuleSet:
        if (point, day) not in self.known:
            self.known[point, day] = rules_for(self.conn, point, day)
        return self.known[point, day]


def pass_clean(conn: Connection, waiting: Iterable[DayOf], now_ms: int) -> tuple[DayOf, ...]:
    """Write down the clean ones of these days, whose usage points are held; which they are."""
    lot, rules = lot_of(conn, waiting), _Rules(conn)
    clean = [c for day, no in sorted(lot.waiting) if (c := _clean(lot, lot.refs[no], day, rules)) is not None]
    if clean:
        _write(conn, clean, now_ms)
    return tuple((c.day, c.channel_no) for c in clean)


def _clean(lot: Lot, ref: Ref, day: int, rules: _Rules) -> Clean | None:
    near = None if lot.is_apart(day, ref) else stretch_around(lot, ref, day)
    if near is None:
        return None
    stretch, days, grid = near
    first = (grid.start_ms - stretch.start_ms) // (ref.period_s * 1000)
    part = stretch.part(first, first + grid.n)
    if 0 in part.present:
        return None
    known = _known(lot, ref, stretch, days, rules.of(lot.points.get(ref.usage_point_no, Point()), day))
    judgement = judge(stretch, known)
    touching = any(f.start_ms < grid.end_ms and f.end_ms > grid.start_ms for f in judgement.findings)
    if touching or 1 in judgement.failed[first : first + grid.n] or _contradicted(lot, ref, part, known):
        return None
    version = max(v.version for v in lot.blocks[day, ref.channel_no])
    return Clean(day, ref.channel_no, version, known.rules.name, grid.n, sum(part.values) if ref.unit in SUMMED_UNITS else None)


def _known(lot: Lot, ref: Ref, stretch: Stretch, days: tuple[int, ...], rules: RuleSet) -> Known:
    meters = lot.meters.get(ref.usage_point_no, [])
    register = Register()
    if len(meters) == 1 and ref.quantity in REGISTER_OF:
        reads = _within(lot.registers.get((meters[0].meter_no, REGISTER_OF[ref.quantity]), []), stretch)
        midnights = [midnight_ms(day, ref.zone) for day in (*days, days[-1] + 1)]
        register = register_of(reads, meters[0].register_step_wh, stretch, midnights)
    since_ms, until_ms = stretch.start_ms - EVENTS_BEFORE_MS, stretch.start_of(len(stretch))
    events = tuple(event for m in meters for event in lot.events.get(m.meter_no, ()) if since_ms <= event.at_ms <= until_ms)
    return Known(rules, ref.limit_w, LocalTime(ref.zone), register, (), ref.direction, events)


def _within(reads: list[RegisterSample], stretch: Stretch) -> list[RegisterSample]:
    first = bisect_left(reads, stretch.start_ms, key=_at)
    return reads[first : bisect_right(reads, stretch.start_of(len(stretch)), key=_at)]


def _at(sample: RegisterSample) -> int:
    return sample.at_ms


def _contradicted(lot: Lot, ref: Ref, day: Stretch, known: Known) -> bool:
    """Whether the registers of the meter say otherwise. Other channels, months and check meters are none of a lot."""
    meters = lot.meters.get(ref.usage_point_no, [])
    if not BY_RULE["high_low"].applies(ref.unit, known.direction) or len(meters) != 1:
        return False
    reads: dict[int, dict[int, int]] = {}
    for quantity in (TOTAL, DEMAND, *RATES):
        for sample in _within(lot.rates.get((meters[0].meter_no, quantity), []), day):
            reads.setdefault(sample.at_ms, {})[quantity] = sample.value
    total_moved, rates_moved = rates_of(reads)
    step = meters[0].register_step_wh or 1
    others = Beside(total_moved=total_moved, rates_moved=rates_moved, step=step, demand_w=demand_of(reads, day))
    found = (*across(day, known.limit_w, others, known.rules), *whatever_the_day(day, others, known.rules))
    return any(f.rule not in known.rules.off for f in found)


def _write(conn: Connection, clean: list[Clean], now_ms: int) -> None:
    """As the run leaves a day without findings."""
    keys = [{"of_day": c.day, "of_channel": c.channel_no} for c in clean]
    conn.execute(_NO_FINDINGS, keys)
    summed = [(c, c.total) for c in clean if c.total is not None]
    save_days(conn, [DaySum(c.day, c.channel_no, total, c.n, c.n) for c, total in summed])
    written = [{"rule_set": c.rule_set, "stands": c.version, "at_ms": now_ms} for c in clean]
    conn.execute(_PASSED, [key | values for key, values in zip(keys, written, strict=True)])
