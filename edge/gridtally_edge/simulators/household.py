"""What a home draws, minute by minute: a pure function of a seed and the day, so a killed simulator loses nothing.

* A day is base load by the hour (weekday or weekend), a refrigerator that cycles, and appliances switched on at seeded
  moments: kettle, geyser, cooking, washing, on some homes an air conditioner and a solar roof.
* Power is constant within a minute; energy is the exact integral in watt-milliseconds, import and export apart.
* One day costs about a millisecond; whole days are kept as totals, a few recent ones minute by minute.
"""

from __future__ import annotations

import math
import random
from array import array
from collections import OrderedDict
from itertools import accumulate
from typing import TypeVar

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass

MS_PER_MINUTE = 60_000
MINUTES = 1_440
MONDAY_OFFSET = 3  # 1970-01-01 was a Thursday
DAYS_KEPT = 4
QUARTER = 15
QUARTER_DAYS_KEPT = 100

T = TypeVar("T")

# Watts by the local hour, for a home of size 100 %.
_WEEKDAY_W = (110, 95, 90, 90, 95, 140, 290, 380, 330, 200, 160, 160,
              170, 165, 160, 165, 190, 260, 420, 560, 600, 520, 340, 190)  # fmt: skip
_WEEKEND_W = (130, 105, 95, 90, 90, 110, 190, 300, 380, 380, 340, 330,
              350, 330, 290, 270, 290, 330, 440, 560, 610, 560, 400, 230)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Appliance:
    """Switched on `uses` times a day between two local minutes; runs `run_min` at `power_w`, `on_of` of every
    `on_of + off_of` minutes; owned by `owned_percent` of the homes."""

    name: str
    uses: tuple[int, int]
    between: tuple[int, int]
    run_min: tuple[int, int]
    power_w: tuple[int, int]
    on_of: int = 1
    off_of: int = 0
    owned_percent: int = 100


APPLIANCES: tuple[Appliance, ...] = (
    Appliance("kettle", (1, 3), (6 * 60, 10 * 60), (2, 4), (1_700, 2_200)),
    Appliance("kettle again", (0, 3), (15 * 60, 22 * 60), (2, 4), (1_700, 2_200)),
    Appliance("geyser", (1, 2), (5 * 60 + 30, 8 * 60), (10, 25), (1_800, 2_000), owned_percent=60),
    Appliance("cooking", (1, 1), (18 * 60, 20 * 60 + 30), (20, 50), (1_200, 1_900), on_of=2, off_of=1),
    Appliance("washing", (0, 1), (9 * 60, 17 * 60), (40, 70), (350, 500), owned_percent=70),
    Appliance("air conditioner", (0, 1), (20 * 60, 23 * 60), (120, 300), (1_000, 1_400), 3, 2, owned_percent=40),
)


@dataclass(frozen=True, slots=True)
class Home:
    """Makes the load of one home. `size_percent` scales the base load, `pv_w` is the peak of a solar roof (0: none)."""

    seed: int
    size_percent: int = 100
    pv_w: int = 0

    def appliances(self) -> tuple[Appliance, ...]:
        own = random.Random(f"owns {self.seed}")
        return tuple(a for a in APPLIANCES if own.random() * 100 < a.owned_percent)

    def minutes_w(self, local_day: int) -> list[int]:
        """1440 values of net power in watts from local midnight; negative while the roof feeds in."""
        chance = random.Random(f"day {self.seed} {local_day}")
        hours = _WEEKEND_W if (local_day + MONDAY_OFFSET) % 7 >= 5 else _WEEKDAY_W
        load = _base(hours, self.size_percent, chance.randbytes(MINUTES))
        _add_fridge(load, self.seed)
        for appliance in self.appliances():
            _add_appliance(load, appliance, chance)
        return _under_sun(load, self.pv_w, chance.randrange(35, 101)) if self.pv_w else load


def _base(hours: tuple[int, ...], size_percent: int, noise: bytes) -> list[int]:
    load: list[int] = []
    scale = size_percent / 100 / 1_280
    for hour, hour_w in enumerate(hours):
        here_w, step = hour_w * scale, (hours[(hour + 1) % 24] - hour_w) * scale / 60
        part = noise[hour * 60 : hour * 60 + 60]
        load += [int((here_w + step * m) * (1_152 + b)) for m, b in enumerate(part)]
    return load


