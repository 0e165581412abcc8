"""M-Bus records into readings: which record of a telegram is which quantity of ours. For wired and wireless meters.

* Only what the meter shows now counts: momentary function, storage 0, and no qualifier but direction and phase. Of several
  such records the first one is taken.
* Each commodity has its own rows: "Energy" of an electricity meter and of a heat meter are different quantities.
* Values are exact until the one rounding here; J and cal become Wh (1 Wh = 3600 J, 1 cal = 4.1868 J).
* A record without a true value is a reading with `METER_INVALID` and value 0, never a bare zero.
* Battery and the meter's own faults stand in the status octet of the header: checks of its own, without a moment.
* Values stored at a date (storage 1 and higher) belong to the end of that day, or to the moment the meter tells.

Source: EN 13757-3:2018; OMS specification 4, volume 2 (minimum data sets).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from gridtally_edge.drivers.model import Diagnostic, DiagnosticState, Reading
from gridtally_edge.protocols.mbus.fields import Invalid, Moment
from gridtally_edge.protocols.mbus.header import COOLING, ELECTRICITY, GAS, HEAT, WATER, StatusFlag
from gridtally_edge.protocols.mbus.records import Function, Record
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

J_PER_WH, J_PER_CAL = 3_600, Fraction("4.1868")
FACTORS: dict[str, tuple[str, Fraction]] = {
    "J": ("Wh", Fraction(1, J_PER_WH)),
    "cal": ("Wh", J_PER_CAL / J_PER_WH),
    "J/h": ("W", Fraction(1, J_PER_WH)),
    "m3/min": ("m3/h", Fraction(60)),
    "m3/s": ("m3/h", Fraction(3_600)),
    "ft3": ("m3", Fraction("0.028316846592")),
    "US gal": ("m3", Fraction("0.003785411784")),
    "US gal/min": ("m3/h", Fraction("0.22712470704")),
    "US gal/h": ("m3/h", Fraction("0.003785411784")),
}
"""Unit on the bus -> unit of our quantities, and what one is worth."""

FORWARD, BACKWARD = "forward only", "backward only"
PHASES: Final = ("phase L1", "phase L2", "phase L3")
UINT63: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Row:
    """A record of this name, unit and qualifiers (and tariff) is this quantity."""

    name: str
    unit: str
    quantity: str
    qualifiers: frozenset[str] = frozenset()
    tariff: int = 0
    subunit: int = 0


def _phases(name: str, unit: str, pattern: str) -> tuple[Row, ...]:
    return tuple(Row(name, unit, pattern.format(n), frozenset({phase})) for n, phase in enumerate(PHASES, 1))


_FLOW = (
    Row("Volume flow", "m3/h", "flow_l_per_h"),
    Row("Flow temperature", "°C", "flow_temperature_mdeg"),
    Row("Return temperature", "°C", "return_temperature_mdeg"),
)
_ELECTRICITY = (
    Row("Energy", "Wh", "energy_import_wh"),
    Row("Energy", "Wh", "energy_import_wh", frozenset({FORWARD})),
    Row("Energy", "Wh", "energy_export_wh", frozenset({BACKWARD})),
    *(Row("Energy", "Wh", f"energy_import_rate{n}_wh", tariff=n) for n in range(1, 9)),
    Row("Reactive energy", "varh", "reactive_import_varh"),
    Row("Reactive energy", "varh", "reactive_import_varh", frozenset({FORWARD})),
    Row("Reactive energy", "varh", "reactive_export_varh", frozenset({BACKWARD})),
    Row("Apparent energy", "VAh", "apparent_import_vah"),
    Row("Power", "W", "power_w"),
    Row("Apparent power", "VA", "apparent_va"),
    Row("Reactive power", "var", "reactive_var"),
    Row("Voltage", "V", "voltage_mv"),
    Row("Current", "A", "current_ma"),
    Row("Frequency", "Hz", "frequency_mhz"),
    *_phases("Voltage", "V", "voltage_l{}_mv"),
    *_phases("Current", "A", "current_l{}_ma"),
    *_phases("Power", "W", "power_l{}_w"),
)
ROWS: dict[str, tuple[Row, ...]] = {
    ELECTRICITY: _ELECTRICITY,
    GAS: (
        Row("Volume", "m3", "gas_volume_l"),
        Row("Volume", "m3", "gas_volume_l", frozenset({FORWARD})),
        Row("Volume", "m3", "gas_volume_l", frozenset({"at base conditions"})),
        _FLOW[0],
    ),
    WATER: (Row("Volume", "m3", "water_volume_l"), Row("Volume", "m3", "water_volume_l", frozenset({FORWARD})), *_FLOW[:2]),
    HEAT: (
        Row("Energy", "Wh", "heat_energy_wh"),
        Row("Energy", "Wh", "heat_energy_wh", frozenset({FORWARD})),
        Row("Energy", "Wh", "cooling_energy_wh", frozenset({BACKWARD})),
        Row("Volume", "m3", "heat_volume_l"),
        Row("Power", "W", "heat_power_w"),
        *_FLOW,
    ),
    COOLING: (
        Row("Energy", "Wh", "cooling_energy_wh"),
        Row("Volume", "m3", "heat_volume_l"),
        Row("Power", "W", "heat_power_w"),
        *_FLOW,
    ),
}
_Key = tuple[str, str, frozenset[str], int, int]
_TABLES: dict[str, dict[_Key, Row]] = {
    commodity: {(r.name, r.unit, r.qualifiers, r.tariff, r.subunit): r for r in rows} for commodity, rows in ROWS.items()
}


def readings_of(records: Iterable[Record], commodity: str, at_ms: int) -> tuple[Reading, ...]:
    """What the meter shows now. Empty for a commodity that is none."""
    found: dict[int, Reading] = {}
    for record in records:
        if record.storage == 0 and record.function in (Function.INSTANT, Function.ERROR_STATE):
            reading = _reading(record, commodity, at_ms)
            if reading is not None and _is_better(reading, found.get(reading.quantity)):
                found[reading.quantity] = reading
    return tuple(found.values())


def checks_of(flags: StatusFlag) -> tuple[Diagnostic, ...]:
    """What the status octet says of the meter itself. It tells no moment."""
    faults = ((StatusFlag.PERMANENT_ERROR, "permanent error"), (StatusFlag.TEMPORARY_ERROR, "temporary error"))
    trouble = next((text for flag, text in faults if flag in flags), "")
    return (
        Diagnostic("battery", _state(StatusFlag.POWER_LOW in flags), 0),
        Diagnostic("device", _state(bool(trouble)), 0, trouble),
    )


def _state(failed: bool) -> DiagnosticState:
    return DiagnosticState.FAILED if failed else DiagnosticState.PASSED


def _is_better(new: Reading, old: Reading | None) -> bool:
    return old is None or bool(old.quality) > bool(new.quality)


def stored_readings(records: Iterable[Record], commodity: str, utc_offset_min: int) -> tuple[Reading, ...]:
    """Registers the meter stored at its dates, at those moments."""
    listed = tuple(records)
    moments = dict(_stored_moments(listed, utc_offset_min))
    stored = (r for r in listed if r.storage in moments and r.function is Function.INSTANT)
    readings = (_reading(r, commodity, moments[r.storage]) for r in stored)
    return tuple(r for r in readings if r is not None)


def _stored_moments(records: tuple[Record, ...], utc_offset_min: int) -> Iterator[tuple[int, int]]:
    for record in records:
        value = record.value
        if record.storage and record.name == "Time point" and not record.named.qualifiers and isinstance(value, Moment):
            moment_ms = utc_ms(value, utc_offset_min, end_of_day=True)
            if moment_ms is not None:
                yield record.storage, moment_ms


def clock_of(records: Iterable[Record], utc_offset_min: int) -> int | None:
    """The meter's own clock as UTC milliseconds, None where it tells none."""
    for record in records:
        value = record.value
        if record.storage == 0 and record.name == "Time point" and isinstance(value, Moment) and not record.named.qualifiers:
            return utc_ms(value, utc_offset_min)
    return None


