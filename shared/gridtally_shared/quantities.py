"""The quantities we carry, one row each: our name, wire code, unit, OBIS code, kind.

* `code` travels in messages and keys and never changes its meaning; new rows are only added.
* `exponent`: a stored integer times 10^exponent is the value in `unit`. A float register is rounded once, in its driver.
* kind: REGISTER only rises (cumulative), INTERVAL is the use within one interval, INSTANT is a momentary value.

Source: IS 15959 parts 1 and 2 (object lists), IEC 62056-6-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gridtally_shared.obis import Obis


class Kind(Enum):
    REGISTER = "register"
    INTERVAL = "interval"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True)
class Quantity:
    code: int
    name: str
    unit: str
    exponent: int
    kind: Kind
    obis: Obis


def _row(code: int, name: str, unit: str, exponent: int, kind: Kind, obis: str) -> Quantity:
    return Quantity(code, name, unit, exponent, kind, Obis.of(obis))


QUANTITIES: tuple[Quantity, ...] = (
    _row(1, "energy_import_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.0.255"),
    _row(2, "energy_export_wh", "Wh", 0, Kind.REGISTER, "1.0.2.8.0.255"),
    _row(3, "apparent_import_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.0.255"),
    _row(4, "reactive_import_varh", "varh", 0, Kind.REGISTER, "1.0.3.8.0.255"),
    _row(11, "interval_import_wh", "Wh", 0, Kind.INTERVAL, "1.0.1.29.0.255"),
    _row(12, "interval_export_wh", "Wh", 0, Kind.INTERVAL, "1.0.2.29.0.255"),
    _row(13, "interval_apparent_vah", "VAh", 0, Kind.INTERVAL, "1.0.9.29.0.255"),
    _row(14, "interval_voltage_mv", "V", -3, Kind.INTERVAL, "1.0.12.27.0.255"),
    _row(15, "interval_current_ma", "A", -3, Kind.INTERVAL, "1.0.11.27.0.255"),
    _row(21, "voltage_mv", "V", -3, Kind.INSTANT, "1.0.12.7.0.255"),
    _row(22, "current_ma", "A", -3, Kind.INSTANT, "1.0.11.7.0.255"),
    _row(23, "power_w", "W", 0, Kind.INSTANT, "1.0.1.7.0.255"),
    _row(24, "apparent_va", "VA", 0, Kind.INSTANT, "1.0.9.7.0.255"),
    _row(25, "power_factor_milli", "1", -3, Kind.INSTANT, "1.0.13.7.0.255"),
    _row(26, "frequency_mhz", "Hz", -3, Kind.INSTANT, "1.0.14.7.0.255"),
    _row(27, "demand_max_w", "W", 0, Kind.INSTANT, "1.0.1.6.0.255"),
)

BY_NAME: dict[str, Quantity] = {q.name: q for q in QUANTITIES}
BY_CODE: dict[int, Quantity] = {q.code: q for q in QUANTITIES}
BY_OBIS: dict[Obis, Quantity] = {q.obis: q for q in QUANTITIES}

ENERGY_IMPORT = BY_NAME["energy_import_wh"]
INTERVAL_IMPORT = BY_NAME["interval_import_wh"]
