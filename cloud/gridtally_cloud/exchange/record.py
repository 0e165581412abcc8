"""The neutral record every format is read to and written from.

* A `Series` is one quantity of one usage point in equal intervals; a value is a whole number of the unit of `quantities.py` (Wh, l, mV).
* What is wrong in a file is a `Problem` with line and field beside what could be read: nothing of such a file is taken (importing.py).
  What was put right in a way that keeps the sum is a note. A file that is no such file at all is one ContractError.

Source: mdm.md D.1 and B.2 row 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from enum import Enum

from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME, Quantity
from gridtally_shared.records import dataclass


class Clock(Enum):
    """What a time without an offset means: the clock on the wall, the zone's time without summer time, or UTC."""

    LOCAL = "local"
    STANDARD = "standard"
    UTC = "utc"


@dataclass(frozen=True, slots=True)
class Row:
    """One interval; `value` is None where it is missing. `line` is where it stood in a file, 0 if nowhere."""

    start_ms: int
    value: int | None
    quality: int = Quality.OK
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Series:
    """`point` is the name of the usage point as the file has it, empty where it has none. Rows are in the order of time."""

    point: str
    quantity: str
    period_s: int
    rows: tuple[Row, ...]

    @property
    def kind(self) -> Quantity:
        return BY_NAME[self.quantity]

    @property
    def total(self) -> int:
        return sum(row.value or 0 for row in self.rows)

    def runs(self) -> Iterator[tuple[Row, ...]]:
        """Rows that follow each other without a gap."""
        first = 0
        for i in range(1, len(self.rows) + 1):
            if i == len(self.rows) or self.rows[i].start_ms - self.rows[i - 1].start_ms != self.period_s * 1000:
                yield self.rows[first:i]
                first = i


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person should read: `line` 0 where it concerns the whole file."""

    line: int
    field: str
    value: str
    text: str

    def __str__(self) -> str:
        place = f"line {self.line}, {self.field}" if self.line else self.field
        return f"{place}{f' = {self.value[:60]!r}' if self.value else ''}: {self.text}"


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds."""

    series: tuple[Series, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person who brings the file knows beside it. Empty: as the file says, or as its format has it by habit."""

    zone: str = "UTC"
    clock: Clock | None = None
    unit: str = ""
    quantity: str = ""
    column: str = ""
    dates: str = ""


def refused(line: int, name: str, value: object, text: str) -> ContractError:
    """The one error of a reader: this is no file of that format, or nothing of it can be read."""
    return ContractError(str(Problem(line, name, str(value), text)))
