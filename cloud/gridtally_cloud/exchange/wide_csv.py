"""Wide CSV: a row a local day, a column an interval: `usage_point,quantity,unit,date,00:00,00:15,...,23:45`.

* Columns are named by the time on the wall at which the interval begins, or numbered 1 to n from midnight on.
* Clocks go forward: the columns of the missing hour are empty. Clocks go back: the hour that comes twice has its second columns beside the
  first, `01:00+`. A file without them has lost that hour, which is noted: its value counts for the first of the two.
* An estimate has an E behind its number. An empty cell is a missing interval.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from gridtally_cloud.exchange.collect import Cell, Collector
from gridtally_cloud.exchange.dates import iso
from gridtally_cloud.exchange.record import Asked, Clock, Content, Row, Series, refused
from gridtally_cloud.exchange.sheet import POINT_NAMES, Line, asked_unit, lines_of, place_of, plain_name, quantity_for
from gridtally_cloud.exchange.times import local, ms_of, resolved
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES, UNITS, Unit, amount, own_unit
from gridtally_cloud.store.days import EPOCH, midnight_ms, zone_of
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

_CLOCK_NAME = re.compile(r"^([01]?\d|2[0-3]):([0-5]\d)(?::00)?(\+?)$")
_NUMBER_NAME = re.compile(r"^(?:h|he|hour|interval|i|v|t)?[_ ]?(\d{1,4})$", re.IGNORECASE)
_DATES = frozenset({"date", "day", "local_day", "interval_date"})
FEWEST_COLUMNS = 12
OF_DAYS_OF_CHANGE = {23: 24, 25: 24, 46: 48, 50: 48, 92: 96, 100: 96}
DAY_MIN = 1440


@dataclass(frozen=True, slots=True)
class Place:
    """A column with values: minutes after midnight on the wall, second time or not; or counted from midnight where `counted`."""

    column: int
    name: str
    minute: int
    again: bool
    counted: bool


@dataclass(frozen=True, slots=True)
class Layout:
    width: int
    seconds: int
    day: int
    point: int | None
    quantity: int | None
    unit: int | None
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Of:
    """What all cells of a line share."""

    key: tuple[str, str]
    unit: Unit
    day: date
    zone: ZoneInfo


def looks(head: str) -> bool:
    cells = head.replace(";", ",").replace("\t", ",").split(",")
    return any(plain_name(cell) in _DATES for cell in cells) and len(_places(cells)) >= FEWEST_COLUMNS


def _places(header: Sequence[str]) -> tuple[Place, ...]:
    cells = [(n, cell.strip().strip('"')) for n, cell in enumerate(header)]
    clock = [Place(n, cell, int(m[1]) * 60 + int(m[2]), bool(m[3]), False) for n, cell in cells if (m := _CLOCK_NAME.match(cell))]
    if clock:
        return tuple(clock)
    numbers = [(n, cell, int(m[1])) for n, cell in cells if (m := _NUMBER_NAME.match(cell))]
    first = min((number for _, _, number in numbers), default=1)
    return tuple(Place(n, cell, number - first, False, True) for n, cell, number in numbers)


def read(data: bytes, asked: Asked) -> Content:
    """Raises ContractError where the header is none of this form."""
    lines = lines_of(data)
    first = next(lines, None)
    if first is None:
        raise refused(0, "file", "", "this file is empty")
    layout, zone, found = _layout(first), zone_of(asked.zone), Collector(asked)
    for line in lines:
        if len(line.cells) != layout.width:
            found.problem(line.number, "line", ",".join(line.cells), f"this line has {len(line.cells)} cells and the header {layout.width}")
        else:
            _take(found, layout, line, zone)
    return found.content()


def _layout(first: Line) -> Layout:
    header = [plain_name(name) for name in first.cells]
    places, day = _places(first.cells), place_of(header, _DATES)
    if day is None or len(places) < FEWEST_COLUMNS:
        raise refused(first.number, "header", ",".join(first.cells), "write a column date and a column for each interval: 00:00,00:15,...")
    minutes = _minutes(places)
    if minutes <= 0 or DAY_MIN % minutes or len({(p.minute, p.again) for p in places}) < len(places):
        raise refused(first.number, "header", ",".join(first.cells), "the columns of the intervals are not at equal steps, each once")
    quantity = place_of(header, frozenset({"quantity", "channel", "direction"}))
    unit = place_of(header, frozenset({"unit", "uom"}))
    return Layout(len(header), minutes * 60, day, place_of(header, POINT_NAMES), quantity, unit, places)


def _minutes(places: Sequence[Place]) -> int:
    """The step of the columns; counted ones fill a day, and may be as many as a day has when clocks change."""
    if places[0].counted:
        return DAY_MIN // OF_DAYS_OF_CHANGE.get(len(places), len(places))
    return min((b.minute - a.minute for a, b in pairwise(places) if b.minute > a.minute), default=0)


def _take(found: Collector, layout: Layout, line: Line, zone: ZoneInfo) -> None:
    try:
        day = date.fromisoformat(iso(line.cells[layout.day], found.asked.dates))
        if not 1900 <= day.year < 2100:
            raise ValueError("this lies outside 1900 to 2100")
    except ValueError as error:
        text = str(error) if str(error).startswith(("this ", "is ")) else "this is not a day; write it such as 2026-11-01"
        found.problem(line.number, "date", line.cells[layout.day], text)
        return
    unit = UNITS.get(_cell(line, layout.unit).lower()) or asked_unit(found.asked)
    if unit is None:
        found.problem(line.number, "unit", _cell(line, layout.unit), "the unit is not told: add a column unit, or say --unit kWh")
        return
    key = (_cell(line, layout.point), _quantity(_cell(line, layout.quantity), unit, found.asked))
    for place in layout.places:
        _take_cell(found, layout, line, place, Of(key, unit, day, zone))


def _cell(line: Line, place: int | None) -> str:
    return "" if place is None else line.cells[place]


def _quantity(text: str, unit: Unit, asked: Asked) -> str:
    fits = text in INTERVAL_QUANTITIES and UNITS[own_unit(text).lower()].stored == unit.stored
    return text if fits else quantity_for(text, unit, asked)


def _take_cell(found: Collector, layout: Layout, line: Line, place: Place, row: Of) -> None:
    text = line.cells[place.column]
    marked = text.endswith(("E", "e"))
    try:
        exact = amount(text[:-1] if marked else text) if text else None
        start_ms = _start_ms(place, layout.seconds, row.day, row.zone, found.asked.clock or Clock.LOCAL)
        if start_ms is None:
            if exact:
                where = f"this interval does not come on that day in {row.zone.key}"
                raise ValueError(f"{where}; is the file in standard time (--clock standard)?")
            return
    except ValueError as error:
        found.problem(line.number, place.name, text, str(error))
        return
    if exact is not None and found.asked.clock is None and _lost(start_ms, layout, place, row.zone):
        found.note(line.number, place.name, "this time came twice on that day, and the file has one value for it: it counts for the first")
    quality = Quality.ESTIMATED if marked else Quality.OK
    found.add(row.key, Cell(line.number, start_ms, exact, quality, layout.seconds, row.unit))


def _start_ms(place: Place, seconds: int, day: date, zone: ZoneInfo, clock: Clock) -> int | None:
    """None where the day has no such interval."""
    number = (day - EPOCH).days
    if place.counted and clock is Clock.LOCAL:
        at_ms = midnight_ms(number, zone.key) + place.minute * seconds * 1000
        return at_ms if at_ms < midnight_ms(number + 1, zone.key) else None
    minute = place.minute * seconds // 60 if place.counted else place.minute
    if minute >= DAY_MIN:
        return None
    wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)  # noqa: DTZ001
    if clock is not Clock.LOCAL:
        return None if place.again else resolved(wall, clock, zone)
    first, second = ms_of(wall.replace(tzinfo=zone)), ms_of(wall.replace(tzinfo=zone, fold=1))
    if local(first, zone).replace(tzinfo=None) != wall or (place.again and second == first):
        return None
    return second if place.again else first


def _lost(start_ms: int, layout: Layout, place: Place, zone: ZoneInfo) -> bool:
    """That time came twice, and the file has no column for the second."""
    if place.again or place.counted:
        return False
    wall = local(start_ms, zone).replace(tzinfo=None)
    again = ms_of(wall.replace(tzinfo=zone, fold=1)) != start_ms
    return again and not any(other.again and other.minute == place.minute for other in layout.places)


# ---- writing --------------------------------------------------------------------------------------------------


def write(series: Sequence[Series], asked: Asked) -> bytes:
    """Raises ContractError where the series have intervals of different lengths."""
    zone, lengths = zone_of(asked.zone), {each.period_s for each in series}
    if len(lengths) != 1 or DAY_MIN * 60 % min(lengths):
        raise refused(0, "intervals", sorted(lengths), "one length of intervals goes into a wide file: choose with --quantity")
    period_s = lengths.pop()
    names = sorted({name for each in series for row in each.rows for name in [_name(row, zone)] if name.endswith("+")}
                   | {f"{m // 60:02}:{m % 60:02}" for m in range(0, DAY_MIN, period_s // 60)})  # fmt: skip
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["usage_point", "quantity", "unit", "date", *names])
    for each in series:
        for day, cells in _days(each, zone):
            out.writerow([each.point, each.quantity, own_unit(each.quantity), day, *(cells.get(name, "") for name in names)])
    return file.getvalue().encode()


def _name(row: Row, zone: ZoneInfo) -> str:
    """The time on the wall; `+` where it comes for the second time."""
    at = local(row.start_ms, zone)
    return f"{at:%H:%M}{'+' if at.fold else ''}"


def _days(series: Series, zone: ZoneInfo) -> Iterator[tuple[str, dict[str, str]]]:
    days: dict[str, dict[str, str]] = {}
    for row in series.rows:
        if row.value is not None:
            mark = "E" if row.quality & (Quality.ESTIMATED | Quality.EDITED) else ""
            days.setdefault(f"{local(row.start_ms, zone):%Y-%m-%d}", {})[_name(row, zone)] = f"{row.value}{mark}"
    yield from days.items()