def utc_ms(moment: Moment, utc_offset_min: int, end_of_day: bool = False) -> int | None:
    """A local moment of the meter in UTC milliseconds; None for a time without a date, or a day that is none."""
    if "-" not in moment.text:
        return None
    try:
        local = datetime.fromisoformat(moment.text).replace(tzinfo=UTC)
    except ValueError:  # 31 April
        return None
    if end_of_day and "T" not in moment.text:
        local += timedelta(days=1)
    offset_min = utc_offset_min + (60 if moment.summer else 0)
    return int(local.timestamp()) * 1_000 - offset_min * 60_000


def text_of(records: Iterable[Record], name: str) -> str:
    """A record without number meaning (firmware version ...) as text, "" where there is none."""
    for record in records:
        if record.name == name and record.is_valid:
            value = record.value
            return f"{value:f}" if isinstance(value, Decimal) else value if isinstance(value, str) else ""
    return ""


def _reading(record: Record, commodity: str, at_ms: int) -> Reading | None:
    unit, factor = FACTORS.get(record.unit, (record.unit, Fraction(1)))
    key = (record.name, unit, frozenset(record.named.qualifiers), record.tariff, record.subunit)
    row = _TABLES.get(commodity, {}).get(key)
    if row is None or isinstance(record.raw, Moment):
        return None
    quantity = BY_NAME[row.quantity]
    value = _integer(record, factor, quantity.exponent) if record.is_valid else None
    if value is None:
        return Reading(quantity.code, at_ms, 0, Quality.METER_INVALID)
    return Reading(quantity.code, at_ms, value)


def _integer(record: Record, factor: Fraction, exponent: int) -> int | None:
    number = record.number
    if number is None:
        return None
    value = round(Fraction(number) * factor / Fraction(10) ** exponent)
    return value if -UINT63 <= value < UINT63 else None


def as_text(record: Record) -> str:
    """One record's value for people."""
    value = record.value
    if isinstance(value, Invalid):
        return f"invalid ({value.why})"
    if isinstance(value, Moment):
        return value.text + (" summer time" if value.summer else "")
    return format(value, "f") if isinstance(value, Decimal) else value.hex(" ") if isinstance(value, bytes) else str(value)
