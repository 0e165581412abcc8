"""The shared M-Bus frames and the reading of them by libmbus (normalised XML), as plain rows."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from support.data import data_path

FUNCTIONS = {
    "Instantaneous value": "INSTANT",
    "Actual value": "INSTANT",
    "Maximum value": "MAXIMUM",
    "Minimum value": "MINIMUM",
    "Value during error state": "ERROR_STATE",
}
TAIL_FUNCTIONS = ("Manufacturer specific", "More records follow")
NAMES = {
    "Fabrication No": "Fabrication number",
    "Units for H.C.A.": "Heat cost units",
    "H.C.A.": "Heat cost units",
    "Model / Version": "Model or version",
    "Digital Input": "Digital input",
    "Actuality Duration": "Actuality duration",
    "Averaging Duration": "Averaging duration",
    "Time point (date & time)": "Time point",
    "Time point (date)": "Time point",
}
UNITS = {"m^3": "m3", "m^3/h": "m3/h", "-": "", "Units for H.C.A.": "", "Reserved": "", "Â°C": "°C"}

LARGE_UNITS = {"kWh": ("Energy", "Wh", 1000), "l": ("Volume", "m3", Decimal("0.001"))}
"""The fixed structure is not normalised in the XML."""


@dataclass(frozen=True, slots=True)
class Row:
    function: str
    storage: int
    tariff: int
    subunit: int
    name: str
    unit: str
    value: str


@dataclass(frozen=True, slots=True)
class Expected:
    """`rows` are the data records; `tail` the maker's own octets in hexadecimal digits, None where there are none."""

    number: str
    maker: str
    version: int
    status: int
    rows: tuple[Row, ...]
    tail: str | None
    more_follow: bool


def frames() -> list[Path]:
    return sorted(data_path("mbus_wired/frames").glob("*.hex"))


def bad_frames() -> list[Path]:
    return sorted(data_path("mbus_wired/error-frames").glob("*.hex"))


def octets(path: Path) -> bytes:
    return bytes.fromhex(path.read_text())


def expected(path: Path) -> Expected:
    root = ET.fromstring(_xml(path))
    slave = root.find("SlaveInformation")
    assert slave is not None
    records = root.findall("DataRecord")
    tails = [r for r in records if _text(r, "Function") in TAIL_FUNCTIONS]
    rows = tuple(_row(r) for r in records if r not in tails)
    return Expected(
        _text(slave, "Id"),
        _text(slave, "Manufacturer"),
        int(_text(slave, "Version") or 0),
        int(_text(slave, "Status"), 16),
        rows,
        _text(tails[0], "Value").replace(" ", "") if tails else None,
        bool(tails) and _text(tails[0], "Function") == "More records follow",
    )


def _xml(path: Path) -> bytes:
    return path.with_name(path.name.removesuffix(".hex") + ".norm.xml").read_bytes()


def _row(record: ET.Element) -> Row:
    name, unit = _text(record, "Quantity"), _text(record, "Unit")
    numbers = (int(_text(record, tag) or 0) for tag in ("StorageNumber", "Tariff", "Device"))
    if unit in LARGE_UNITS:
        name, unit, factor = LARGE_UNITS[unit]
        return Row(FUNCTIONS[_text(record, "Function")], *numbers, name, unit, str(factor * Decimal(_text(record, "Value"))))
    return Row(FUNCTIONS[_text(record, "Function")], *numbers, NAMES.get(name, name), UNITS.get(unit, unit), _text(record, "Value"))


def _text(element: ET.Element, tag: str) -> str:
    return element.findtext(tag) or ""
