"""Profiles (class 7) as tables: columns matched by OBIS code, scalers from the scaler profile, exact whole numbers.

* A value times 10^scaler in the meter's unit becomes an integer at our quantity's exponent. Rounding happens here and
  only here, half to even, and only where the meter resolves finer than we carry.
* A unit that is not the quantity's is a `MeterFault`, never a guess.
* A null cell means "as in the row above"; a null clock means "one period later" (compressed buffers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, CosemDateTime, decode_datetime
from gridtally_edge.protocols.dlms.scaling import ScalerUnit, scaled, scaler_unit_of
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.quantities import BY_OBIS, Quantity
from gridtally_shared.records import dataclass

_DATA_CLASS: Final = 1
_CLOCK_CLASS: Final = 8
_COUNTED: Final = ("1", "min")
_STAMPS: Final = frozenset({Obis.of("0.0.0.1.2.255"), Obis.of("1.0.0.1.2.255")})
"""Billing time stamps, which stand where other profiles have the clock."""
_PERIOD_LIMIT_S: Final = 86_400 * 366


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row."""

    column: Attribute
    data: Data


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row with its time; None where the profile has no clock column or the meter wrote no whole moment."""

    at_ms: int | None
    doubtful: bool
    cells: tuple[Cell, ...]


def columns_of(capture_objects: Data) -> tuple[Attribute, ...]:
    """Attribute 3 of a profile. Raises MeterFault where it is no list of capture objects."""
    return tuple(_column(item) for item in axdr.items_of(capture_objects))


def _column(item: Data) -> Attribute:
    parts = axdr.items_of(item)
    if len(parts) < 3 or len(axdr.octets_of(parts[1])) != 6:
        raise MeterFault("a capture object is class, logical name and attribute")
    return Attribute(axdr.integer_of(parts[0]), Obis(axdr.octets_of(parts[1])), axdr.integer_of(parts[2]))


def scalers_of(columns: tuple[Attribute, ...], buffer: Data) -> dict[Obis, ScalerUnit]:
    """The scaler profile: which scaler and unit each OBIS code has. Raises MeterFault."""
    rows = axdr.items_of(buffer)
    if len(rows) != 1:
        raise MeterFault(f"a scaler profile has one row, not {len(rows)}")
    cells = axdr.items_of(rows[0])
    if len(cells) != len(columns):
        raise MeterFault(f"{len(cells)} scalers for {len(columns)} columns")
    return {column.obis: scaler_unit_of(cell) for column, cell in zip(columns, cells, strict=True)}


def table_rows(columns: tuple[Attribute, ...], buffer: Data, rule: ClockRule, period_s: int) -> Iterator[TableRow]:
    """The buffer's rows with null cells filled in. Raises MeterFault where rows and columns do not fit."""
    above: tuple[Data, ...] | None = None
    at_ms: int | None = None
    for row in axdr.items_of(buffer):
        cells = axdr.items_of(row)
        if len(cells) != len(columns):
            raise MeterFault(f"a row has {len(cells)} cells, the profile {len(columns)} columns")
        time = _row_time(columns, cells)
        at_ms = _moment(time, rule) if time else _one_later(at_ms, period_s)
        cells = _filled(cells, above)
        above = cells
        pairs = tuple(Cell(column, data) for column, data in zip(columns, cells, strict=True))
        yield TableRow(at_ms, bool(time and time.doubtful), pairs)


def _row_time(columns: tuple[Attribute, ...], cells: tuple[Data, ...]) -> CosemDateTime | None:
    for column, data in zip(columns, cells, strict=True):
        is_time = column.class_id == _CLOCK_CLASS or column.obis in _STAMPS
        if is_time and column.index == 2 and data.tag is not Tag.NULL:
            return decode_datetime(axdr.octets_of(data))
    return None


def _moment(time: CosemDateTime, rule: ClockRule) -> int | None:
    """None for a time with wildcards, which some meters write into unused rows: such a row has no place."""
    try:
        return time.utc_ms(rule)
    except MeterFault:
        return None


def _one_later(at_ms: int | None, period_s: int) -> int | None:
    if at_ms is None or not 0 < period_s <= _PERIOD_LIMIT_S:
        return None
    return at_ms + period_s * 1_000


def _filled(cells: tuple[Data, ...], above: tuple[Data, ...] | None) -> tuple[Data, ...]:
    if above is None:
        return cells
    return tuple(up if cell.tag is Tag.NULL else cell for cell, up in zip(cells, above, strict=True))


def quantity_value(quantity: Quantity, data: Data, scaling: ScalerUnit) -> int:
    """The number at the quantity's exponent. Raises MeterFault for a foreign unit or no number."""
    if scaling.unit_text != quantity.unit:
        raise MeterFault(f"{quantity.obis} comes in {scaling.unit_text}, {quantity.unit} was due")
    return to_exponent(scaled(data, scaling.scaler), quantity.exponent)


def to_exponent(value: int | Decimal, exponent: int) -> int:
    """A number as a whole count of 10^exponent, rounded half to even where it is finer."""
    if isinstance(value, int) and exponent <= 0:
        return value * int(10**-exponent)
    return int(Decimal(value).scaleb(-exponent).to_integral_value(ROUND_HALF_EVEN))


def quantity_cells(row: TableRow, scalers: Mapping[Obis, ScalerUnit]) -> Iterator[tuple[Quantity, int]]:
    """The values of a row that we carry, by the table of quantities; other columns and missing cells are left out. A counter
    (class 1) has no scaler and is taken as it stands."""
    for cell in row.cells:
        quantity = BY_OBIS.get(cell.column.obis)
        if quantity is None or cell.column.index != 2 or cell.data.tag is Tag.NULL:
            continue
        scaling = scalers.get(cell.column.obis)
        if scaling:
            yield quantity, quantity_value(quantity, cell.data, scaling)
        elif cell.column.class_id == _DATA_CLASS and quantity.unit in _COUNTED:
            yield quantity, axdr.integer_of(cell.data)
