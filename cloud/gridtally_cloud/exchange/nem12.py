"""NEM12, the interval file of the Australian market (AEMO): records 100, 200, 300, 400, 500 and 900, one line each.

* Days are those of market time, UTC+10 all year; elsewhere those of the zone's standard time. So every day has all its intervals, and
  summer time changes nothing.
* Suffix E is what the grid delivers, B what it takes back, Q and K are reactive. Two registers of one kind have to be chosen from
  (`--column E1`).
* Quality stands for the day, or with V for ranges of it in records 400. N is a missing value. Substitutes carry the method by which they
  were made, E, F and S with two digits; F is final. What is ours of them is the table `WORDS`, read and written alike.
* A file without its record 900 is half a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gridtally_cloud.digits import whole
from gridtally_cloud.exchange.collect import Cell, Collector
from gridtally_cloud.exchange.record import Asked, Clock, Content, Row, Series, refused
from gridtally_cloud.exchange.sheet import Line, lines_of
from gridtally_cloud.exchange.times import EARLIEST_MS, LATEST_MS, ms_of, standard_offset
from gridtally_cloud.exchange.units import UNITS, Unit, amount
from gridtally_cloud.store.days import zone_of
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

DAY_MIN, DAY_MS = 1440, 86_400_000
MARKET = timedelta(hours=10)
OUTSIDE_MARKET = frozenset({"Australia/Perth", "Australia/West", "Australia/Darwin", "Australia/North", "Australia/Eucla"})
DOUBTED = Quality.UNTRUSTWORTHY | Quality.METER_INVALID
DARK = Quality.ESTIMATED | Quality.POWER_FAIL
WORDS = (
    ("F18", Quality.EDITED | Quality.VERIFIED), ("S18", Quality.EDITED), ("F19", DARK | Quality.VERIFIED), ("S19", DARK),
    ("F14", Quality.ESTIMATED | Quality.VERIFIED), ("S14", Quality.ESTIMATED),
)  # fmt: skip
"""Method 18, alternate: what a person set. 19, zero: no power. 14, like day: any other estimate. The first that fits is written."""
READ = dict(WORDS)
PLAIN = {"A": Quality.OK, "E": Quality.ESTIMATED, "F": Quality.ESTIMATED | Quality.VERIFIED, "S": Quality.ESTIMATED, "N": Quality.MISSING}
QUANTITIES = {"E": "interval_import_wh", "B": "interval_export_wh", "Q": "interval_reactive_q1_varh", "K": "interval_reactive_q4_varh"}
SUFFIXES = {quantity: suffix for suffix, quantity in QUANTITIES.items()}
MISSING, ACTUAL, VARIES = "N", "A", "V"


@dataclass(slots=True)
class Stream:
    """What the last record 200 says."""

    nmi: str
    quantity: str
    unit: Unit
    minutes: int


@dataclass(slots=True)
class Day:
    """A record 300 until its records 400 are read."""

    line: int
    stream: Stream
    start_ms: int
    values: list[Decimal]
    flags: list[int | None]


@dataclass(slots=True)
class State:
    asked: Asked
    found: Collector
    stream: Stream | None = None
    day: Day | None = None
    ended: bool = False
    suffixes: dict[tuple[str, str], str] = field(default_factory=dict)


def looks(head: str) -> bool:
    return head.upper().startswith(("100,NEM1", "200,"))


def read(data: bytes, asked: Asked) -> Content:
    """Raises ContractError for what is no NEM12 file."""
    if asked.clock is Clock.LOCAL:
        raise refused(0, "--clock", "local", "NEM12 is in standard time all year; leave --clock away")
    state = State(asked, Collector(asked))
    lines = list(lines_of(data))
    if not lines or lines[0].cells[0] not in ("100", "200"):
        raise refused(lines[0].number if lines else 0, "record", "", "a NEM12 file begins with 100,NEM12")
    for line in lines:
        _take(state, line)
    _close(state)
    if not state.ended:
        state.found.problem(lines[-1].number, "record", "", "the file ends without its record 900: this is half a file")
    return state.found.content()


def _take(state: State, line: Line) -> None:
    kind = line.cells[0]
    try:
        if kind not in _RECORDS:
            raise ValueError("this is no record of NEM12: 100, 200, 300, 400, 500 or 900")
        _RECORDS[kind](state, line)
    except ValueError as error:
        state.found.problem(line.number, f"record {kind[:8]}", ",".join(line.cells), str(error))


def _cells(line: Line, at_least: int) -> tuple[str, ...]:
    if len(line.cells) < at_least:
        raise ValueError(f"this record has {len(line.cells)} fields and needs {at_least}")
    return line.cells


# ---- records --------------------------------------------------------------------------------------------------


def _header(_state: State, line: Line) -> None:
    if _cells(line, 2)[1].upper() != "NEM12":
        raise ValueError("this is not NEM12; NEM13 holds register readings and no intervals")


def _stream(state: State, line: Line) -> None:
    _close(state)
    state.stream = None
    cells = _cells(line, 9)
    nmi, suffix, unit, minutes = cells[1], (cells[4] or cells[3]).upper(), cells[7].lower(), cells[8]
    if state.asked.column and suffix != state.asked.column.upper():
        state.stream = Stream(nmi, "", UNITS["wh"], 0)
        return
    if suffix[:1] not in QUANTITIES or unit not in UNITS:
        raise ValueError(f"suffix {suffix or 'none'} in {cells[7] or 'no unit'} is not kept; E, B, Q and K in kWh and kvarh are")
    length = whole(minutes, DAY_MIN)
    if not length or DAY_MIN % length:
        raise ValueError(f"an interval of {minutes} minutes does not divide a day")
    quantity = QUANTITIES[suffix[:1]]
    if UNITS[unit].stored != ("Wh" if suffix[:1] in "EB" else "varh"):
        raise ValueError(f"suffix {suffix} is not counted in {cells[7]}")
    other = state.suffixes.setdefault((nmi, quantity), suffix)
    if other != suffix:
        raise ValueError(f"{other} and {suffix} measure the same way: choose one with --column {other}")
    state.stream = Stream(nmi, quantity, UNITS[unit], length)


def _interval_day(state: State, line: Line) -> None:
    _close(state)
    if state.stream is None:
        raise ValueError("there is no record 200 that can be read before this one")
    if not state.stream.minutes:
        return
    count = DAY_MIN // state.stream.minutes
    cells = _cells(line, 3 + count)
    start_ms = _day_ms(cells[1], state.asked)
    quality = cells[2 + count]
    flags: list[int | None] = [None if quality.upper().startswith(VARIES) else _flags(quality)] * count
    values = []
    for number, text in enumerate(cells[2 : 2 + count], 1):
        try:
            values.append(amount(text))
        except ValueError as error:
            raise ValueError(f"interval {number}: {error}") from None
    state.day = Day(line.number, state.stream, start_ms, values, flags)


def _range(state: State, line: Line) -> None:
    if state.stream is not None and not state.stream.minutes:
        return
    if state.day is None:
        raise ValueError("there is no record 300 that can be read before this one")
    cells = _cells(line, 4)
    most = len(state.day.flags)
    first, last = whole(cells[1], most), whole(cells[2], most)
    if first is None or last is None or not 1 <= first <= last:
        raise ValueError(f"the range is not within 1 to {len(state.day.flags)}")
    flags = _flags(cells[3])
    for number in range(first, last + 1):
        state.day.flags[number - 1] = flags


def _passed_over(_state: State, _line: Line) -> None:
    """Records 500 tell who read the meter."""


def _end(state: State, _line: Line) -> None:
    _close(state)
    state.stream, state.ended = None, True


_RECORDS = {"100": _header, "200": _stream, "300": _interval_day, "400": _range, "500": _passed_over, "900": _end}


def _close(state: State) -> None:
    """The day that was read is complete."""
    day, state.day = state.day, None
    if day is None:
        return
    if None in day.flags:
        state.found.problem(day.line, "record 300", "", f"quality V, and no record 400 covers interval {day.flags.index(None) + 1}")
    seconds = day.stream.minutes * 60
    for number, (value, flags) in enumerate(zip(day.values, day.flags, strict=True)):
        exact = None if flags == Quality.MISSING else value
        start_ms = day.start_ms + number * seconds * 1000
        state.found.add((day.stream.nmi, day.stream.quantity), Cell(day.line, start_ms, exact, flags or 0, seconds, day.stream.unit))


def _flags(text: str) -> int:
    word = text.upper()
    if word[:1] not in PLAIN:
        raise ValueError(f"quality {text or 'none'} is not one of A, E, F, N, S, V")
    if word[1:] and not (len(word) == 3 and word[1:].isascii() and word[1:].isdigit()):
        raise ValueError(f"quality {text[:20]} is not a letter, or a letter with the two digits of a method such as S14")
    return READ.get(word, PLAIN[word[:1]])


def _word(row: Row) -> str:
    """Quality and method of an interval of ours. A value that is not believed is none."""
    known = int(row.quality if row.value == 0 else row.quality & ~Quality.POWER_FAIL)
    substitute = next((word for word, flags in WORDS if known & flags == flags), "")
    if not substitute and row.quality & DOUBTED and not row.quality & Quality.VERIFIED:
        return MISSING
    return substitute or ACTUAL


def _day_ms(text: str, asked: Asked) -> int:
    if not (len(text) == 8 and text.isascii() and text.isdigit()):
        raise ValueError("the day is not written as 20261101")
    try:
        day = datetime.fromisoformat(text)
        at_ms = ms_of(day.replace(tzinfo=UTC) - _offset(day, asked))
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is not a day") from None
    if not EARLIEST_MS <= at_ms < LATEST_MS:
        raise ValueError("this lies outside 1900 to 2100")
    return at_ms


def _offset(at: datetime, asked: Asked) -> timedelta:
    if asked.clock is Clock.UTC:
        return timedelta()
    if asked.zone.startswith("Australia/") and asked.zone not in OUTSIDE_MARKET:
        return MARKET
    return standard_offset(at, zone_of(asked.zone))


# ---- writing --------------------------------------------------------------------------------------------------


def write(series: Sequence[Series], asked: Asked) -> bytes:
    """Raises ContractError for quantities NEM12 has no suffix for."""
    if asked.clock is Clock.LOCAL:
        raise refused(0, "--clock", "local", "NEM12 is in standard time all year; leave --clock away")
    ends = [row.start_ms + each.period_s * 1000 for each in series for row in each.rows[::-1] if row.value is not None]
    made = max(ends, default=0)
    lines = [f"100,NEM12,{_standard(made, asked):%Y%m%d%H%M},GRIDTALLY,GRIDTALLY"]
    for each in series:
        lines += _stream_lines(each, asked, "".join(f"{SUFFIXES.get(s.quantity, '')}1" for s in series if s.point == each.point))
    return ("\n".join([*lines, "900"]) + "\n").encode()


def _standard(at_ms: int, asked: Asked) -> datetime:
    """Market or standard time, without a zone."""
    at = datetime(1970, 1, 1) + timedelta(milliseconds=at_ms)  # noqa: DTZ001
    return at + _offset(at, asked)


def _stream_lines(series: Series, asked: Asked, suffixes: str) -> list[str]:
    suffix = SUFFIXES.get(series.quantity)
    if suffix is None or DAY_MIN * 60 % series.period_s or series.period_s % 60:
        text = "NEM12 carries kWh and kvarh in intervals of whole minutes; choose with --quantity"
        raise refused(0, series.quantity, series.period_s, text)
    unit, minutes = "kWh" if suffix in "EB" else "kvarh", series.period_s // 60
    lines = [f"200,{series.point},{suffixes},{suffix}1,{suffix}1,{suffix}1,,{unit},{minutes},"]
    days: dict[str, list[Row]] = {}
    for row in series.rows:
        days.setdefault(f"{_standard(row.start_ms, asked):%Y%m%d}", []).append(row)
    for day, rows in days.items():
        lines += _day_lines(day, rows, series.period_s, asked)
    return lines


def _day_lines(day: str, rows: Sequence[Row], period_s: int, asked: Asked) -> list[str]:
    count, start_ms = DAY_MIN * 60 // period_s, _day_ms(day, asked)
    values, words = ["0"] * count, [MISSING] * count
    for row in rows:
        place = (row.start_ms - start_ms) // (period_s * 1000)
        if row.value is not None:
            values[place] = f"{Decimal(row.value) / 1000:f}"
            words[place] = _word(row)
    quality = words[0] if len(set(words)) == 1 else VARIES
    line = f"300,{day},{','.join(values)},{quality},,,{day}000000,"
    return [line, *(_ranges(words) if quality == VARIES else [])]


def _ranges(words: Sequence[str]) -> list[str]:
    lines, first = [], 0
    for number in range(1, len(words) + 1):
        if number == len(words) or words[number] != words[first]:
            lines.append(f"400,{first + 1},{number},{words[first]},,")
            first = number
    return lines