def _add_fridge(load: list[int], seed: int) -> None:
    own = random.Random(f"fridge {seed}")
    power_w, on_min, cycle_min, phase = own.randrange(80, 140), own.randrange(12, 20), 45, own.randrange(45)
    for start in range(-phase, MINUTES, cycle_min):
        _add(load, start, start + on_min, power_w)


def _add_appliance(load: list[int], appliance: Appliance, chance: random.Random) -> None:
    for _ in range(chance.randint(*appliance.uses)):
        start, power_w = chance.randrange(*appliance.between), chance.randrange(*appliance.power_w)
        end = start + chance.randint(*appliance.run_min)
        for on in range(start, end, appliance.on_of + appliance.off_of):
            _add(load, on, min(end, on + appliance.on_of), power_w)


def _add(load: list[int], start: int, end: int, power_w: int) -> None:
    first, last = max(0, start), max(0, min(MINUTES, end))
    load[first:last] = [w + power_w for w in load[first:last]]


def _under_sun(load: list[int], pv_w: int, clearness: int) -> list[int]:
    peak = pv_w * clearness / 100
    sun = [max(0, int(peak * math.sin(math.pi * (m - 360) / 720))) for m in range(MINUTES)]
    return [used - made for used, made in zip(load, sun, strict=True)]


@dataclass(frozen=True, slots=True)
class DayCurve:
    """Net watts of each minute, and the import and export integrals (watt-milliseconds) at each minute's start."""

    watts: array[int]
    imported: array[int]
    exported: array[int]


class LoadCurve:
    """The integral of a home's load since `born_ms` (a local midnight), exact at every millisecond. Minutes are kept for
    the last few days, quarters of an hour for a season."""

    def __init__(self, home: Home, born_ms: int, utc_offset_min: int) -> None:
        self._home = home
        self._offset_ms = utc_offset_min * MS_PER_MINUTE
        self._born_day = (born_ms + self._offset_ms) // MS_PER_DAY
        self._before: list[tuple[int, int]] = [(0, 0)]
        self._recent: OrderedDict[int, DayCurve] = OrderedDict()
        self._quarters: OrderedDict[int, tuple[array[int], array[int]]] = OrderedDict()

    def watts(self, at_ms: int) -> int:
        day, rest_ms = divmod(at_ms + self._offset_ms, MS_PER_DAY)
        return self._day(day).watts[rest_ms // MS_PER_MINUTE]

    def energy(self, at_ms: int) -> tuple[int, int]:
        """Import and export since birth in watt-milliseconds; (0, 0) before it."""
        day, rest_ms = divmod(at_ms + self._offset_ms, MS_PER_DAY)
        if day < self._born_day:
            return 0, 0
        import_before, export_before = self._total_before(day)
        minute, part_ms = divmod(rest_ms, MS_PER_MINUTE)
        if not part_ms and not minute % QUARTER and day in self._quarters:
            quarters = self._quarters[day]
            return import_before + quarters[0][minute // QUARTER], export_before + quarters[1][minute // QUARTER]
        curve = self._day(day)
        watts = curve.watts[minute]
        imported = import_before + curve.imported[minute] + max(0, watts) * part_ms
        return imported, export_before + curve.exported[minute] + max(0, -watts) * part_ms

    def _total_before(self, day: int) -> tuple[int, int]:
        while len(self._before) <= day - self._born_day:
            curve = self._day(self._born_day + len(self._before) - 1)
            imported, exported = self._before[-1]
            self._before.append((imported + curve.imported[-1], exported + curve.exported[-1]))
        return self._before[day - self._born_day]

    def _day(self, day: int) -> DayCurve:
        curve = self._recent.get(day)
        if curve is None:
            curve = self._recent[day] = _curve(self._home.minutes_w(day))
            self._quarters[day] = curve.imported[::QUARTER], curve.exported[::QUARTER]
            _forget_oldest(self._recent, DAYS_KEPT)
            _forget_oldest(self._quarters, QUARTER_DAYS_KEPT)
        return curve


def _forget_oldest(kept: OrderedDict[int, T], most: int) -> None:
    if len(kept) > most:
        kept.popitem(last=False)


_NO_EXPORT = array("q", bytes(8 * (MINUTES + 1)))


def _curve(watts: list[int]) -> DayCurve:
    if min(watts) >= 0:
        return DayCurve(array("i", watts), _integral(watts), _NO_EXPORT)
    imported = _integral([max(0, w) for w in watts])
    return DayCurve(array("i", watts), imported, _integral([max(0, -w) for w in watts]))


def _integral(watts: list[int]) -> array[int]:
    return array("q", accumulate([w * MS_PER_MINUTE for w in watts], initial=0))
