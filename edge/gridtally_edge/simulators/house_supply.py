"""Behind the contactor of a simulated meter: what its home really draws, and at which voltage.

* An open contactor stops consumption; a welded one says "open" and lets current through.
* Energy is exact in watt-milliseconds at every true millisecond, so registers and rows always agree.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from gridtally_edge.simulators.household import MS_PER_MINUTE, LoadCurve
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass

LINE_MILLIOHM = 350
PHASE_SHARES = ((100,), (), (50, 30, 20))
"""How a home of one or three phases spreads its load, in percent."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The contactor kept current off from `from_ms` on; `imported` and `exported` had been drawn by the curve then,
    `lost_*` is what earlier outages kept back (all in watt-milliseconds)."""

    from_ms: int
    is_open: bool
    imported: int
    exported: int
    lost_import: int
    lost_export: int


class SwitchedLoad:
    """A home's load curve behind a contactor."""

    def __init__(self, curve: LoadCurve, welded: bool) -> None:
        self._curve, self._welded = curve, welded
        self._switched: list[Outage] = []

    @property
    def says_open(self) -> bool:
        return bool(self._switched) and self._switched[-1].is_open

    @property
    def conducts(self) -> bool:
        return not self.says_open or self._welded

    def switch(self, at_ms: int, is_open: bool) -> None:
        imported, exported = self._curve.energy(at_ms)
        used_import, used_export = self.energy(at_ms)
        self._switched.append(Outage(at_ms, is_open, imported, exported, imported - used_import, exported - used_export))

    def watts(self, at_ms: int) -> int:
        return self._curve.watts(at_ms) if self._conducted_at(at_ms) else 0

    def energy(self, at_ms: int) -> tuple[int, int]:
        """Import and export that passed the contactor since birth, in watt-milliseconds."""
        imported, exported = self._curve.energy(at_ms)
        change = self._change_at(at_ms)
        if self._welded or change is None:
            return imported, exported
        if change.is_open:
            return change.imported - change.lost_import, change.exported - change.lost_export
        return imported - change.lost_import, exported - change.lost_export

    def imported(self, at_ms: int) -> int:
        return self.energy(at_ms)[0]

    def _change_at(self, at_ms: int) -> Outage | None:
        index = bisect_right(self._switched, at_ms, key=lambda o: o.from_ms) - 1
        return self._switched[index] if index >= 0 else None

    def _conducted_at(self, at_ms: int) -> bool:
        change = self._change_at(at_ms)
        return self._welded or change is None or not change.is_open


def supply(seed: int, pf_milli: int, at_ms: int, power_w: int) -> tuple[int, int]:
    """Voltage (mV) and current (mA) under a load: the line's resistance pulls the voltage down."""
    day_part = (at_ms % MS_PER_DAY) / MS_PER_DAY
    free_mv = 231_000 + int(2_500 * math.sin(2 * math.pi * day_part + seed))
    free_mv += jitter(seed, at_ms, 400)
    current_ma = power_w * 1_000_000_000 // (free_mv * pf_milli)
    voltage_mv = free_mv - current_ma * LINE_MILLIOHM // 1_000
    return voltage_mv, abs(power_w) * 1_000_000_000 // (voltage_mv * pf_milli)


def jitter(seed: int, at_ms: int, width: int) -> int:
    """A small deterministic wobble of whole units in -width..width, another one every minute."""
    mixed = (at_ms // MS_PER_MINUTE * 2_654_435_761 + seed * 40_503) & 0xFFFFFFFF
    return (mixed >> 8) % (2 * width + 1) - width
