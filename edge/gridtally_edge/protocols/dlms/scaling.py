"""Scaler and unit of a COSEM register (IEC 62056-6-2, class 3, attribute 3), applied exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

UNITS: Final = {
    6: "min", 7: "s", 8: "°", 9: "°C", 10: "currency", 13: "m³", 14: "m³", 25: "J", 27: "W", 28: "VA", 29: "var", 30: "Wh", 31: "VAh",
    32: "varh", 33: "A", 34: "C", 35: "V", 38: "Ω", 44: "Hz", 45: "1/Wh", 56: "%", 70: "dB", 255: "1",
}  # fmt: skip
"""Unit codes of IEC 62056-6-2, table 4, as far as meters of ours use them. 255 is a plain number."""

_LARGEST: Final = 30


@dataclass(frozen=True, slots=True)
class ScalerUnit:
    """The value is the number times 10^scaler in this unit."""

    scaler: int
    unit: int

    @property
    def unit_text(self) -> str:
        return UNITS.get(self.unit, f"unit {self.unit}")


def scaler_unit_of(data: Data) -> ScalerUnit:
    """A scaler_unit structure. Raises MeterFault for anything else, and for a scaler no meter can mean."""
    parts = axdr.items_of(data)
    if len(parts) != 2:
        raise MeterFault("a scaler_unit has two parts")
    scaler, unit = axdr.integer_of(parts[0]), axdr.integer_of(parts[1])
    if abs(scaler) > _LARGEST:
        raise MeterFault(f"a scaler of {scaler} cannot be meant")
    return ScalerUnit(scaler, unit)


def scaled(data: Data, scaler: int) -> int | Decimal:
    """The exact number in the meter's unit: an int where the scaler leaves it whole, else a Decimal."""
    number = axdr.number_of(data)
    if isinstance(number, int) and scaler >= 0:
        return int(number * 10**scaler)
    return Decimal(number).scaleb(scaler)
