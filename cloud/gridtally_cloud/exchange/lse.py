"""LSE, the interval file of the Texas market (Smart Meter Texas, ERCOT): four header rows, then a row an interval, for each ESI ID.

* Times are local prevailing time; the rows follow each other from the start without a break, so a day has 92, 96 or 100 of 15 minutes.
* Channel 4 is load, channel 1 generation. Status A or nothing is measured, E estimated, 9 missing.
* The number of commas of each row is fixed, and the number of rows is what start, stop and the seconds of an interval make it.

Source: mdm.md D.1; rows 2 to 4 and the details as commonly described, see docs/exchange.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from gridtally_cloud.digits import whole
from gridtally_cloud.exchange.collect import Cell, Collector
from gridtally_cloud.exchange.record import Asked, Clock, Content, Row, Series, refused
from gridtally_cloud.exchange.sheet import text_of
from gridtally_cloud.exchange.times import instant, local
from gridtally_cloud.exchange.units import UNITS, amount
from gridtally_cloud.store.days import day_of, slots_of, zone_of
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

FIELDS = {"00000001": 7, "00000002": 13, "00000003": 2, "00000004": 3}
DETAIL_FIELDS, FIRST_DETAIL = 4, 10_000_000
CHANNELS = {"1": "interval_export_wh", "4": "interval_import_wh"}
CHANNEL_OF = {quantity: channel for channel, quantity in CHANNELS.items()}
KWH = frozenset({"1", "01", "kwh"})
STATUS = {"": Quality.OK, "A": Quality.OK, "E": Quality.ESTIMATED, "9": Quality.MISSING}
TIME = "%Y%m%d%H%M%S"


@dataclass(slots=True)
class Record:
    """One ESI ID and channel: what its header rows say, and how many details came."""

    line: int
    point: str
    quantity: str
    start_ms: int
    stop_ms: int
    seconds: int = 0
    details: int = 0


@dataclass(slots=True)
class State:
    asked: Asked
    zone: ZoneInfo
    found: Collector
    record: Record | None = None


def looks(head: str) -> bool:
    return head.startswith("00000001,")


def read(data: bytes, asked: Asked) -> Content:
    """Raises ContractError for what does not begin as an LSE file."""
    text = text_of(data)
    if not looks(text.lstrip()[:9]):
        raise refused(1, "sort code", text[:20], "an LSE file begins with 00000001")
    state = State(asked, zone_of(asked.zone), Collector(asked))
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            _take(state, number, [cell.strip() for cell in line.split(",")])
    _close(state)
    return state.found.content()


def _take(state: State, number: int, cells: list[str]) -> None:
    code = cells[0]
    try:
        if not (len(code) == 8 and code.isascii() and code.isdigit()):
            raise ValueError("the sort code is not eight digits")
        detail = int(code) >= FIRST_DETAIL
        wanted = DETAIL_FIELDS if detail else FIELDS.get(code, 0)
        if not wanted:
            raise ValueError("there is no row of this sort code")
        if len(cells) != wanted:
            raise ValueError(f"this row has {len(cells) - 1} commas and needs {wanted - 1}")
        (_detail if detail else _HEADERS[code])(state, number, cells)
    except ValueError as error:
        state.found.problem(number, f"row {code[:8]}", ",".join(cells), str(error))


def _first(state: State, number: int, cells: list[str]) -> None:
    _close(state)
    _, point, channel, start, stop, summer, _invalid = cells
    if channel not in CHANNELS:
        raise ValueError(f"channel {channel or 'none'} is not 1 (generation) or 4 (load)")
    if summer not in ("Y", "N"):
        raise ValueError("the flag for summer time is not Y or N")
    clock = state.asked.clock or (Clock.LOCAL if summer == "Y" else Clock.STANDARD)
    start_ms = instant(_digits(start), clock, state.zone)
    stop_ms = instant(_digits(stop), clock, state.zone, start_ms)
    if stop_ms <= start_ms:
        raise ValueError("the stop time is not after the start time")
    state.record = Record(number, point, CHANNELS[channel], start_ms, -(-(stop_ms + 1) // 60_000) * 60_000 if stop_ms % 60_000 else stop_ms)


def _digits(text: str) -> str:
    if not (len(text) == 14 and text.isascii() and text.isdigit()):
        raise ValueError("a time is not written as 20261101001500")
    return text


def _second(state: State, _number: int, cells: list[str]) -> None:
    record = _record(state)
    seconds, unit = whole(cells[7], 86_400), cells[8].lower()
    if not seconds:
        raise ValueError(f"{cells[7] or 'none'} is no number of seconds of an interval")
    if unit not in KWH:
        raise ValueError(f"unit of measure {cells[8] or 'none'} is not 01 (kWh)")
    record.seconds = seconds


def _third(state: State, _number: int, _cells: list[str]) -> None:
    _record(state)


_HEADERS = {"00000001": _first, "00000002": _second, "00000003": _third, "00000004": _third}


def _record(state: State) -> Record:
    if state.record is None:
        raise ValueError("there is no row 00000001 that can be read before this one")
    return state.record


def _detail(state: State, number: int, cells: list[str]) -> None:
    record = _record(state)
    if not record.seconds:
        raise ValueError("there is no row 00000002 that can be read before this one")
    if int(cells[0]) != FIRST_DETAIL + record.details:
        raise ValueError(f"{FIRST_DETAIL + record.details} should come here: a row is missing, or is there twice")
    start_ms = record.start_ms + record.details * record.seconds * 1000
    record.details += 1
    status = cells[2].upper()
    if status not in STATUS:
        raise ValueError(f"status {cells[2]} is not A, E or 9")
    ends = {f"{local(start_ms + step, state.zone):{TIME}}" for step in (0, record.seconds * 1000)}
    if cells[3] and cells[3] not in ends:
        raise ValueError(f"the time {cells[3]} is not that of this interval, {' to '.join(sorted(ends))}")
    exact = None if STATUS[status] == Quality.MISSING or not cells[1] else amount(cells[1])
    state.found.add((record.point, record.quantity), Cell(number, start_ms, exact, STATUS[status], record.seconds, UNITS["kwh"]))


def _close(state: State) -> None:
    """All details of a record came: are they as many as its times make them?"""
    record, state.record = state.record, None
    if record is None or not record.seconds:
        return
    wanted, rest = divmod(record.stop_ms - record.start_ms, record.seconds * 1000)
    if rest or wanted != record.details:
        text = f"start and stop make {wanted} intervals of {record.seconds} s and {record.details} came (92 or 100 when clocks change)"
        state.found.problem(record.line, "row 00000001", record.point, text)


# ---- writing --------------------------------------------------------------------------------------------------


def write(series: Sequence[Series], asked: Asked) -> bytes:
    """A record for each series and local day, days whole, missing intervals with status 9. Raises ContractError for what has no channel."""
    zone = zone_of(asked.zone)
    lines = [line for each in series for line in _records(each, zone)]
    return ("\n".join(lines) + "\n").encode()


def _records(series: Series, zone: ZoneInfo) -> Iterator[str]:
    if series.quantity not in CHANNEL_OF or "," in series.point:
        raise refused(0, series.quantity, series.point, "LSE carries kWh of load and generation; choose with --quantity")
    days: dict[int, list[Row]] = {}
    for row in series.rows:
        days.setdefault(day_of(row.start_ms, zone.key), []).append(row)
    step_ms = series.period_s * 1000
    for day, rows in days.items():
        held = {row.start_ms: row for row in rows}
        grid = slots_of(day, zone.key, series.period_s)
        starts = range(grid.start_ms, grid.end_ms, step_ms)
        first, last, after = (_time(at, zone) for at in (grid.start_ms, grid.end_ms - 1000, grid.end_ms))
        yield f"00000001,{series.point},{CHANNEL_OF[series.quantity]},{first},{last},Y,N"
        yield f"00000002,,,,,,,{series.period_s},01,,,,"
        yield "00000003,"
        yield f"00000004,{after},M"
        for number, at in enumerate(starts):
            yield f"{FIRST_DETAIL + number},{_value(held.get(at))},"


def _time(at_ms: int, zone: ZoneInfo) -> str:
    return f"{local(at_ms, zone):{TIME}}"


def _value(row: Row | None) -> str:
    if row is None or row.value is None:
        return ",9"
    return f"{row.value // 1000}.{row.value % 1000:03d},{'E' if row.quality & (Quality.ESTIMATED | Quality.EDITED) else 'A'}"
