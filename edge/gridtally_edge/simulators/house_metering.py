"""What a simulated meter measures: momentary values, registers, demand, and the rows of its profiles.

* Everything is a function of the load, the meter's time and its settings; a row is the difference of the register at its two
  ends, so rows always add up to the register.
* Capture times are whole periods of the meter's own clock. A change of the period ends no row early: the row under way ends
  at the next whole new period.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field
from itertools import pairwise

from gridtally_edge.simulators.house_demand import Demand, DemandWatch, aligned_ms, closings, period_start
from gridtally_edge.simulators.house_memory import INTERVAL_S, SettingsMemory
from gridtally_edge.simulators.house_supply import PHASE_SHARES, SwitchedLoad, jitter, supply
from gridtally_edge.simulators.house_tariff import RateRegisters
from gridtally_edge.simulators.house_time import MeterTime
from gridtally_edge.simulators.meter import CLOCK_ADJUSTED, POWER_DOWN, PhaseValues, ProfileRow, RegisterRow, Snapshot
from gridtally_shared import meter_settings as ms
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.records import dataclass

WMS_PER_WH = MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Build:
    """What one meter is made of. `start_wh` stood on it when it was born; `forgets`: another capture period empties its profile."""

    seed: int
    phases: int
    born_ms: int
    offset_ms: int
    start_wh: int
    pf_milli: int
    forgets: bool = False


@dataclass(slots=True)
class Metering:
    """`missing_wh` is what a fault takes from each row; `demand_resets` are true times at which the maximum began afresh;
    `power_cuts` the spans without power that are over: while one lasts, no meter writes a row."""

    build: Build
    load: SwitchedLoad
    time: MeterTime
    memory: SettingsMemory
    rates: RateRegisters
    demand_resets: list[int] = field(default_factory=list)
    power_cuts: list[tuple[int, int]] = field(default_factory=list)
    missing_wh: Callable[[], int] = lambda: 0
    _watch: DemandWatch = field(default_factory=lambda: DemandWatch(0, ms.DemandPeriod(INTERVAL_S)), init=False)
    _closed: dict[tuple[int, int], Demand] = field(default_factory=dict, init=False)

    def measured(self, now_ms: int, with_demand: bool = True) -> Snapshot:
        imported, exported = self.load.energy(now_ms)
        power_w = self.load.watts(now_ms)
        voltage_mv, current_ma = supply(self.build.seed, self.build.pf_milli, now_ms, power_w)
        return Snapshot(
            at_ms=self.time.shows(now_ms),
            energy_import_wh=self.build.start_wh + imported // WMS_PER_WH,
            energy_export_wh=exported // WMS_PER_WH,
            apparent_import_vah=self._apparent(imported) + self.build.start_wh,
            voltage_mv=voltage_mv,
            current_ma=current_ma,
            power_w=power_w,
            power_factor_milli=self.build.pf_milli if power_w else 1_000,
            frequency_mhz=50_000 + int(30 * math.sin(now_ms / 97_000)) + jitter(0, now_ms, 10),
            demand_max_w=self.demand(now_ms).highest_w if with_demand else 0,
            phases=self._phase_values(now_ms, power_w),
        )

    def profile(self, from_ms: int, to_ms: int, now_ms: int) -> tuple[ProfileRow, ...]:
        until_ms = min(to_ms, self.time.furthest_ms(now_ms))
        if self.build.forgets:
            from_ms = max(from_ms, self.time.shows(self.memory.changes(ms.CapturePeriod)[-1][0]))
        marks = [(mark, self.time.crossing_ms(mark)) for mark in self._marks(from_ms, until_ms)]
        return tuple(self._row(end, t0, t1) for (_, t0), (end, t1) in pairwise(marks) if end >= from_ms)

    def _marks(self, from_ms: int, to_ms: int) -> list[int]:
        """Capture times from the one before `from_ms` on, in the meter's time, by the capture periods of their day."""
        changes = [(self.time.shows(at_ms), c.period_s * 1_000) for at_ms, c in self.memory.changes(ms.CapturePeriod)]
        ends = [start for start, _ in changes[1:]] + [to_ms]
        marks: list[int] = []
        for (start_ms, step_ms), end_ms in zip(changes, ends, strict=True):
            longest = max(step for _, step in changes)
            low = max(start_ms, from_ms - 2 * longest, self.build.born_ms - 1)
            marks += range((low // step_ms + 1) * step_ms, min(end_ms, to_ms) + 1, step_ms)
        before = [mark for mark in marks if mark < from_ms]
        return before[-1:] + [mark for mark in marks if mark >= from_ms]

    def registers_at(self, true_ms: int) -> tuple[int, int]:
        """Import and export register in Wh at a moment that is over."""
        imported, exported = self.load.energy(true_ms)
        return self.build.start_wh + imported // WMS_PER_WH, exported // WMS_PER_WH

    def rows_disagree(self, now_ms: int) -> bool:
        """The meter's own sum of the last day's rows against its register."""
        last_ms = self.time.furthest_ms(now_ms)
        rows = self.profile(last_ms - MS_PER_DAY, last_ms, now_ms)
        if len(rows) < 2:
            return False
        first, last = (self.time.crossing_ms(row.end_ms) for row in (rows[0], rows[-1]))
        used_wh = self.load.imported(last) // WMS_PER_WH - self.load.imported(first) // WMS_PER_WH
        return sum(row.import_wh for row in rows[1:]) != used_wh

    def daily(self, from_ms: int, to_ms: int, now_ms: int) -> tuple[RegisterRow, ...]:
        first = max(from_ms, self.build.born_ms + 1) + self.build.offset_ms
        last = min(to_ms, self.time.furthest_ms(now_ms)) + self.build.offset_ms
        days = range(-(-first // MS_PER_DAY), last // MS_PER_DAY + 1)
        moments = (day * MS_PER_DAY - self.build.offset_ms for day in days)
        return tuple(self._register_row(at_ms, self.time.crossing_ms(at_ms), Demand(0, 0)) for at_ms in moments)

    def billing_moments(self, from_ms: int, to_ms: int, now_ms: int) -> list[int]:
        rule = self.memory.now(ms.BillingDate)
        last_ms = min(to_ms, self.time.furthest_ms(now_ms))
        return closings(rule, max(from_ms, self.build.born_ms + 1), last_ms, self.build.offset_ms)

    def billing(self, from_ms: int, to_ms: int, now_ms: int) -> tuple[RegisterRow, ...]:
        return tuple(self._billing_row(at_ms) for at_ms in self.billing_moments(from_ms, to_ms, now_ms))

    def registers(self, now_ms: int) -> RegisterRow:
        return self._register_row(self.time.shows(now_ms), now_ms, self.demand(now_ms))

    def _billing_row(self, at_ms: int) -> RegisterRow:
        true_ms = self.time.crossing_ms(at_ms)
        key = (at_ms, self._demand_from(true_ms - 1))
        if key not in self._closed:
            watch = DemandWatch(aligned_ms(key[1], INTERVAL_S), self.memory.at(ms.DemandPeriod, true_ms))
            self._closed[key] = watch.until(true_ms, self.load.imported)
        return self._register_row(at_ms, true_ms, self._closed[key])

    def _register_row(self, at_ms: int, true_ms: int, demand: Demand) -> RegisterRow:
        imported, exported = self.load.energy(true_ms)
        rates = self.rates.at(true_ms, at_ms)
        first = self.build.start_wh + imported // WMS_PER_WH - sum(rate // WMS_PER_WH for rate in rates[1:])
        skewed_ms = self.time.shows(demand.at_ms) if demand.at_ms else 0
        return RegisterRow(
            at_ms, self.build.start_wh + imported // WMS_PER_WH, exported // WMS_PER_WH, self._apparent(imported) + self.build.start_wh,
            (first, *(rate // WMS_PER_WH for rate in rates[1:])), demand.highest_w, skewed_ms,
            self.build.pf_milli,
        )  # fmt: skip

    def _apparent(self, imported_wms: int) -> int:
        return imported_wms * 1_000 // self.build.pf_milli // WMS_PER_WH

    def _phase_values(self, at_ms: int, power_w: int) -> tuple[PhaseValues, ...]:
        shares = [power_w * percent // 100 for percent in PHASE_SHARES[self.build.phases - 1]]
        seeds = range(self.build.seed, self.build.seed + len(shares))
        return tuple(
            PhaseValues(*supply(seed, self.build.pf_milli, at_ms, watts), watts) for seed, watts in zip(seeds, shares, strict=True)
        )

    def _demand_from(self, at_ms: int) -> int:
        """Since when the maximum demand of a moment counts, in true time."""
        month_ms = period_start(self.memory.now(ms.BillingDate), at_ms, self.build.offset_ms)
        changes = [changed_ms for changed_ms, _ in self.memory.changes(ms.DemandPeriod)]
        return max([self.build.born_ms, month_ms, *(t for t in (*self.demand_resets, *changes) if t <= at_ms)])

    def demand(self, now_ms: int) -> Demand:
        period = self.memory.now(ms.DemandPeriod)
        from_ms = aligned_ms(self._demand_from(now_ms), period.period_s)
        if (self._watch.from_ms, self._watch.period) != (from_ms, period):
            self._watch = DemandWatch(from_ms, period)
        return self._watch.until(now_ms, self.load.imported)

    def _row(self, end_ms: int, from_true_ms: int, to_true_ms: int) -> ProfileRow:
        imported0, exported0 = self.load.energy(from_true_ms)
        imported1, exported1 = self.load.energy(to_true_ms)
        length_ms = max(1, to_true_ms - from_true_ms)
        mean_w = (imported1 - imported0 - exported1 + exported0) // length_ms
        middle_ms = (from_true_ms + to_true_ms) // 2
        voltage_mv, current_ma = supply(self.build.seed, self.build.pf_milli, middle_ms, mean_w)
        lost_wh = self.missing_wh()
        return ProfileRow(
            end_ms=end_ms,
            import_wh=max(imported1 // WMS_PER_WH - imported0 // WMS_PER_WH - lost_wh, 0),
            export_wh=exported1 // WMS_PER_WH - exported0 // WMS_PER_WH,
            apparent_vah=self._apparent(imported1) - self._apparent(imported0),
            average_voltage_mv=voltage_mv,
            average_current_ma=current_ma,
            status=self._status(from_true_ms, to_true_ms),
            phases=self._phase_values(middle_ms, mean_w),
        )

    def _status(self, from_true_ms: int, to_true_ms: int) -> int:
        """The profile status of a row."""
        adjusted = CLOCK_ADJUSTED if self.time.was_set_within(from_true_ms, to_true_ms) else 0
        cut = any(from_ms < to_true_ms and from_true_ms < until_ms for from_ms, until_ms in self.power_cuts)
        return adjusted | (POWER_DOWN if cut else 0)
