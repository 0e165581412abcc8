"""Intervals or register readings from a CSV file (or .csv.gz), as the tariff engine takes them. For `gridtally-mdm bill`.

* Columns are found by name: `start` (also `time`, `timestamp`, `interval_start`, `hour_beginning`), `end` where lengths differ,
  `kwh` or `wh` (also `import_...`), `export_kwh`, `kvah`, `quality` (flags as a number), or `register_kwh` instead of energy.
* A time with an offset is that instant. Without one it is local time of the tariff's zone, an hour that comes twice in the order
  of the rows; `..._utc` and `..._standard_time` say so where it is otherwise.
* Energy finer than a Wh is carried to the next row: the sum is kept. An empty energy is a missing interval, never zero.
* A row that can not be used is a ConfigError with its line; nothing is half read.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from gridtally_cloud.exchange.record import Clock
from gridtally_cloud.exchange.times import instant
from gridtally_cloud.exchange.units import amount, half_up
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.use import Series

_START = re.compile(r"^(start|time|timestamp|interval_start|hour_beginning|at)(_utc|_standard_time|_local)?$")
_END = re.compile(r"^(end|interval_end)(_utc|_standard_time|_local)?$")
_KILO, _ONE = 1000, 1
_VALUES = {
    "kwh": ("import", _KILO), "wh": ("import", _ONE), "import_kwh": ("import", _KILO), "import_wh": ("import", _ONE),
    "export_kwh": ("export", _KILO), "export_wh": ("export", _ONE), "kvah": ("apparent", _KILO), "vah": ("apparent", _ONE),
    "register_kwh": ("register", _KILO), "register_wh": ("register", _ONE),
}  # fmt: skip
LARGEST_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Column:
    """Where a quantity stands and how many Wh its unit has."""

    number: int
    quantity: str
    scale: int


@dataclass(frozen=True, slots=True)
class Row:
    """`counts`: Wh in the order of the quantities; None where the energy is not known."""

    line: int
    start_ms: int
    end_ms: int
    counts: tuple[int, ...] | None
    quality: int


@dataclass(frozen=True, slots=True)
class IntervalFile:
    """`quantities` names what each of a row's counts is: import, export, apparent."""

    quantities: tuple[str, ...]
    rows: tuple[Row, ...]

    def series(self, from_ms: int, to_ms: int) -> tuple[Series, ...]:
        """The known intervals within [from_ms, to_ms), in runs without gaps. ConfigError for one that lies across an end."""
        inside = [r for r in self.rows if r.end_ms > from_ms and r.start_ms < to_ms]
        for row in inside:
            if row.start_ms < from_ms or row.end_ms > to_ms:
                raise _wrong(row.line, _iso(row.start_ms), "this interval lies across --from or --to: bill whole intervals")
        return tuple(self._series(run) for run in _runs([r for r in inside if r.counts is not None]))

    def _series(self, run: Sequence[Row]) -> Series:
        columns = dict(zip(self.quantities, zip(*(row.counts or () for row in run), strict=True), strict=True))
        return Series(run[0].start_ms, run[0].end_ms - run[0].start_ms, columns["import"], columns.get("export", ()),
                      columns.get("apparent", ()), run[0].quality)  # fmt: skip

    def missing_ms(self, from_ms: int, to_ms: int) -> int:
        """How much of the time no known interval covers."""
        known = (min(r.end_ms, to_ms) - max(r.start_ms, from_ms) for r in self.rows if r.counts is not None)
        return to_ms - from_ms - sum(max(0, ms) for ms in known)


def _runs(rows: Sequence[Row]) -> Iterator[list[Row]]:
    run: list[Row] = []
    for row in rows:
        last = run[-1] if run else None
        joins = last and last.end_ms == row.start_ms and last.quality == row.quality
        if last and not (joins and last.end_ms - last.start_ms == row.end_ms - row.start_ms):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def read_interval_file(path: Path, zone: ZoneInfo) -> IntervalFile:
    """Read a file. Raises ConfigError with the line that is at fault."""
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig") as file:
            table = list(csv.reader(file.read(LARGEST_BYTES).splitlines()))
    except (OSError, UnicodeDecodeError, EOFError, csv.Error) as error:
        raise ConfigError("--intervals", str(path), f"this file can not be read as CSV: {error}") from None
    if not table:
        raise ConfigError("--intervals", str(path), "this file is empty; write a header such as start,kwh and a row an interval")
    header = [name.strip().lower() for name in table[0]]
    lines = [(number, row) for number, row in enumerate(table[1:], 2) if row and any(cell.strip() for cell in row)]
    if not lines:
        raise _wrong(2, "", "there is no interval in this file")
    return _read(header, lines, zone)


