"""What an M-Bus value is: the code of its value information block in words, with unit and power of ten.

* The tables are the code ranges of EN 13757-3: the primary VIF, the two extension tables behind FB and FD, and the
  combinable VIFEs. A row covers `1 << width` codes; the low bits of the code choose the exponent or the time unit.
* Units are reduced to one per dimension (Wh, J, m3, W, m3/h, s ...), so that a value is an integer times 10^exponent, or
  times a whole number of seconds.
* A code that no row knows keeps its number in the name; its value is kept and means nothing to us.

Source: EN 13757-3:2018, clause 6.4 and annexes (VIF tables); M-Bus documentation 4.8, chapter 8.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum

from gridtally_shared.records import dataclass


class Form(Enum):
    """How the raw integer becomes the value."""

    NUMBER = "number"
    DATE = "date"
    DATE_TIME = "date and time"


@dataclass(frozen=True, slots=True)
class Meaning:
    """`value = raw * factor * 10**exponent` in `unit`."""

    name: str
    unit: str = ""
    exponent: int = 0
    factor: int = 1
    form: Form = Form.NUMBER


@dataclass(frozen=True, slots=True)
class _Range:
    first: int
    width: int
    name: str
    unit: str
    exponent: int
    is_duration: bool = False
    form: Form = Form.NUMBER

    def meaning(self, code: int) -> Meaning:
        step = code - self.first
        if self.is_duration:
            return Meaning(self.name, self.unit, 0, SECONDS[step + self.exponent])
        return Meaning(self.name, self.unit, self.exponent + step, 1, self.form)


SECONDS = (1, 60, 3_600, 86_400)
TEXT_VIF, ANY_VIF, MAKER_VIF = 0x7C, 0x7E, 0x7F
EXTENSION_FB, EXTENSION_FD = 0x7B, 0x7D
MAKER = "Manufacturer specific"


def _table(*rows: _Range) -> dict[int, Meaning]:
    return {code: row.meaning(code) for row in rows for code in range(row.first, row.first + (1 << row.width))}


PRIMARY = _table(
    _Range(0x00, 3, "Energy", "Wh", -3),
    _Range(0x08, 3, "Energy", "J", 0),
    _Range(0x10, 3, "Volume", "m3", -6),
    _Range(0x18, 3, "Mass", "kg", -3),
    _Range(0x20, 2, "On time", "s", 0, is_duration=True),
    _Range(0x24, 2, "Operating time", "s", 0, is_duration=True),
    _Range(0x28, 3, "Power", "W", -3),
    _Range(0x30, 3, "Power", "J/h", 0),
    _Range(0x38, 3, "Volume flow", "m3/h", -6),
    _Range(0x40, 3, "Volume flow", "m3/min", -7),
    _Range(0x48, 3, "Volume flow", "m3/s", -9),
    _Range(0x50, 3, "Mass flow", "kg/h", -3),
    _Range(0x58, 2, "Flow temperature", "°C", -3),
    _Range(0x5C, 2, "Return temperature", "°C", -3),
    _Range(0x60, 2, "Temperature difference", "K", -3),
    _Range(0x64, 2, "External temperature", "°C", -3),
    _Range(0x68, 2, "Pressure", "bar", -3),
    _Range(0x6C, 0, "Time point", "", 0, form=Form.DATE),
    _Range(0x6D, 0, "Time point", "", 0, form=Form.DATE_TIME),
    _Range(0x6E, 0, "Heat cost units", "", 0),
    _Range(0x70, 2, "Averaging duration", "s", 0, is_duration=True),
    _Range(0x74, 2, "Actuality duration", "s", 0, is_duration=True),
    _Range(0x78, 0, "Fabrication number", "", 0),
    _Range(0x79, 0, "Enhanced identification", "", 0),
    _Range(0x7A, 0, "Bus address", "", 0),
    _Range(ANY_VIF, 0, "Any value", "", 0),
    _Range(MAKER_VIF, 0, MAKER, "", 0),
)

FB = _table(
    _Range(0x00, 1, "Energy", "Wh", 5),
    _Range(0x02, 1, "Reactive energy", "varh", 3),
    _Range(0x04, 1, "Apparent energy", "VAh", 3),
    _Range(0x08, 1, "Energy", "J", 8),
    _Range(0x0C, 2, "Energy", "cal", 5),
    _Range(0x10, 1, "Volume", "m3", 2),
    _Range(0x14, 2, "Reactive power", "var", 0),
    _Range(0x18, 1, "Mass", "kg", 5),
    _Range(0x1A, 1, "Relative humidity", "%", -1),
    _Range(0x20, 0, "Volume", "ft3", 0),
    _Range(0x21, 0, "Volume", "ft3", -1),
    _Range(0x22, 1, "Volume", "US gal", -1),
    _Range(0x24, 0, "Volume flow", "US gal/min", -3),
    _Range(0x25, 0, "Volume flow", "US gal/min", 0),
    _Range(0x26, 0, "Volume flow", "US gal/h", 0),
    _Range(0x28, 1, "Power", "W", 5),
    _Range(0x2A, 0, "Phase angle voltage to voltage", "°", -1),
    _Range(0x2B, 0, "Phase angle voltage to current", "°", -1),
    _Range(0x2C, 2, "Frequency", "Hz", -3),
    _Range(0x30, 1, "Power", "J/h", 8),
    _Range(0x34, 2, "Apparent power", "VA", 0),
    _Range(0x58, 2, "Flow temperature", "°F", -3),
    _Range(0x5C, 2, "Return temperature", "°F", -3),
    _Range(0x60, 2, "Temperature difference", "°F", -3),
    _Range(0x64, 2, "External temperature", "°F", -3),
    _Range(0x70, 2, "Cold or warm temperature limit", "°F", -3),
    _Range(0x74, 2, "Cold or warm temperature limit", "°C", -3),
    _Range(0x78, 3, "Cumulative count of maximum power", "W", -3),
)

FD = _table(
    _Range(0x00, 2, "Credit", "currency", -3),
    _Range(0x04, 2, "Debit", "currency", -3),
    *(
        _Range(0x08 + n, 0, name, "", 0)
        for n, name in enumerate(
            (
                "Access number", "Device type", "Manufacturer", "Parameter set identification", "Model or version",
                "Hardware version", "Firmware version", "Software version", "Customer location", "Customer",
                "Access code of the user", "Access code of the operator", "Access code of the system operator",
                "Access code of the developer", "Password", "Error flags", "Error mask", "Security key",
                "Digital output", "Digital input", "Baud rate", "Response delay time", "Retry", "Remote control",
                "First storage number", "Last storage number", "Size of a storage block", "Tariff and subunit descriptor",
            )
        )
    ),
    _Range(0x24, 2, "Storage interval", "s", 0, is_duration=True),
    _Range(0x28, 0, "Storage interval", "months", 0),
    _Range(0x29, 0, "Storage interval", "years", 0),
    _Range(0x2A, 0, "Operator specific data", "", 0),
    _Range(0x2B, 0, "Time point second", "s", 0),
    _Range(0x2C, 2, "Duration since last readout", "s", 0, is_duration=True),
    _Range(0x30, 0, "Start of tariff", "", 0, form=Form.DATE_TIME),
    _Range(0x31, 0, "Duration of tariff", "s", 1, is_duration=True),
    _Range(0x32, 0, "Duration of tariff", "s", 2, is_duration=True),
    _Range(0x33, 0, "Duration of tariff", "s", 3, is_duration=True),
    _Range(0x34, 2, "Period of tariff", "s", 0, is_duration=True),
    _Range(0x38, 0, "Period of tariff", "months", 0),
    _Range(0x39, 0, "Period of tariff", "years", 0),
    _Range(0x3A, 0, "Number without dimension", "", 0),
    _Range(0x3B, 0, "Container of wireless M-Bus data", "", 0),
    _Range(0x3C, 2, "Period of transmissions", "s", 0, is_duration=True),
    _Range(0x40, 4, "Voltage", "V", -9),
    _Range(0x50, 4, "Current", "A", -12),
    *(
        _Range(0x60 + n, 0, name, "", 0)
        for n, name in enumerate(
            (
                "Reset counter", "Cumulation counter", "Control signal", "Day of the week", "Week number",
                "Time point of day change", "State of parameter activation", "Special supplier information",
            )
        )
    ),
    _Range(0x68, 0, "Duration since last cumulation", "s", 2, is_duration=True),
    _Range(0x69, 0, "Duration since last cumulation", "s", 3, is_duration=True),
    _Range(0x6A, 0, "Duration since last cumulation", "months", 0),
    _Range(0x6B, 0, "Duration since last cumulation", "years", 0),
    _Range(0x6C, 0, "Operating time of the battery", "s", 2, is_duration=True),
    _Range(0x6D, 0, "Operating time of the battery", "s", 3, is_duration=True),
    _Range(0x6E, 0, "Operating time of the battery", "months", 0),
    _Range(0x6F, 0, "Operating time of the battery", "years", 0),
    _Range(0x70, 0, "Battery change", "", 0, form=Form.DATE_TIME),
    _Range(0x71, 0, "Radio level", "dBm", 0),
    _Range(0x72, 0, "Daylight saving", "", 0),
    _Range(0x73, 0, "Listening window", "", 0),
    _Range(0x74, 0, "Remaining battery life", "s", 3, is_duration=True),
    _Range(0x75, 0, "Times the meter was stopped", "", 0),
    _Range(0x76, 0, "Container of a maker's protocol", "", 0),
)  # fmt: skip

EXTENSIONS: dict[int, dict[int, Meaning]] = {EXTENSION_FB: FB, EXTENSION_FD: FD}

RECORD_ERRORS: dict[int, str] = {
    0x01: "too many DIFEs",
    0x02: "storage number not implemented",
    0x03: "unit number not implemented",
    0x04: "tariff number not implemented",
    0x05: "function not implemented",
    0x06: "data class not implemented",
    0x07: "data size not implemented",
    0x0B: "too many VIFEs",
    0x0C: "illegal VIF group",
    0x0D: "illegal VIF exponent",
    0x0E: "VIF does not fit DIF",
    0x0F: "action not implemented",
    0x15: "no data available",
    0x16: "data overflow",
    0x17: "data underflow",
    0x18: "data error",
    0x1C: "premature end of record",
}

QUALIFIERS: dict[int, str] = {
    0x20: "per second",
    0x21: "per minute",
    0x22: "per hour",
    0x23: "per day",
    0x24: "per week",
    0x25: "per month",
    0x26: "per year",
    0x27: "per revolution",
    0x28: "per pulse on input 0",
    0x29: "per pulse on input 1",
    0x2A: "per pulse on output 0",
    0x2B: "per pulse on output 1",
    0x2C: "per l",
    0x2D: "per m3",
    0x2E: "per kg",
    0x2F: "per K",
    0x30: "per kWh",
    0x31: "per GJ",
    0x32: "per kW",
    0x33: "per K l",
    0x34: "per V",
    0x35: "per A",
    0x36: "times s",
    0x37: "times s/V",
    0x38: "times s/A",
    0x39: "start of",
    0x3A: "uncorrected",
    0x3B: "forward only",
    0x3C: "backward only",
    0x3D: "in other than metric units",
    0x3E: "at base conditions",
    0x3F: "OBIS declaration",
    0x7E: "future value",
    **{
        code: f"{('begin', 'end')[code >> 0 & 1]} of {('first', 'last')[code >> 2 & 1]} {('lower', 'upper')[code >> 3 & 1]} limit exceed"
        for code in (0x42, 0x43, 0x46, 0x47, 0x4A, 0x4B, 0x4E, 0x4F)
    },
    0x40: "lower limit",
    0x48: "upper limit",
    0x41: "exceeds of the lower limit",
    0x49: "exceeds of the upper limit",
    **dict.fromkeys(range(80, 96), "duration of limit exceed"),
    **dict.fromkeys(range(96, 104), "duration of the event"),
    **dict.fromkeys((104, 108), "value during limit exceed"),
    **dict.fromkeys((106, 107, 110, 111), "date of the event"),
}
DATED_QUALIFIERS = frozenset({0x39, 0x42, 0x43, 0x46, 0x47, 0x4A, 0x4B, 0x4E, 0x4F, 0x6A, 0x6B, 0x6E, 0x6F})

PHASES: dict[int, str] = {
    0x01: "phase L1",
    0x02: "phase L2",
    0x03: "phase L3",
    0x04: "neutral",
    0x05: "L1 to L2",
    0x06: "L2 to L3",
    0x07: "L3 to L1",
    0x08: "quadrant 1",
    0x09: "quadrant 2",
    0x0A: "quadrant 3",
    0x0B: "quadrant 4",
    0x0C: "import less export",
    0x10: "absolute sum of both directions",
}
"""VIFEs of the second table, behind FC."""

TO_SECOND_TABLE, THOUSANDFOLD, MAKER_VIFES = 0x7C, 0x7D, 0x7F


@dataclass(frozen=True, slots=True)
class Named:
    """A whole value information block, read."""

    meaning: Meaning
    qualifiers: tuple[str, ...] = ()
    error: str = ""


def name_value(vif: int, vifes: bytes, text: str = "") -> Named:
    """The meaning of a VIF (with or without its extension bit), its VIFEs and the text of a text VIF."""
    code = vif & 0x7F
    if code in EXTENSIONS:
        if not vifes:
            return Named(Meaning(f"VIF {vif:02X} without its extension"))
        meaning = EXTENSIONS[code].get(vifes[0] & 0x7F, Meaning(f"Reserved {vif:02X} {vifes[0]:02X}"))
        return _qualified(meaning, vifes[1:])
    if code == TEXT_VIF:
        return _qualified(Meaning(text), vifes)
    if code == MAKER_VIF:
        return Named(PRIMARY[code], tuple(f"{b:02X}" for b in vifes))
    return _qualified(PRIMARY.get(code, Meaning(f"Reserved {vif:02X}")), vifes)


def _qualified(meaning: Meaning, vifes: Iterable[int]) -> Named:
    qualifiers: list[str] = []
    error = ""
    table = QUALIFIERS
    maker = False
    for code in (vife & 0x7F for vife in vifes):
        if maker or table is PHASES:
            qualifiers.append(f"maker's {code:02X}" if maker else PHASES.get(code, f"FC {code:02X}"))
            table = QUALIFIERS
        elif code < 0x20:
            error = RECORD_ERRORS.get(code, f"error {code:02X}" if code else "") or error
        elif code == TO_SECOND_TABLE:
            table = PHASES
        elif code == MAKER_VIFES:
            maker = True
        elif code == THOUSANDFOLD or 0x70 <= code <= 0x77:
            meaning = replace(meaning, exponent=meaning.exponent + (3 if code == THOUSANDFOLD else (code & 7) - 6))
        else:
            qualifiers.append(QUALIFIERS.get(code, f"VIFE {code:02X}"))
            meaning = replace(meaning, form=Form.DATE_TIME) if code in DATED_QUALIFIERS else meaning
    return Named(meaning, tuple(qualifiers), error)
