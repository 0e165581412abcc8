"""Eastron SDM120, SDM230 and SDM630 on Modbus RTU.

* Input registers (function 4), float32 with the high word first, two registers a value; energy in kWh is rounded once
  to Wh. The meters take 80 registers a request at most.
* Identity: the serial number is an unsigned 32-bit value in the holding registers 0xFC00 and 0xFC01.
* The single-phase models answer in the cells of phase 1. The SDM630 gives totals of three phases (its current is the
  sum of the line currents) and the voltage of phase 1.

Source: Eastron SDM120-Modbus, SDM230-Modbus and SDM630-Modbus protocol documents (input register tables, "Serial
number" under holding registers); addresses checked against volkszaehler/mbmd by vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from gridtally_edge.drivers.driver import Driver, LineDefaults, Origin, Vector
from gridtally_edge.drivers.modbus_table import MeterTable, ModbusPort, Register, SerialCell, read_vector
from gridtally_shared.errors import ConfigError

SERIAL = SerialCell(0xFC00)
ENERGY_KWH = (0, 10_000_000)

_COMMON = (
    Register("voltage_mv", 0x0000, "V", 0, 1_000),
    Register("frequency_mhz", 0x0046, "Hz", 0, 500),
    Register("energy_import_wh", 0x0048, "kWh", *ENERGY_KWH),
    Register("energy_export_wh", 0x004A, "kWh", *ENERGY_KWH),
    Register("reactive_import_varh", 0x004C, "kvarh", *ENERGY_KWH),
)
SINGLE_PHASE = MeterTable(
    (
        *_COMMON,
        Register("current_ma", 0x0006, "A", 0, 10_000),
        Register("power_w", 0x000C, "W", -10_000_000, 10_000_000),
        Register("apparent_va", 0x0012, "VA", 0, 10_000_000),
        Register("power_factor_milli", 0x001E, "1", -1.001, 1.001),
    ),
    SERIAL,
)
SDM230_TABLE = replace(SINGLE_PHASE, registers=(*SINGLE_PHASE.registers, Register("demand_max_w", 0x0056, "W", 0, 10_000_000)))
SDM630_TABLE = MeterTable(
    (
        *_COMMON,
        Register("current_ma", 0x0030, "A", 0, 30_000),
        Register("power_w", 0x0034, "W", -30_000_000, 30_000_000),
        Register("apparent_va", 0x0038, "VA", 0, 30_000_000),
        Register("power_factor_milli", 0x003E, "1", -1.001, 1.001),
        Register("apparent_import_vah", 0x0050, "kVAh", *ENERGY_KWH),
        Register("demand_max_w", 0x0056, "W", 0, 30_000_000),
    ),
    SERIAL,
)


@dataclass(frozen=True, slots=True)
class EastronSettings:
    """`unit` is the meter's Modbus address, 1..247. `timeout_ms` runs until the answer begins."""

    unit: int
    timeout_ms: int = 500
    retries: int = 2


def _port(table: MeterTable, settings: EastronSettings) -> ModbusPort:
    if not 1 <= settings.unit <= 247:
        raise ConfigError("unit", settings.unit, "give the meter's Modbus address, 1 to 247")
    if settings.timeout_ms < 20 or settings.retries < 0:
        raise ConfigError("timeout_ms", settings.timeout_ms, "at least 20 ms, and retries 0 or more")
    return ModbusPort(table, settings.unit, settings.timeout_ms, settings.retries)


_MAPS = "register map of volkszaehler/mbmd, seeded image encoded by its packager"
_SDM120_IMAGE = (
    ("voltage_mv", "233733"),
    ("current_ma", "12270"),
    ("power_w", "13201"),
    ("apparent_va", "12936"),
    ("power_factor_milli", "327"),
    ("frequency_mhz", "49886"),
    ("energy_import_wh", "22169402"),
    ("energy_export_wh", "28851955"),
    ("reactive_import_varh", "6231805"),
)
_SDM630_IMAGE = (
    ("voltage_mv", "213701"),
    ("power_w", "-4662"),
    ("apparent_va", "4858"),
    ("power_factor_milli", "927"),
    ("frequency_mhz", "50182"),
    ("energy_import_wh", "55539410"),
    ("energy_export_wh", "90114305"),
    ("reactive_import_varh", "7362164"),
)
_SINGLE_PHASE_VECTORS = (
    Vector("seeded image", Origin.PEER, _MAPS, _SDM120_IMAGE, reference="modbus/mbmd_meter_maps.json#SDM120"),
)
_THREE_PHASE_VECTORS = (
    Vector("seeded image", Origin.PEER, _MAPS, _SDM630_IMAGE, reference="modbus/mbmd_meter_maps.json#SDM"),
    Vector(
        "phase 1 volts",
        Origin.DOCUMENT,
        "Eastron SDM630 Modbus protocol document, example of function 4",
        (("voltage_mv", "230200"),),
        data=bytes.fromhex("01040000000271cb 010404436633341b38"),
    ),
)


def _driver(name: str, title: str, table: MeterTable, baud: int, vectors: tuple[Vector, ...]) -> Driver[EastronSettings]:
    make_port: Callable[[EastronSettings], ModbusPort] = partial(_port, table)
    return Driver(
        name=name,
        protocol="modbus-rtu",
        title=title,
        document=f"Eastron {title.split()[1]} Modbus protocol document",
        settings_type=EastronSettings,
        make_port=make_port,
        line=LineDefaults(baud=baud),
        vectors=vectors,
        read_vector=partial(read_vector, table),
    )


SDM120 = _driver("eastron-sdm120", "Eastron SDM120 single-phase meter", SINGLE_PHASE, 2_400, _SINGLE_PHASE_VECTORS)
SDM230 = _driver("eastron-sdm230", "Eastron SDM230 single-phase meter", SDM230_TABLE, 9_600, _SINGLE_PHASE_VECTORS)
SDM630 = _driver("eastron-sdm630", "Eastron SDM630 three-phase meter", SDM630_TABLE, 9_600, _THREE_PHASE_VECTORS)
TABLES: dict[str, MeterTable] = {SDM120.name: SINGLE_PHASE, SDM230.name: SDM230_TABLE, SDM630.name: SDM630_TABLE}