def _read(header: list[str], lines: list[tuple[int, list[str]]], zone: ZoneInfo) -> IntervalFile:
    columns = [Column(n, *_VALUES[name]) for n, name in enumerate(header) if name in _VALUES]
    quantities = tuple(c.quantity for c in columns)
    if len(set(quantities)) < len(quantities) or not {"import", "register"} & set(quantities):
        raise _wrong(1, ",".join(header), "write one column of energy: kwh, wh or register_kwh")
    for number, row in lines:
        if len(row) != len(header):
            raise _wrong(number, ",".join(row), f"this line has {len(row)} cells and the header {len(header)}")
    starts = _times(header, lines, _START, zone)
    if starts is None:
        raise _wrong(1, ",".join(header), "write a column with the start of each interval: start")
    if "register" in quantities:
        return _moved(lines, starts, columns[quantities.index("register")])
    ends = _times(header, lines, _END, zone) or _ends(lines, starts)
    counts, flags = _counts(lines, columns), _flags(header, lines)
    rows = tuple(Row(lines[i][0], starts[i], ends[i], counts[i], flags[i]) for i in range(len(lines)))
    _in_order(rows)
    return IntervalFile(quantities, rows)


def _moved(lines: list[tuple[int, list[str]]], starts: list[int], column: Column) -> IntervalFile:
    """Register readings: what the register moved between each two."""
    counts = [[_whole(number, row[column.number], column.scale)] for number, row in lines]
    rows = tuple(Row(lines[i + 1][0], starts[i], starts[i + 1], (int(b[0]) - int(a[0]),), 0) for i, (a, b) in enumerate(pairwise(counts)))
    if not rows:
        raise _wrong(lines[-1][0], "", "a register needs two readings")
    for row in rows:
        if row.counts and row.counts[0] < 0:
            raise _wrong(row.line, row.counts[0], "the register went back; put a reading on both sides of the change of meter")
    _in_order(rows)
    return IntervalFile(("import",), rows)


def _in_order(rows: Sequence[Row]) -> None:
    for row in rows:
        if row.end_ms <= row.start_ms:
            raise _wrong(row.line, _iso(row.end_ms), "this does not end after it starts; rows are in the order of time")
    for before, row in pairwise(rows):
        if row.start_ms < before.end_ms:
            raise _wrong(row.line, _iso(row.start_ms), "this overlaps the line before it; keep each interval once, in the order of time")


def _times(header: list[str], lines: list[tuple[int, list[str]]], name: re.Pattern[str], zone: ZoneInfo) -> list[int] | None:
    found = next(((n, match[2] or "") for n, cell in enumerate(header) if (match := name.match(cell))), None)
    if found is None:
        return None
    times: list[int] = []
    for number, row in lines:
        times.append(_instant(number, row[found[0]].strip(), found[1], zone, times[-1] if times else None))
    return times


def _instant(number: int, text: str, habit: str, zone: ZoneInfo, before_ms: int | None) -> int:
    try:
        return instant(text, _CLOCKS[habit], zone, before_ms, strict=False)
    except ValueError as error:
        raise _wrong(number, text, str(error)) from None


_CLOCKS = {"": Clock.LOCAL, "_local": Clock.LOCAL, "_utc": Clock.UTC, "_standard_time": Clock.STANDARD}


def _ends(lines: list[tuple[int, list[str]]], starts: list[int]) -> list[int]:
    """Without a column: all intervals are as long as the shortest distance of two starts."""
    steps = [b - a for a, b in pairwise(starts)]
    if not steps:
        raise _wrong(lines[0][0], "", "the length of one interval alone can not be known: add a column end")
    for (number, row), step in zip(lines[1:], steps, strict=True):
        if step <= 0:
            raise _wrong(number, row[0], "this is not after the line before it; keep each interval once, in the order of time")
    return [start + min(steps) for start in starts]


def _counts(lines: list[tuple[int, list[str]]], columns: list[Column]) -> list[tuple[int, ...] | None]:
    """Whole Wh of each row; fractions are carried along each column, half up."""
    sums = [Decimal(0)] * len(columns)
    found: list[tuple[int, ...] | None] = []
    for number, row in lines:
        cells = [row[c.number].strip() for c in columns]
        if "" in cells:
            found.append(None)
            continue
        exact = [_whole(number, cell, c.scale) for cell, c in zip(cells, columns, strict=True)]
        if any(value < 0 for value in exact):
            raise _wrong(number, cells[0], "energy is never negative; what is given back has its own column export_kwh")
        after = [total + value for total, value in zip(sums, exact, strict=True)]
        found.append(tuple(half_up(b) - half_up(a) for a, b in zip(sums, after, strict=True)))
        sums = after
    return found


def _whole(number: int, cell: str, scale: int) -> Decimal:
    try:
        return amount(cell.strip()) * scale
    except ValueError:
        raise _wrong(number, cell, "this is not an amount of energy; write digits such as 0.125") from None


def _flags(header: list[str], lines: list[tuple[int, list[str]]]) -> list[int]:
    if "quality" not in header:
        return [0] * len(lines)
    place = header.index("quality")
    for number, row in lines:
        if not re.fullmatch(r"[0-9]{0,5}", row[place].strip()):
            raise _wrong(number, row[place], "quality is a number of flags, 0 for good, 128 for estimated")
    return [int(row[place].strip() or 0) for _, row in lines]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()


def _wrong(line: int, value: object, remedy: str) -> ConfigError:
    return ConfigError(f"--intervals line {line}", value, remedy)
