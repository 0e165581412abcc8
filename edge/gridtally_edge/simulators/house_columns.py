"""The columns of a simulated IS 15959 meter's profiles: object, type, scaler, unit, and where each value comes from.

Source: IS 15959 part 2, object lists of single- and three-phase meters; protocols.md 6.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from gridtally_edge.protocols.dlms.access import Attribute, attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag, structure
from gridtally_edge.simulators.meter import Counts, PhaseValues, ProfileRow, RegisterRow, Snapshot
from gridtally_shared.records import dataclass

T = TypeVar("T")
_WH, _VAH, _W, _VA, _VAR, _V, _A, _HZ, _COUNT, _MIN = 30, 31, 27, 28, 29, 35, 33, 44, 255, 6


@dataclass(frozen=True, slots=True)
class Moment:
    """What the instantaneous profile and the momentary registers tell."""

    now: Snapshot
    counts: Counts


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """An object, its wire type, scaler and unit (unit 0: a counter or state without one), and its value in that scaling."""

    target: Attribute
    tag: Tag
    scaler: int
    unit: int
    value: Callable[[T], int]

    def scaler_unit(self) -> Data:
        return structure(Data(Tag.INT8, self.scaler), Data(Tag.ENUM, self.unit))

    def data(self, source: T) -> Data:
        return Data(self.tag, self.value(source))


def _register(obis: str, tag: Tag, scaler: int, unit: int, value: Callable[[T], int], class_id: int = 3) -> Column[T]:
    return Column(attribute(class_id, obis, 2), tag, scaler, unit, value)


def _counter(obis: str, value: Callable[[T], int], tag: Tag = Tag.UINT16) -> Column[T]:
    return Column(attribute(1, obis, 2), tag, 0, 0, value)


def _phase(number: int) -> Callable[[Snapshot | ProfileRow], PhaseValues]:
    return lambda source: source.phases[number]


def power_factor_milli(phase: PhaseValues) -> int:
    """Power over volts times amperes; 1 where nothing flows."""
    apparent = phase.voltage_mv * phase.current_ma
    return min(abs(phase.power_w) * 1_000_000_000 // apparent, 1_000) if apparent else 1_000


def _per_phase(obis: str, scaler: int, unit: int, value: Callable[[PhaseValues], int], tag: Tag) -> tuple[Column[Moment], ...]:
    """Columns of one kind for R, Y and B: value group C is 31, 51, 71 and what lies beside."""
    first = int(obis.split(".")[2])
    return tuple(
        _register(obis.replace(f".{first}.", f".{first + 20 * n}.", 1), tag, scaler, unit,
                  lambda m, n=n: value(_phase(n)(m.now)))  # type: ignore[misc]
        for n in range(3)
    )  # fmt: skip


def _block_per_phase(obis: str, unit: int, value: Callable[[PhaseValues], int]) -> tuple[Column[ProfileRow], ...]:
    first = int(obis.split(".")[2])
    return tuple(
        _register(obis.replace(f".{first}.", f".{first + 20 * n}.", 1), Tag.UINT16, -2, unit,
                  lambda r, n=n: value(_phase(n)(r)))  # type: ignore[misc]
        for n in range(3)
    )  # fmt: skip


_COMMON: Final[tuple[Column[Moment], ...]] = (
    _register("1.0.13.7.0.255", Tag.INT16, -3, _COUNT, lambda m: m.now.power_factor_milli),
    _register("1.0.14.7.0.255", Tag.UINT16, -3, _HZ, lambda m: m.now.frequency_mhz),
    _register("1.0.9.7.0.255", Tag.UINT32, 0, _VA, lambda m: m.now.voltage_mv * m.now.current_ma // 1_000_000),
    _register("1.0.1.7.0.255", Tag.INT32, 0, _W, lambda m: m.now.power_w),
    _register("1.0.1.8.0.255", Tag.UINT32, 0, _WH, lambda m: m.now.energy_import_wh),
    _register("1.0.9.8.0.255", Tag.UINT32, 0, _VAH, lambda m: m.now.apparent_import_vah),
    _register("1.0.1.6.0.255", Tag.UINT32, 0, _W, lambda m: m.now.demand_max_w, 4),
    _register("1.0.2.8.0.255", Tag.UINT32, 0, _WH, lambda m: m.now.energy_export_wh),
    _register("0.0.94.91.14.255", Tag.UINT32, 0, _MIN, lambda m: m.counts.power_on_min),
    _register("0.0.94.91.8.255", Tag.UINT32, 0, _MIN, lambda m: m.counts.power_off_min),
    _counter("0.0.96.7.0.255", lambda m: m.counts.power_failures),
    _counter("0.0.94.91.0.255", lambda m: m.counts.tampers),
    _counter("0.0.0.1.0.255", lambda m: m.counts.billings),
    _counter("0.0.96.2.0.255", lambda m: m.counts.programmings),
)
INSTANT_SINGLE: Final[tuple[Column[Moment], ...]] = (
    _register("1.0.12.7.0.255", Tag.UINT16, -2, _V, lambda m: m.now.voltage_mv // 10),
    _register("1.0.11.7.0.255", Tag.UINT16, -2, _A, lambda m: m.now.current_ma // 10),
    _register("1.0.91.7.0.255", Tag.UINT16, -2, _A, lambda m: m.now.current_ma // 10),
    *_COMMON,
)
INSTANT_THREE: Final[tuple[Column[Moment], ...]] = (
    *_per_phase("1.0.31.7.0.255", -2, _A, lambda p: p.current_ma // 10, Tag.UINT16),
    *_per_phase("1.0.32.7.0.255", -2, _V, lambda p: p.voltage_mv // 10, Tag.UINT16),
    *_per_phase("1.0.21.7.0.255", 0, _W, lambda p: p.power_w, Tag.INT32),
    *_COMMON,
    _register("1.0.3.7.0.255", Tag.INT32, 0, _VAR, lambda m: reactive_var(m.now)),
)
_BLOCK_COMMON: Final[tuple[Column[ProfileRow], ...]] = (
    _register("1.0.1.29.0.255", Tag.UINT16, 0, _WH, lambda r: r.import_wh),
    _register("1.0.9.29.0.255", Tag.UINT16, 0, _VAH, lambda r: r.apparent_vah),
    _register("1.0.2.29.0.255", Tag.UINT16, 0, _WH, lambda r: r.export_wh),
)
_STATUS: Final[Column[ProfileRow]] = _counter("0.0.96.10.1.255", lambda r: r.status, Tag.UINT8)
BLOCK_SINGLE: Final[tuple[Column[ProfileRow], ...]] = (
    _register("1.0.12.27.0.255", Tag.UINT16, -2, _V, lambda r: r.average_voltage_mv // 10),
    *_BLOCK_COMMON,
    _register("1.0.11.27.0.255", Tag.UINT16, -2, _A, lambda r: r.average_current_ma // 10),
    _STATUS,
)
BLOCK_THREE: Final[tuple[Column[ProfileRow], ...]] = (
    *_block_per_phase("1.0.31.27.0.255", _A, lambda p: p.current_ma // 10),
    *_block_per_phase("1.0.32.27.0.255", _V, lambda p: p.voltage_mv // 10),
    *_BLOCK_COMMON,
    _STATUS,
)
REGISTERS: Final[tuple[Column[RegisterRow], ...]] = (
    _register("1.0.1.8.0.255", Tag.UINT32, 0, _WH, lambda r: r.import_wh),
    _register("1.0.9.8.0.255", Tag.UINT32, 0, _VAH, lambda r: r.apparent_vah),
    _register("1.0.2.8.0.255", Tag.UINT32, 0, _WH, lambda r: r.export_wh),
)
RATES: Final[tuple[Column[RegisterRow], ...]] = tuple(
    _register(f"1.0.1.8.{rate}.255", Tag.UINT32, 0, _WH, lambda r, rate=rate: r.rates_wh[rate - 1])  # type: ignore[misc]
    for rate in range(1, 9)
)
DEMAND: Final[Column[RegisterRow]] = _register("1.0.1.6.0.255", Tag.UINT32, 0, _W, lambda r: r.demand_w, 4)
POWER_FACTOR: Final[Column[RegisterRow]] = _register("1.0.13.0.0.255", Tag.INT16, -3, _COUNT, lambda r: r.power_factor_milli)
BILLING: Final[tuple[Column[RegisterRow], ...]] = (POWER_FACTOR, *REGISTERS, *RATES, DEMAND)
SNAPSHOT_SINGLE: Final[tuple[Column[Moment], ...]] = tuple(
    c for c in INSTANT_SINGLE if str(c.target.obis) in ("1.0.12.7.0.255", "1.0.11.7.0.255", "1.0.13.7.0.255", "1.0.1.8.0.255")
)
SNAPSHOT_THREE: Final[tuple[Column[Moment], ...]] = (
    *INSTANT_THREE[:6],
    *_per_phase("1.0.33.7.0.255", -3, _COUNT, power_factor_milli, Tag.INT16),
    *(c for c in INSTANT_THREE if str(c.target.obis) == "1.0.1.8.0.255"),
)


def reactive_var(now: Snapshot) -> int:
    """What the power factor leaves: the other side of the triangle."""
    apparent_va = abs(now.power_w) * 1_000 // max(now.power_factor_milli, 1)
    return int(max(apparent_va**2 - now.power_w**2, 0) ** 0.5)
