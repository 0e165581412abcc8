"""A CSV file as lines of cells, and what the names of its columns say. Shared by the long and the wide form.

* The separator is that of the header: comma, semicolon or tab. UTF-8, with or without a mark at the front.
* A column is energy by the unit in its name: `kwh`, `export_kwh`, `general_supply_kwh`, `Usage (kWh)`. `value`, `usage`, `energy` have
  their unit in a column `unit`, or are told it (`--unit`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from gridtally_cloud.digits import whole
from gridtally_cloud.exchange.record import Asked, Clock, refused
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES, QUANTITY_OF, UNITS, Unit
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

SEPARATORS = ",;\t"
_EXPORT = re.compile(r"export|generat|inject|feed_?in|returned|produc|solar")
_TIME = re.compile(r"^(?:start|time|timestamp|datetime|date_time|read(?:ing)?_(?:date)?time|interval_start|hour_beginning|at|start_time)"
                   r"(_utc|_standard_time|_local)?$")  # fmt: skip
_END = re.compile(r"^(?:end|interval_end|end_time)(_utc|_standard_time|_local)?$")
_PLAIN_VALUE = frozenset({"value", "usage", "consumption", "energy", "reading", "import", "quantity_value"})
ALL_FLAGS = sum(Quality)
_HABIT = {"": None, "_utc": Clock.UTC, "_standard_time": Clock.STANDARD, "_local": Clock.LOCAL}
POINT_NAMES = frozenset({"usage_point", "esiid", "esi_id", "nmi", "meter", "meter_id", "usage_point_id", "point"})

FLAGS: dict[str, int] = {
    "": Quality.OK, "a": Quality.OK, "actual": Quality.OK, "ok": Quality.OK, "e": Quality.ESTIMATED, "estimated": Quality.ESTIMATED,
    "missing": Quality.MISSING,
}  # fmt: skip
"""Words for quality beside the number of flags."""


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """`unit` None: it stands in the column `unit` of each row."""

    place: int
    name: str
    quantity: str
    unit: Unit | None


@dataclass(frozen=True, slots=True)
class TimeColumn:
    place: int
    clock: Clock | None


def text_of(data: bytes) -> str:
    """Raises ContractError for what is no UTF-8 text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(data.count(b"\n", 0, error.start) + 1, "text", "", "this is not UTF-8 text") from None
    if "\0" in text:
        raise refused(text.count("\n", 0, text.index("\0")) + 1, "text", "", "this holds a zero byte: it is no text file")
    return text


def lines_of(data: bytes) -> Iterator[Line]:
    """Lines that hold anything, with their number in the file. Raises ContractError."""
    text = text_of(data)
    head = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=head.count)
    reader = csv.reader(text.splitlines(), delimiter=separator)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Line(reader.line_num, tuple(cell.strip() for cell in cells))
    except csv.Error as error:
        raise refused(reader.line_num, "line", "", f"this can not be read as CSV: {error}") from None


def plain_name(cell: str) -> str:
    """`Usage (kWh)` as usage_kwh."""
    return re.sub(r"[^a-z0-9³]+", "_", cell.lower()).strip("_").replace("m³", "m3")


def time_column(header: Sequence[str], end: bool = False) -> TimeColumn | None:
    pattern = _END if end else _TIME
    return next((TimeColumn(n, _HABIT[match[1] or ""]) for n, name in enumerate(header) if (match := pattern.match(name))), None)


def place_of(header: Sequence[str], names: frozenset[str]) -> int | None:
    return next((n for n, name in enumerate(header) if name in names), None)


def value_columns(line: int, header: Sequence[str], asked: Asked) -> tuple[ValueColumn, ...]:
    """The columns with values, or the one asked for. Raises ContractError where none or two of a kind are found."""
    found = [column for n, name in enumerate(header) if (column := _value_column(n, name, header, asked))]
    if asked.column:
        found = [column for column in found if column.name == plain_name(asked.column)]
    if not found:
        wanted = f"a column {asked.column} with a unit known here" if asked.column else "a column of energy, such as kwh, wh or export_kwh"
        raise refused(line, "header", ",".join(header), f"write {wanted}; a column that does not tell its unit needs --unit and --column")
    names = [column.quantity for column in found]
    if len(set(names)) < len(names):
        raise refused(line, "header", ", ".join(c.name for c in found), "these columns are of one kind: choose one with --column")
    return tuple(found)


def _value_column(place: int, name: str, header: Sequence[str], asked: Asked) -> ValueColumn | None:
    unit = UNITS.get(name.rsplit("_", 1)[-1])
    named = bool(asked.column) and name == plain_name(asked.column)
    if unit is None and (name in _PLAIN_VALUE or named):
        unit = asked_unit(asked)
        if unit is None and "unit" not in header:
            text = "this column does not tell its unit: say --unit kWh, or name the column kwh"
            raise refused(1, name, "", text)
        return ValueColumn(place, name, quantity_for(name, unit, asked) if unit else "", unit)
    return ValueColumn(place, name, quantity_for(name, unit, asked), unit) if unit else None


def asked_unit(asked: Asked) -> Unit | None:
    """Raises ContractError for a unit that is none."""
    if asked.unit and asked.unit.lower() not in UNITS:
        raise refused(0, "--unit", asked.unit, f"this unit is not known; write one of {', '.join(u.name for u in UNITS.values())}")
    return UNITS.get(asked.unit.lower())


def quantity_for(name: str, unit: Unit, asked: Asked) -> str:
    """What a column or channel of that name and unit measures. Raises ContractError where we have no such quantity."""
    if asked.quantity in INTERVAL_QUANTITIES:
        return asked.quantity
    if "gas" in name and unit.stored == "m3":
        return "interval_gas_l"
    if "heat" in name and unit.stored == "Wh":
        return "interval_heat_wh"
    direction = asked.quantity or ("export" if _EXPORT.search(name) else "import")
    quantity = QUANTITY_OF.get((unit.stored, direction))
    if quantity is None:
        raise refused(0, name, unit.name, f"there is no quantity of {unit.name} for {direction}; name it with --quantity")
    return quantity


def flags_of(text: str) -> int:
    """Quality as a number of flags or a word. Raises ValueError."""
    word = text.lower()
    if word in FLAGS:
        return int(FLAGS[word])
    flags = whole(word, ALL_FLAGS)
    if flags is not None:
        return flags
    raise ValueError("quality is a number of flags (0 good, 128 estimated) or actual, estimated, missing")
