"""Judges days many at a time: most are clean and are written down as validated with few queries for all of them; the others are judged
one by one out of what was read together (vee/mend.py).

* Only days that were never judged. What is known of them is read together (vee/lot.py) and judged by the same rules; where a day needs
  more than was read, nothing is written and vee/run.py judges it by itself.
* Days look back: estimates at what was estimated before, months at all their days. So days go in order of time, and a day that looks back
  over one that is left goes with it.
* What is written is what vee/run.py would write. Tests hold both ways together (tests/unit/cloud/vee/test_both_ways.py).

| a day of the lot | what becomes of it |
| --- | --- |
| needs more than the lot holds (vee/lot.py, `is_apart`) | left: judged by itself, this turn |
| nothing suspected, register and neighbours of its meter agree | clean: written down with the others |
| looks back over a day that is left | left with it |
| anything else | in the queue: judged by all rules and mended, at most `MENDED_AT_ONCE` a turn |
| looks back over one that waits for the next turn | waits as well |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.store.inbox import SUMMED_UNITS
from gridtally_cloud.store.tables import usage_day, vee_finding
from gridtally_cloud.store.totals import DaySum, save_days
from gridtally_cloud.vee.among import Among
from gridtally_cloud.vee.held import REGISTER_OF
from gridtally_cloud.vee.lot import DayOf, Lot, lot_of
from gridtally_cloud.vee.lot_beside import Compared, compared_months, ends_month, is_asked, is_plain, looks_back
from gridtally_cloud.vee.lot_judge import Judged, against, is_clean, judged, nothing_found
from gridtally_cloud.vee.lot_reads import around_midnights, at_midnights, rates_and_demand
from gridtally_cloud.vee.mend import NO_FINDINGS, mend
from gridtally_cloud.vee.model import RuleSet
from gridtally_cloud.vee.near import Near, Ref
from gridtally_cloud.vee.outcome import VALIDATED, Outcome, Verdict, keep_verdicts
from gridtally_cloud.vee.sieve import Rules, agrees, unsuspected
from gridtally_shared.records import dataclass

MENDED_AT_ONCE = 100
"""Days with findings that are judged in one transaction; what is more waits for the next turn."""

_found, _u = vee_finding.c, usage_day.c
_DAYS: BindParameter[Any] = bindparam("days", expanding=True)
_WITH_FINDINGS = Among(select(_found.channel_no, _found.day).where(_found.shard == SHARD, _found.day.in_(_DAYS)).distinct(),
                       _found.channel_no)  # fmt: skip
_TOTALS = Among(select(_u.channel_no, _u.day, _u.total, _u.present, _u.expected)
                .where(_u.shard == SHARD, _u.day.in_(_DAYS)), _u.channel_no)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of a lot. `left` are for whoever judges them by themselves, the rest of what waits is for the next turn."""

    outcomes: tuple[Outcome, ...] = ()
    left: tuple[DayOf, ...] = ()


@dataclass(frozen=True, slots=True)
class _Clean:
    """A day without findings; `version` of its blocks stands."""

    day: int
    channel_no: int
    version: int
    rule_set: str
    n: int
    total: int | None


@dataclass(slots=True)
class _Sorting:
    """The days of a lot on their way. `behind`: the first day of each usage point that is left or has findings."""

    conn: Connection
    lot: Lot
    rules: Rules
    near: dict[DayOf, Near]
    clean: list[_Clean] = field(default_factory=list)
    queue: list[Judged] = field(default_factory=list)
    behind: dict[int, int] = field(default_factory=dict)

    def sort(self) -> None:
        agreeing = self._agreeing()
        self._read_registers([name for name in self.near if not agreeing.get(name)])
        compared = self._compared()
        for name, near in self.near.items():
            (day, number), is_believed = name, agreeing.get(name, False)
            if is_believed is None:
                is_believed = self._never_read(name)
            self._look(name, near, is_believed, compared.get(day, {}).get(number, (None, None)))

    def _agreeing(self) -> dict[DayOf, bool | None]:
        """Of the days whose intervals raise no suspicion: whether the register moved as they sum, None where it was not read at both
        midnights. A day that is not in it is judged by all rules, and so is one whose register says otherwise."""
        return {
            name: agrees(self.lot, self.lot.refs[name[1]], self.near[name], self._rules(name))
            for name in unsuspected(self.near, self.lot, self.rules)
        }

    def _rules(self, name: DayOf) -> RuleSet:
        return self.rules.of(self.lot.point_of(self.lot.refs[name[1]]), name[0])

    def _look(self, name: DayOf, near: Near, is_believed: bool, compared: Compared) -> None:
        """A clean day goes through, any other into the queue."""
        (day, number), lot, rules = name, self.lot, self._rules(name)
        ref = lot.refs[number]
        j = None if is_believed else judged(lot, name, near, rules)
        if (j is None or is_clean(j)) and self._nothing_against(name, near, compared):
            self.clean.append(_clean(lot, ref, near, rules))
            return
        self.queue.append(j or nothing_found(lot, name, near, rules))
        self.behind[ref.usage_point_no] = min(day, self.behind.get(ref.usage_point_no, day))

    def _nothing_against(self, name: DayOf, near: Near, compared: Compared) -> bool:
        ref = self.lot.refs[name[1]]
        if is_plain(self.lot, ref, name[0]):
            return True
        if looks_back(self.lot, ref, name[0]) and _is_behind(self.lot, self.behind, name):
            return False
        return against(self.conn, self.lot, ref, near, self._rules(name), compared, believed=True) == ()

    def _never_read(self, name: DayOf) -> bool:
        ref = self.lot.refs[name[1]]
        return (self.lot.meters[ref.usage_point_no][0].meter_no, REGISTER_OF[ref.quantity]) not in self.lot.registers

    def _read_registers(self, names: Sequence[DayOf]) -> None:
        """All that is told of registers near these days."""
        meters, quantities = _registers_of(self.lot, names)
        zones = {(name[0], self.lot.refs[name[1]].zone) for name in names}
        midnights = sorted({midnight_ms(day + step, zone) for day, zone in zones for step in (-1, 0, 1, 2)})
        self.lot.registers = around_midnights(self.conn, meters, quantities, midnights) if meters else {}

    def _compared(self) -> dict[int, dict[int, Compared]]:
        """By day and channel."""
        ends: dict[int, list[int]] = {}
        for day, number in self.near:
            if ends_month(day) and is_asked(self.lot.refs[number]):
                ends.setdefault(day, []).append(number)
        return {day: compared_months(self.conn, numbers, day) for day, numbers in ends.items()}


