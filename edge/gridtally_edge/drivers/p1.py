"""A smart meter that sends P1 telegrams by itself every 1 to 10 seconds, and the meters behind it.

* Channel 0 is the electricity meter. Channels 1 to 4 are gas, water or heat meters it reads over M-Bus: each is a meter of
  its own here, with its own serial number, so that the data of several utilities stay apart.
* Electricity values are taken when they come; those of a channel carry the time at which that meter was read.
* A telegram with a wrong CRC is a fault and gives no value.
* Times are local with S or W for summer and standard time; old meters leave that out, then the value is CLOCK_UNCERTAIN.

Source: DSMR 5.0.2 and 2.2+ P1 companion standards; e-MUCS P1 1.7.1.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.driver import Driver, LineDefaults, Origin, Vector
from gridtally_edge.drivers.mbus import named_values
from gridtally_edge.drivers.model import Pushed, Reading
from gridtally_edge.drivers.obis_text_values import UNITS, readings_of, whole
from gridtally_edge.protocols.iec62056_21.datasets import Cell, DataSet
from gridtally_edge.protocols.iec62056_21.messages import read_telegram
from gridtally_edge.protocols.iec62056_21.p1 import CHANNELS, equipment, split
from gridtally_edge.protocols.iec62056_21.profile import stamp_ms
from gridtally_edge.protocols.mbus.header import COMMODITIES, COOLING, ELECTRICITY, GAS, HEAT, WATER
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

DEVICE_TYPE: Final = (24, 1, 0)
VALUES: Final = ((24, 2, 1), (24, 2, 3))
OLD_VALUE: Final = (24, 3, 0)
IDENTIFIERS: Final = ((96, 1, 0), (96, 1, 1), (96, 1, 2), (96, 1, 255), (0, 0, 0))
QUANTITY_OF: dict[str, str] = {
    GAS: "gas_volume_l",
    WATER: "water_volume_l",
    HEAT: "heat_energy_wh",
    COOLING: "cooling_energy_wh",
    ELECTRICITY: "energy_import_wh",
}


@dataclass(frozen=True, slots=True)
class P1Settings:
    """`channel` 0 is the electricity meter, 1 to 4 a meter behind it. `utc_offset_min` is the zone's standard time."""

    channel: int = 0
    utc_offset_min: int = 60


def _port(settings: P1Settings) -> BasePort:
    if not 0 <= settings.channel <= CHANNELS:
        raise ConfigError("channel", settings.channel, f"write 0 for the electricity meter, or 1 to {CHANNELS}")
    return BasePort()


def hears(settings: P1Settings, data: bytes, at_ms: int) -> Pushed | None:
    """What a telegram (whole, or the piece of one channel) says of this meter. Raises MeterFault for a damaged one."""
    telegram = next((piece.telegram for piece in split(data) if piece.channel == settings.channel), None)
    if telegram is None:
        return None
    sets = read_telegram(telegram).data_sets
    return _channel(settings, sets, at_ms) if settings.channel else _electricity(sets, at_ms)


def _electricity(sets: tuple[DataSet, ...], at_ms: int) -> Pushed | None:
    serial, readings = _identifier(sets), readings_of(sets, at_ms)
    return Pushed(serial, "", None, readings) if serial and readings else None


def _channel(settings: P1Settings, sets: tuple[DataSet, ...], at_ms: int) -> Pushed | None:
    own = tuple(s for s in sets if s.address.startswith(f"0-{settings.channel}:"))
    reading = _value(settings, own)
    serial = _identifier(own)
    return Pushed(serial, f"0.{settings.channel}.24.2.1.255", reading.at_ms, (reading,)) if reading and serial else None


def _value(settings: P1Settings, sets: tuple[DataSet, ...]) -> Reading | None:
    by_key = {s.obis.value[2:5]: s for s in sets if s.obis is not None}
    kind = by_key.get(bytes(DEVICE_TYPE))
    commodity = COMMODITIES.get(int(kind.first.value), "") if kind and kind.first.value.isdecimal() else ""
    name = QUANTITY_OF.get(commodity)
    row = next((by_key[bytes(key)] for key in VALUES if bytes(key) in by_key), None)
    row = row or _modern(by_key.get(bytes(OLD_VALUE)))
    if name is None or row is None or len(row.cells) < 2:
        return None
    stamp, cell = row.cells[0].value, row.cells[1]
    unit, factor = UNITS.get(cell.unit.lower(), ("", Fraction(1)))
    if unit != BY_NAME[name].unit:
        return None
    reading = whole(name, cell.number, factor, stamp_ms(stamp, settings.utc_offset_min))
    return reading if stamp[-1:] in ("S", "W") else replace(reading, quality=reading.quality | Quality.CLOCK_UNCERTAIN)


def _modern(old: DataSet | None) -> DataSet | None:
    """The gas line before P1 version 4, (time)(status)(minutes)(n)(code)(unit)(value), as (time)(value*unit)."""
    if old is None or len(old.cells) < 7:
        return None
    return DataSet(old.address, (old.cells[0], Cell(old.cells[6].value, old.cells[5].value)))


def _identifier(sets: tuple[DataSet, ...]) -> str:
    by_key = {s.obis.value[2:5]: s for s in sets if s.obis is not None}
    named = (equipment(by_key[bytes(key)]) for key in IDENTIFIERS if bytes(key) in by_key)
    return next((text for text in named if text), "")


def read_vector(data: bytes) -> tuple[tuple[str, str], ...]:
    """All meters of a whole telegram, as (quantity, value)."""
    found: list[tuple[str, str]] = []
    for piece in split(data):
        pushed = hears(P1Settings(piece.channel), data, 0)
        found += named_values(pushed.readings) if pushed else ()
    if not found:
        raise MeterFault("the telegram has no value that is known here")
    return tuple(found)


_DSMR = "test telegrams of dsmr_parser, values as it reads them"
DRIVER: Driver[P1Settings] = Driver(
    name="p1",
    protocol="p1",
    title="Smart meter with a P1 port (DSMR, e-MUCS)",
    document="DSMR 5.0.2 P1 companion standard",
    settings_type=P1Settings,
    make_port=_port,
    line=LineDefaults(baud=115_200),
    vectors=(
        Vector(
            "DSMR 5 with gas",
            Origin.CAPTURED,
            _DSMR,
            (
                ("energy_import_rate1_wh", "4426"),
                ("energy_import_rate2_wh", "2399"),
                ("energy_import_wh", "6825"),
                ("energy_export_wh", "2444"),
                ("energy_export_rate1_wh", "2444"),
                ("energy_export_rate2_wh", "0"),
                ("power_w", "244"),
                ("voltage_l1_mv", "230000"),
                ("voltage_l2_mv", "230000"),
                ("voltage_l3_mv", "229000"),
                ("current_l1_ma", "480"),
                ("current_l2_ma", "440"),
                ("current_l3_ma", "860"),
                ("power_l1_w", "70"),
                ("power_l2_w", "32"),
                ("power_l3_w", "142"),
                ("power_failures", "13"),
                *((f"voltage_{kind}_l{phase}", "0") for kind in ("sags", "swells") for phase in (1, 2, 3)),
                ("gas_volume_l", "107"),
            ),
            reference="iec62056_21/p1_d0_telegrams.json#dsmr_parser/TELEGRAM_V5",
        ),
    ),
    read_vector=read_vector,
    hears=hears,
)
