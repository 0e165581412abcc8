"""The quantities we carry, one row each: our name, wire code, unit, OBIS code, kind.

* `code` travels in messages and keys and never changes its meaning; new rows are only added.
* `exponent`: a stored integer times 10^exponent is the value in `unit`. A float register is rounded once, in its driver.
* kind: REGISTER only rises (cumulative), INTERVAL is the use within one interval, INSTANT is a momentary value.

* Gas, water and heat count in litres and watt-hours (exponents keep them whole); their OBIS group A is the medium.

Source: IS 15959 parts 1 and 2 (object lists), IEC 62056-6-1.
"""

from __future__ import annotations

from enum import Enum

from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass


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
    _row(5, "apparent_export_vah", "VAh", 0, Kind.REGISTER, "1.0.10.8.0.255"),
    _row(6, "reactive_export_varh", "varh", 0, Kind.REGISTER, "1.0.4.8.0.255"),
    _row(7, "reactive_q1_varh", "varh", 0, Kind.REGISTER, "1.0.5.8.0.255"),
    _row(8, "reactive_q2_varh", "varh", 0, Kind.REGISTER, "1.0.6.8.0.255"),
    _row(9, "reactive_q3_varh", "varh", 0, Kind.REGISTER, "1.0.7.8.0.255"),
    _row(10, "reactive_q4_varh", "varh", 0, Kind.REGISTER, "1.0.8.8.0.255"),
    _row(11, "interval_import_wh", "Wh", 0, Kind.INTERVAL, "1.0.1.29.0.255"),
    _row(12, "interval_export_wh", "Wh", 0, Kind.INTERVAL, "1.0.2.29.0.255"),
    _row(13, "interval_apparent_vah", "VAh", 0, Kind.INTERVAL, "1.0.9.29.0.255"),
    _row(14, "interval_voltage_mv", "V", -3, Kind.INTERVAL, "1.0.12.27.0.255"),
    _row(15, "interval_current_ma", "A", -3, Kind.INTERVAL, "1.0.11.27.0.255"),
    _row(16, "interval_apparent_export_vah", "VAh", 0, Kind.INTERVAL, "1.0.10.29.0.255"),
    _row(17, "interval_reactive_q1_varh", "varh", 0, Kind.INTERVAL, "1.0.5.29.0.255"),
    _row(18, "interval_reactive_q2_varh", "varh", 0, Kind.INTERVAL, "1.0.6.29.0.255"),
    _row(19, "interval_reactive_q3_varh", "varh", 0, Kind.INTERVAL, "1.0.7.29.0.255"),
    _row(20, "interval_reactive_q4_varh", "varh", 0, Kind.INTERVAL, "1.0.8.29.0.255"),
    _row(21, "voltage_mv", "V", -3, Kind.INSTANT, "1.0.12.7.0.255"),
    _row(22, "current_ma", "A", -3, Kind.INSTANT, "1.0.11.7.0.255"),
    _row(23, "power_w", "W", 0, Kind.INSTANT, "1.0.1.7.0.255"),
    _row(24, "apparent_va", "VA", 0, Kind.INSTANT, "1.0.9.7.0.255"),
    _row(25, "power_factor_milli", "1", -3, Kind.INSTANT, "1.0.13.7.0.255"),
    _row(26, "frequency_mhz", "Hz", -3, Kind.INSTANT, "1.0.14.7.0.255"),
    _row(27, "demand_max_w", "W", 0, Kind.INSTANT, "1.0.1.6.0.255"),
    _row(28, "demand_max_va", "VA", 0, Kind.INSTANT, "1.0.9.6.0.255"),
    _row(29, "reactive_var", "var", 0, Kind.INSTANT, "1.0.3.7.0.255"),
    _row(30, "neutral_current_ma", "A", -3, Kind.INSTANT, "1.0.91.7.0.255"),
    _row(31, "voltage_l1_mv", "V", -3, Kind.INSTANT, "1.0.32.7.0.255"),
    _row(32, "voltage_l2_mv", "V", -3, Kind.INSTANT, "1.0.52.7.0.255"),
    _row(33, "voltage_l3_mv", "V", -3, Kind.INSTANT, "1.0.72.7.0.255"),
    _row(34, "current_l1_ma", "A", -3, Kind.INSTANT, "1.0.31.7.0.255"),
    _row(35, "current_l2_ma", "A", -3, Kind.INSTANT, "1.0.51.7.0.255"),
    _row(36, "current_l3_ma", "A", -3, Kind.INSTANT, "1.0.71.7.0.255"),
    _row(37, "power_l1_w", "W", 0, Kind.INSTANT, "1.0.21.7.0.255"),
    _row(38, "power_l2_w", "W", 0, Kind.INSTANT, "1.0.41.7.0.255"),
    _row(39, "power_l3_w", "W", 0, Kind.INSTANT, "1.0.61.7.0.255"),
    _row(41, "energy_import_rate1_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.1.255"),
    _row(42, "energy_import_rate2_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.2.255"),
    _row(43, "energy_import_rate3_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.3.255"),
    _row(44, "energy_import_rate4_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.4.255"),
    _row(45, "energy_import_rate5_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.5.255"),
    _row(46, "energy_import_rate6_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.6.255"),
    _row(47, "energy_import_rate7_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.7.255"),
    _row(48, "energy_import_rate8_wh", "Wh", 0, Kind.REGISTER, "1.0.1.8.8.255"),
    _row(51, "apparent_import_rate1_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.1.255"),
    _row(52, "apparent_import_rate2_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.2.255"),
    _row(53, "apparent_import_rate3_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.3.255"),
    _row(54, "apparent_import_rate4_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.4.255"),
    _row(55, "apparent_import_rate5_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.5.255"),
    _row(56, "apparent_import_rate6_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.6.255"),
    _row(57, "apparent_import_rate7_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.7.255"),
    _row(58, "apparent_import_rate8_vah", "VAh", 0, Kind.REGISTER, "1.0.9.8.8.255"),
    _row(61, "interval_voltage_l1_mv", "V", -3, Kind.INTERVAL, "1.0.32.27.0.255"),
    _row(62, "interval_voltage_l2_mv", "V", -3, Kind.INTERVAL, "1.0.52.27.0.255"),
    _row(63, "interval_voltage_l3_mv", "V", -3, Kind.INTERVAL, "1.0.72.27.0.255"),
    _row(64, "interval_current_l1_ma", "A", -3, Kind.INTERVAL, "1.0.31.27.0.255"),
    _row(65, "interval_current_l2_ma", "A", -3, Kind.INTERVAL, "1.0.51.27.0.255"),
    _row(66, "interval_current_l3_ma", "A", -3, Kind.INTERVAL, "1.0.71.27.0.255"),
    _row(71, "power_failures", "1", 0, Kind.REGISTER, "0.0.96.7.0.255"),
    _row(72, "power_off_min", "min", 0, Kind.REGISTER, "0.0.94.91.8.255"),
    _row(73, "tamper_count", "1", 0, Kind.REGISTER, "0.0.94.91.0.255"),
    _row(74, "billing_count", "1", 0, Kind.REGISTER, "0.0.0.1.0.255"),
    _row(75, "programming_count", "1", 0, Kind.REGISTER, "0.0.96.2.0.255"),
    _row(76, "power_on_min", "min", 0, Kind.REGISTER, "0.0.94.91.14.255"),
    _row(77, "billing_power_factor_milli", "1", -3, Kind.INSTANT, "1.0.13.0.0.255"),
    _row(78, "load_side_voltage_mv", "V", -3, Kind.INSTANT, "1.0.12.7.128.255"),
    _row(81, "gas_volume_l", "m3", -3, Kind.REGISTER, "7.0.3.0.0.255"),
    _row(82, "water_volume_l", "m3", -3, Kind.REGISTER, "8.0.1.0.0.255"),
    _row(83, "heat_energy_wh", "Wh", 0, Kind.REGISTER, "6.0.1.0.0.255"),
    _row(84, "cooling_energy_wh", "Wh", 0, Kind.REGISTER, "5.0.1.0.0.255"),
    _row(85, "heat_volume_l", "m3", -3, Kind.REGISTER, "6.0.2.0.0.255"),
    _row(86, "flow_l_per_h", "m3/h", -3, Kind.INSTANT, "6.0.9.0.0.255"),
    _row(87, "heat_power_w", "W", 0, Kind.INSTANT, "6.0.8.0.0.255"),
    _row(88, "flow_temperature_mdeg", "°C", -3, Kind.INSTANT, "6.0.10.0.0.255"),
    _row(89, "return_temperature_mdeg", "°C", -3, Kind.INSTANT, "6.0.11.0.0.255"),
    _row(90, "interval_gas_l", "m3", -3, Kind.INTERVAL, "7.0.3.29.0.255"),
    _row(91, "interval_water_l", "m3", -3, Kind.INTERVAL, "8.0.1.29.0.255"),
    _row(92, "interval_heat_wh", "Wh", 0, Kind.INTERVAL, "6.0.1.29.0.255"),
    *(_row(100 + n, f"energy_export_rate{n}_wh", "Wh", 0, Kind.REGISTER, f"1.0.2.8.{n}.255") for n in range(1, 9)),
    _row(93, "voltage_thd_permille", "%", -1, Kind.INSTANT, "1.0.12.7.124.255"),
    _row(94, "voltage_sags_l1", "1", 0, Kind.REGISTER, "1.0.32.32.0.255"),
    _row(95, "voltage_sags_l2", "1", 0, Kind.REGISTER, "1.0.52.32.0.255"),
    _row(96, "voltage_sags_l3", "1", 0, Kind.REGISTER, "1.0.72.32.0.255"),
    _row(97, "voltage_swells_l1", "1", 0, Kind.REGISTER, "1.0.32.36.0.255"),
    _row(98, "voltage_swells_l2", "1", 0, Kind.REGISTER, "1.0.52.36.0.255"),
    _row(99, "voltage_swells_l3", "1", 0, Kind.REGISTER, "1.0.72.36.0.255"),
)

BY_NAME: dict[str, Quantity] = {q.name: q for q in QUANTITIES}
BY_CODE: dict[int, Quantity] = {q.code: q for q in QUANTITIES}
BY_OBIS: dict[Obis, Quantity] = {q.obis: q for q in QUANTITIES}

ENERGY_IMPORT = BY_NAME["energy_import_wh"]
INTERVAL_IMPORT = BY_NAME["interval_import_wh"]
