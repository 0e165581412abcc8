"""Data sets of ASCII meters into readings: which OBIS code is which quantity of ours, in which unit.

* Codes count without their channel (1-0, 1-1) and with storage 255 only; values of earlier billing periods are left out.
* Import and export power are one signed number of ours: 1.7.0 less 2.7.0, likewise for each phase.
* A meter that shows tariff registers and no total gets the total as their sum.
* Text where a number ought to be (dashes, blanks) is `METER_INVALID` with value 0, never a bare zero. A unit that is none
  of the quantity makes no reading.

Source: IEC 62056-6-1; DSMR 5.0.2 P1 companion standard, clause 6.12.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Final

from gridtally_edge.drivers.model import Reading
from gridtally_edge.protocols.iec62056_21.datasets import Cell, DataSet
from gridtally_shared.obis import Obis
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME, QUANTITIES, Kind

UNITS: dict[str, tuple[str, Fraction]] = {
    unit.lower(): (base, Fraction(factor))
    for unit, base, factor in (
        ("Wh", "Wh", 1), ("kWh", "Wh", 1_000), ("MWh", "Wh", 1_000_000), ("GJ", "Wh", Fraction(10**9, 3_600)),
        ("varh", "varh", 1), ("kvarh", "varh", 1_000), ("VAh", "VAh", 1), ("kVAh", "VAh", 1_000),
        ("W", "W", 1), ("kW", "W", 1_000), ("var", "var", 1), ("kvar", "var", 1_000), ("VA", "VA", 1), ("kVA", "VA", 1_000),
        ("V", "V", 1), ("A", "A", 1), ("Hz", "Hz", 1), ("m3", "m3", 1), ("dm3", "m3", Fraction(1, 1_000)),
        ("l", "m3", Fraction(1, 1_000)),
    )
}  # fmt: skip
Key = tuple[int, int, int]
KEYS: dict[Key, str] = {
    (q.obis.value[2], q.obis.value[3], q.obis.value[4]): q.name
    for q in QUANTITIES
    if q.obis.value[0] == 1 and q.obis.value[5] == 255 and q.kind is not Kind.INTERVAL and q.unit in {b for b, _ in UNITS.values()}
}
SIGNED: Final = (
    ("power_w", (1, 7, 0), (2, 7, 0)),
    ("power_l1_w", (21, 7, 0), (22, 7, 0)),
    ("power_l2_w", (41, 7, 0), (42, 7, 0)),
    ("power_l3_w", (61, 7, 0), (62, 7, 0)),
)
SUMS: Final = (("energy_import_wh", 1), ("energy_export_wh", 2))
TOTAL_POWER: Final = (16, 7, 0)
RATES: Final = range(1, 9)
COUNTS: dict[Key, str] = {
    (96, 7, 21): "power_failures",
    **{(32 + 20 * phase, 32, 0): f"voltage_sags_l{phase + 1}" for phase in range(3)},
    **{(32 + 20 * phase, 36, 0): f"voltage_swells_l{phase + 1}" for phase in range(3)},
}
_UINT63: Final = 1 << 63


def readings_of(sets: Iterable[DataSet], at_ms: int) -> tuple[Reading, ...]:
    """The electricity values of a readout or telegram."""
    cells = cells_by_key(sets)
    found: dict[str, Reading] = {}
    for key, cell in cells.items():
        name = KEYS.get(key)
        if name and name not in {signed for signed, *_ in SIGNED}:
            _keep(found, name, reading_of(name, cell, at_ms))
    for name, plus, minus in SIGNED:
        _keep(found, name, _difference(name, cells.get(plus), cells.get(minus), at_ms))
    if "power_w" not in found and TOTAL_POWER in cells:
        _keep(found, "power_w", reading_of("power_w", cells[TOTAL_POWER], at_ms))
    for name, group in SUMS:
        if name not in found:
            _keep(found, name, _sum(name, [cells[group, 8, rate] for rate in RATES if (group, 8, rate) in cells], at_ms))
    for key, name in COUNTS.items():
        if key in cells:
            _keep(found, name, _count(name, cells[key], at_ms))
    return tuple(found.values())


def _keep(found: dict[str, Reading], name: str, reading: Reading | None) -> None:
    if reading is not None:
        found[name] = reading


def cells_by_key(sets: Iterable[DataSet]) -> dict[Key, Cell]:
    """The first present value of each code; codes of electricity and of the meter itself (A = 0 or 1)."""
    cells: dict[Key, Cell] = {}
    for data_set in sets:
        obis = data_set.obis
        if obis is not None and is_present(obis):
            cells.setdefault((obis.value[2], obis.value[3], obis.value[4]), data_set.first)
    return cells


def is_present(obis: Obis) -> bool:
    return obis.value[0] in (0, 1) and obis.value[5] == 255


def reading_of(name: str, cell: Cell, at_ms: int) -> Reading | None:
    """One value; None for a unit that is none of this quantity."""
    quantity = BY_NAME[name]
    unit, factor = UNITS.get(cell.unit.lower(), ("", Fraction(1)))
    if unit != quantity.unit:
        return None
    return whole(name, cell.number, factor, at_ms)


def whole(name: str, number: Decimal | None, factor: Fraction, at_ms: int) -> Reading:
    quantity = BY_NAME[name]
    if number is None:
        return Reading(quantity.code, at_ms, 0, Quality.METER_INVALID)
    value = round(Fraction(number) * factor / Fraction(10) ** quantity.exponent)
    if not -_UINT63 <= value < _UINT63:
        return Reading(quantity.code, at_ms, 0, Quality.METER_INVALID)
    return Reading(quantity.code, at_ms, value)


def _difference(name: str, plus: Cell | None, minus: Cell | None, at_ms: int) -> Reading | None:
    drawn = reading_of(name, plus, at_ms) if plus else None
    fed = reading_of(name, minus, at_ms) if minus else None
    if drawn is None or fed is None:
        return drawn
    return Reading(drawn.quantity, at_ms, drawn.value - fed.value, drawn.quality | fed.quality)


def _sum(name: str, cells: list[Cell], at_ms: int) -> Reading | None:
    parts = [part for part in (reading_of(name, cell, at_ms) for cell in cells) if part is not None]
    if not parts:
        return None
    quality = max(part.quality for part in parts)
    return Reading(parts[0].quantity, at_ms, 0 if quality else sum(part.value for part in parts), quality)


def _count(name: str, cell: Cell, at_ms: int) -> Reading:
    return whole(name, cell.number, Fraction(1), at_ms)
