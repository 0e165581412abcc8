"""Data sets of a readout: `address(value*unit)(...)`, as text.

* A line holds one or more data sets; a line that begins with a bracket goes on with the set before it (old P1 gas lines).
* `!` ends the data; what stands behind is not read here. Lines without a bracket are passed over: makers put texts there.
* Values are text: which are numbers is for whoever knows the address.

Source: IEC 62056-21:2002 clause 6.4 and annex A; DSMR P1 companion standards 2.2 to 5.0.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

LETTERS: dict[str, int] = {"C": 96, "F": 97, "L": 98, "P": 99}
"""Group C of reduced codes (EN 62056-61, table of codes without A and B)."""


@dataclass(frozen=True, slots=True)
class Cell:
    value: str
    unit: str = ""

    @property
    def number(self) -> Decimal | None:
        """The value as an exact number, None where it is none: meters write dashes, blanks or letters for "no value"."""
        try:
            number = Decimal(self.value)
        except InvalidOperation:
            return None
        return number if number.is_finite() and self.value.strip("+-.0123456789") == "" else None


@dataclass(frozen=True, slots=True)
class DataSet:
    """`address` as written, "" for a set that answers a question."""

    address: str
    cells: tuple[Cell, ...]

    @property
    def obis(self) -> Obis | None:
        return obis_of(self.address)

    @property
    def first(self) -> Cell:
        return self.cells[0] if self.cells else Cell("")


def read_data_sets(text: str) -> tuple[DataSet, ...]:
    """All data sets up to the `!`; brackets that do not close end the reading of their line."""
    sets: list[DataSet] = []
    for line in text.partition("!")[0].splitlines():
        for address, cell in _cells(line):
            if address is None and sets:
                last = sets[-1]
                sets[-1] = DataSet(last.address, (*last.cells, cell))
            else:
                sets.append(DataSet(address or "", (cell,)))
    return tuple(sets)


def _cells(line: str) -> Iterator[tuple[str | None, Cell]]:
    """(address, or None where the bracket goes on with the set before, and the cell) of one line."""
    start = 0
    while (opening := line.find("(", start)) >= 0:
        closing = line.find(")", opening)
        if closing < 0:
            return
        address = line[start:opening].strip()
        value, _, unit = line[opening + 1 : closing].partition("*")
        yield address or None, Cell(value.strip(), unit.strip())
        start = closing + 1


def obis_of(address: str) -> Obis | None:
    """The OBIS code of an address, whole or reduced (1.8.0, C.1.0, 1.8.0*01, 1.8.0&01); None where it is none."""
    head, separator, code = address.replace("&", "*").rpartition(":")
    first, dot, rest = code.partition(".")
    code = f"{LETTERS.get(first, first)}{dot}{rest}"
    if code.count(".") == 1 and "*" not in code:
        code += ".0"
    try:
        return Obis.of(head + separator + code)
    except ValueError:
        return None