def judge_lot(conn: Connection, waiting: Iterable[DayOf], now_ms: int) -> Passed:
    """Judge days whose usage points are held, as far as what is read for all of them is enough."""
    lot = lot_of(conn, waiting)
    if not lot.waiting:
        return Passed(left=tuple(sorted(lot.pending)))
    near = {name: found for name in sorted(lot.waiting) if (found := lot.near(name[0], lot.refs[name[1]])) is not None}
    left = sorted(lot.pending.keys() - near.keys())
    sorting = _Sorting(conn, lot, Rules(conn), near, behind=_first_days(lot, left))
    if near:
        _read_midnights(conn, lot, near)
        sorting.sort()
        _write(conn, lot, sorting.clean, now_ms)
    behind = _first_days(lot, left)
    after = [j.name for j in sorting.queue if _is_behind(lot, behind, j.name)]
    can = [j for j in sorting.queue if not _is_behind(lot, behind, j.name)]
    mended, not_mended = mend(conn, lot, can[:MENDED_AT_ONCE], now_ms)
    next_turn = _first_days(lot, [j.name for j in can[MENDED_AT_ONCE:]])
    alone = [name for name in sorted({*left, *after, *not_mended}) if not _is_behind(lot, next_turn, name)]
    passed = [Outcome(c.day, c.channel_no, VALIDATED, ()) for c in sorting.clean]
    return Passed((*passed, *mended), tuple(alone))


def _first_days(lot: Lot, names: Iterable[DayOf]) -> dict[int, int]:
    """The first of some days, which come in order, by usage point: what looks back goes after it."""
    first: dict[int, int] = {}
    for day, number in names:
        first.setdefault(lot.refs[number].usage_point_no, day)
    return first


def _is_behind(lot: Lot, first_days: dict[int, int], name: DayOf) -> bool:
    """Whether a day comes after the first of these of its usage point."""
    day, number = name
    return first_days.get(lot.refs[number].usage_point_no, day) < day


def _clean(lot: Lot, ref: Ref, near: Near, rules: RuleSet) -> _Clean:
    version = lot.versions[near.grid.day, ref.channel_no]
    total = sum(near.day.values) if ref.unit in SUMMED_UNITS else None
    return _Clean(near.grid.day, ref.channel_no, version, rules.name, near.grid.n, total)


def _registers_of(lot: Lot, names: Iterable[DayOf]) -> tuple[list[int], list[int]]:
    """(meters, registers) that are looked at for some days."""
    of: set[tuple[int, int]] = set()
    for number in {number for _, number in names}:
        ref = lot.refs[number]
        meters = lot.meters.get(ref.usage_point_no, ())
        if len(meters) == 1 and ref.quantity in REGISTER_OF:
            of.add((meters[0].meter_no, REGISTER_OF[ref.quantity]))
    return sorted({meter_no for meter_no, _ in of}), sorted({quantity for _, quantity in of})


def _read_midnights(conn: Connection, lot: Lot, near: dict[DayOf, Near]) -> None:
    meters, quantities = _registers_of(lot, near)
    own = sorted({at for found in near.values() for at in (found.grid.start_ms, found.grid.end_ms)})
    lot.at_midnight = at_midnights(conn, meters, quantities, own)
    of_points = sorted({row.meter_no for rows in lot.meters.values() for row in rows})
    lot.rates = rates_and_demand(conn, of_points, own[0], own[-1])
    lot.with_rates = frozenset(meter_no for meter_no, _ in lot.rates)


def _write(conn: Connection, lot: Lot, clean: list[_Clean], now_ms: int) -> None:
    """As the run leaves a day without findings."""
    if not clean:
        return
    days, numbers = sorted({c.day for c in clean}), sorted({c.channel_no for c in clean})
    found = {(day, number) for number, day in _WITH_FINDINGS.rows(conn, numbers, days=days)} & {(c.day, c.channel_no) for c in clean}
    if found:
        conn.execute(NO_FINDINGS, [{"of_day": day, "of_channel": number} for day, number in sorted(found)])
    known = {(day, number, total, present, expected) for number, day, total, present, expected in _TOTALS.rows(conn, numbers, days=days)}
    sums = [(c.day, c.channel_no, c.total, c.n, c.n) for c in clean if c.total is not None]
    save_days(conn, [DaySum(*each) for each in sums if each not in known])
    keep_verdicts(conn, [
        Verdict(c.day, c.channel_no, lot.pending[c.day, c.channel_no], c.rule_set, VALIDATED, 0, now_ms, c.version) for c in clean
    ])  # fmt: skip
