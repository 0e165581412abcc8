"""From the cells of a file to series: lengths, order, duplicates and rounding, the same for every format.

* The same interval twice with the same value counts once. With two values it is a problem that names both lines, and both are kept.
* An interval as long as two (the hour that comes twice, written as one) is halved and marked estimated; one without any length (the
  hour a format has no room for) is added to the one that begins there. Both keep the sum and are noted.
* Rows of another length are a series of their own.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import pairwise

from gridtally_cloud.exchange.record import Asked, Content, Problem, Row, Series
from gridtally_cloud.exchange.units import LARGEST, UNITS, Unit, half_up
from gridtally_cloud.store.days import day_of, midnight_ms
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

MOST_PROBLEMS = 100
MOST_ROWS = 5_000_000
SUMMED = frozenset({"Wh", "VAh", "varh", "m3"})

Key = tuple[str, str]
"""Usage point and quantity."""


@dataclass(slots=True)
class Cell:
    """One value as it stood; `exact` in the unit, `seconds` 0 where the file does not say how long it is."""

    line: int
    start_ms: int
    exact: Decimal | None
    quality: int
    seconds: int | None
    unit: Unit


class Collector:
    """Takes cells and problems while a file is read; `content` makes the record of them."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.cells: dict[Key, list[Cell]] = {}
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self._left_out = 0

    def problem(self, line: int, name: str, value: str, text: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(line, name, value, text))
        else:
            self._left_out += 1

    def note(self, line: int, name: str, text: str) -> None:
        if len(self.notes) < MOST_PROBLEMS:
            self.notes.append(Problem(line, name, "", text))

    def add(self, key: Key, cell: Cell) -> None:
        """`cell.seconds`: None where it is not known, 0 where the file says that the interval has no length."""
        if cell.exact is not None and cell.exact < 0 and cell.unit.stored in SUMMED:
            self.problem(cell.line, key[1], str(cell.exact), "energy is never negative; what is given back has its own channel (export)")
            return
        if cell.exact is not None and abs(cell.exact) * cell.unit.each > LARGEST:
            self.problem(cell.line, key[1], str(cell.exact), "no interval has so much")
            return
        self.cells.setdefault(key, []).append(cell)

    def last_ms(self, key: Key) -> int | None:
        """When the last interval of a series so far began."""
        cells = self.cells.get(key)
        return cells[-1].start_ms if cells else None

    def content(self) -> Content:
        series = [made for key, cells in self.cells.items() for made in self._series(key, cells)]
        if not series and not self.problems:
            self.problem(0, "file", "", "there is no interval in this file")
        if self._left_out:
            self.problems.append(Problem(0, "file", "", f"and {self._left_out} more like these"))
        return Content(tuple(series), tuple(self.problems), tuple(self.notes))

    # ---- one series -------------------------------------------------------------------------------------------

    def _series(self, key: Key, cells: list[Cell]) -> list[Series]:
        period_s = _period_s(cells)
        if period_s is None:
            if not self.problems:
                self.problem(cells[0].line, "start", "", "how long one interval alone is can not be known: add its end, or more rows")
            return []
        for cell in cells:
            cell.seconds = period_s if cell.seconds is None else cell.seconds
        merged = self._merged(key[1], sorted(cells, key=lambda cell: cell.start_ms), period_s)
        parts: dict[int, list[Cell]] = {}
        for cell in merged:
            parts.setdefault(cell.seconds or 0, []).append(cell)
        return [Series(key[0], key[1], length, self._rows(part, length)) for length, part in parts.items()]

    def _merged(self, name: str, cells: list[Cell], period_s: int) -> list[Cell]:
        """Each interval once, each with a length; one that contradicts another stays beside it."""
        held: dict[tuple[int, int], Cell] = {}
        beside: list[Cell] = []
        starts = {cell.start_ms for cell in cells}
        for cell in cells:
            for part in self._halves(name, cell, period_s, starts):
                before = held.setdefault((part.start_ms, part.seconds or 0), part)
                if before is not part:
                    held[(part.start_ms, part.seconds or 0)] = self._same(name, before, part, beside)
        for (start_ms, seconds), cell in list(held.items()):
            if seconds == 0:
                self._lengthless(name, held, start_ms, period_s, cell)
        return [*held.values(), *beside]

    def _halves(self, name: str, cell: Cell, period_s: int, starts: set[int]) -> list[Cell]:
        second_ms = cell.start_ms + period_s * 1000
        if cell.seconds != 2 * period_s or second_ms in starts or cell.unit.stored not in SUMMED:
            return [cell]
        self.note(cell.line, name, f"one value for two intervals of {period_s} s: halved, both marked estimated")
        total = None if cell.exact is None else own(cell, cell.seconds)
        first = None if total is None else Decimal(half_up(total / 2))
        rest = None if total is None or first is None else total - first
        unit = UNITS[_PLAIN[cell.unit.stored]]
        marked = cell.quality | Quality.ESTIMATED
        return [Cell(cell.line, cell.start_ms, first, marked, period_s, unit), Cell(cell.line, second_ms, rest, marked, period_s, unit)]

    def _same(self, name: str, first: Cell, second: Cell, beside: list[Cell]) -> Cell:
        if first.exact is None or second.exact is None:
            return second if first.exact is None else first
        if first.exact * first.unit.each != second.exact * second.unit.each:
            text = f"line {first.line} has {first.exact} for the same interval: keep one of them, or check for the change of summer time"
            self.problem(second.line, name, str(second.exact), text)
            beside.append(second)
        else:
            self.note(second.line, name, f"the same interval as line {first.line} with the same value: counted once")
        return first

    def _lengthless(self, name: str, held: dict[tuple[int, int], Cell], start_ms: int, period_s: int, cell: Cell) -> None:
        del held[(start_ms, 0)]
        there = held.get((start_ms, period_s))
        if cell.exact is None or cell.exact == 0:
            return
        if there is None or there.exact is None or there.unit.power or cell.unit.power:
            self.problem(cell.line, name, str(cell.exact), "this interval has no length and there is none it could belong to")
            return
        there.exact = there.exact + cell.exact * cell.unit.each / there.unit.each
        self.note(cell.line, name, f"an interval without length: its value is added to that of line {there.line}")

    def _rows(self, cells: list[Cell], period_s: int) -> tuple[Row, ...]:
        cells.sort(key=lambda cell: cell.start_ms)
        for a, b in pairwise(cells):
            if a.start_ms < b.start_ms < a.start_ms + period_s * 1000:
                self.problem(b.line, "start", "", f"this interval of {period_s} s begins within that of line {a.line}")
        rows: list[Row] = []
        day_end_ms, exact, given = 0, Decimal(0), 0
        for cell in cells:
            if cell.exact is None:
                rows.append(Row(cell.start_ms, None, cell.quality | Quality.MISSING, cell.line))
                continue
            if cell.start_ms >= day_end_ms or not rows:
                day_end_ms = midnight_ms(day_of(cell.start_ms, self.asked.zone) + 1, self.asked.zone)
                exact, given = Decimal(0), 0
            exact += own(cell, period_s)
            value = half_up(exact) - given
            given += value
            rows.append(Row(cell.start_ms, value, cell.quality, cell.line))
        return tuple(rows)


_PLAIN = {"Wh": "wh", "VAh": "vah", "varh": "varh", "m3": "l"}


def own(cell: Cell, period_s: int) -> Decimal:
    """How many of ours a cell has, exactly but for a third of an hour."""
    exact = (cell.exact or Decimal(0)) * cell.unit.each
    return exact * period_s / 3600 if cell.unit.power else exact


def _period_s(cells: list[Cell]) -> int | None:
    """The commonest length told, or else the commonest step between rows; of several the shortest."""
    told = Counter(cell.seconds for cell in cells if cell.seconds)
    if not told:
        starts = sorted({cell.start_ms for cell in cells})
        told = Counter((b - a) // 1000 for a, b in pairwise(starts) if b - a >= 1000)
    return min(told, key=lambda seconds: (-told[seconds], seconds or 0)) if told else None
