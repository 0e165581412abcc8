"""Long CSV: a row an interval. `usage_point,quantity,start,end,wh,quality` as we write it; read by the names of the columns.

* Local times carry their offset when written: no hour is lost or told twice.
* A date and a time may stand in two columns, and dates as people write them (dates.py).
* Several quantities are several rows of one interval, or several columns of energy.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from gridtally_cloud.digits import whole
from gridtally_cloud.exchange.collect import Cell, Collector
from gridtally_cloud.exchange.dates import iso
from gridtally_cloud.exchange.record import Asked, Clock, Content, Series, refused
from gridtally_cloud.exchange.sheet import (
    POINT_NAMES,
    Line,
    TimeColumn,
    ValueColumn,
    flags_of,
    lines_of,
    place_of,
    plain_name,
    quantity_for,
    time_column,
    value_columns,
)
from gridtally_cloud.exchange.times import instant, local
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES, UNITS, Unit, amount, own_unit
from gridtally_cloud.store.days import zone_of
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column holds what; None where there is none."""

    width: int
    start: TimeColumn
    day: int | None
    end: TimeColumn | None
    values: tuple[ValueColumn, ...]
    point: int | None
    quantity: int | None
    unit: int | None
    seconds: int | None
    quality: int | None


def looks(head: str) -> bool:
    names = [plain_name(name) for name in head.replace(";", ",").replace("\t", ",").split(",")]
    return time_column(names) is not None


def read(data: bytes, asked: Asked) -> Content:
    """Raises ContractError where the header is none of this form."""
    lines = lines_of(data)
    first = next(lines, None)
    if first is None:
        raise refused(0, "file", "", "this file is empty")
    layout, zone, found = _layout(first, asked), zone_of(asked.zone), Collector(asked)
    for line in lines:
        if len(line.cells) != layout.width:
            found.problem(line.number, "line", ",".join(line.cells), f"this line has {len(line.cells)} cells and the header {layout.width}")
            continue
        for column in layout.values:
            _take(found, layout, line, column, zone)
    return found.content()


def _layout(first: Line, asked: Asked) -> Layout:
    header = [plain_name(name) for name in first.cells]
    start = time_column(header)
    if start is None:
        raise refused(first.number, "header", ",".join(header), "write a column with the start of each interval: start")
    return Layout(
        len(header), start, place_of(header, frozenset({"date", "day"})), time_column(header, end=True),
        value_columns(first.number, header, asked),
        place_of(header, POINT_NAMES), place_of(header, frozenset({"quantity", "channel", "direction"})),
        place_of(header, frozenset({"unit"})), place_of(header, frozenset({"interval_s", "period_s"})),
        place_of(header, frozenset({"quality", "flags"})),
    )  # fmt: skip


def _cell(line: Line, place: int | None) -> str:
    return "" if place is None else line.cells[place]


def _take(found: Collector, layout: Layout, line: Line, column: ValueColumn, zone: ZoneInfo) -> None:
    """One value of one line; what is wrong with it names its column."""
    name, text = "unit", _cell(line, layout.unit)
    try:
        unit = column.unit or _unit(text)
        name, text = "quantity", _cell(line, layout.quantity)
        key = (_cell(line, layout.point), _quantity(text, column, unit, found.asked))
        name, text = "start", f"{_cell(line, layout.day)} {line.cells[layout.start.place]}".strip()
        start_ms = _when(found.asked, layout.start, text, zone, found.last_ms(key))
        name, text = "end" if layout.end else "interval_s", _cell(line, layout.end.place if layout.end else layout.seconds)
        seconds = _seconds(found.asked, layout.end, _cell(line, layout.day), text, zone, start_ms)
        name, text = column.name, line.cells[column.place]
        exact = amount(text) if text else None
        name, text = "quality", _cell(line, layout.quality)
        found.add(key, Cell(line.number, start_ms, exact, flags_of(text), seconds, unit))
    except ValueError as error:
        found.problem(line.number, name, text, str(error))


def _when(asked: Asked, column: TimeColumn, text: str, zone: ZoneInfo, before_ms: int | None) -> int:
    return instant(iso(text, asked.dates), asked.clock or column.clock or Clock.LOCAL, zone, before_ms)


def _seconds(asked: Asked, end: TimeColumn | None, day: str, text: str, zone: ZoneInfo, start_ms: int) -> int | None:
    """How long the interval is, as far as the line says."""
    if not text:
        return None
    if end is None:
        seconds = whole(text, 10**7)
        if not seconds:
            raise ValueError("this is not a number of seconds")
        return seconds
    length = _when(asked, end, f"{day} {text}".strip(), zone, start_ms) - start_ms
    if length <= 0:
        raise ValueError("this is not after its start")
    return length // 1000


def _unit(text: str) -> Unit:
    if text.lower() not in UNITS:
        raise ValueError(f"this unit is not known; write one of {', '.join(u.name for u in UNITS.values())}")
    return UNITS[text.lower()]


def _quantity(text: str, column: ValueColumn, unit: Unit, asked: Asked) -> str:
    if text in INTERVAL_QUANTITIES:
        if UNITS[own_unit(text).lower()].stored != unit.stored:
            raise ValueError(f"{text} is not counted in {unit.name}")
        return text
    if column.quantity and not text:
        return column.quantity
    return quantity_for(text or column.name, unit, asked)


def write(series: Sequence[Series], asked: Asked) -> bytes:
    """One value column named for the unit, or `value,unit` where the series differ."""
    zone, units = zone_of(asked.zone), {own_unit(each.quantity) for each in series}
    values = [units.copy().pop().lower()] if len(units) == 1 else ["value", "unit"]
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["usage_point", "quantity", "start", "end", *values, "quality"])
    for each in series:
        unit = [own_unit(each.quantity)] if len(values) == 2 else []
        for row in each.rows:
            start, end = (local(at, zone).isoformat() for at in (row.start_ms, row.start_ms + each.period_s * 1000))
            value = "" if row.value is None else str(row.value)
            quality = int(row.quality | (Quality.MISSING if row.value is None else 0))
            out.writerow([each.point, each.quantity, start, end, value, *unit, quality])
    return file.getvalue().encode()
