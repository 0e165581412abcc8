"""Modbus meters as tables: what a register holds, how neighbouring ones are read together, how a meter is known.

* A row names our quantity, the address, the type and the unit on the meter; the value is rounded once, half to even,
  from the exact register value to the integer we keep (modbus_decode.py).
* Neighbours are read in one request while the hole between them is small and the request stays within the meter's
  limit.
* Identity: the serial number in a cell of the meter. A meter that does not tell one is known by its label, which a
  person wrote down, and by a probe that its answers make sense; it never gets a switch.
* Register times `scale` plus `offset` is in `unit`. Raw values in `absent` mean "not available".

Source: protocols.md 3.2 (profile schema).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from fractions import Fraction

from gridtally_edge.protocols.modbus import Function, Kind, WordOrder
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.quantities import Kind as QuantityKind
from gridtally_shared.records import dataclass

UNITS: dict[str, tuple[str, Fraction]] = {
    "Wh": ("Wh", Fraction(1)),
    "kWh": ("Wh", Fraction(1_000)),
    "MWh": ("Wh", Fraction(1_000_000)),
    "MJ": ("Wh", Fraction(2_500, 9)),
    "GJ": ("Wh", Fraction(2_500_000, 9)),
    "VAh": ("VAh", Fraction(1)),
    "kVAh": ("VAh", Fraction(1_000)),
    "varh": ("varh", Fraction(1)),
    "kvarh": ("varh", Fraction(1_000)),
    "mV": ("V", Fraction(1, 1_000)),
    "V": ("V", Fraction(1)),
    "kV": ("V", Fraction(1_000)),
    "mA": ("A", Fraction(1, 1_000)),
    "A": ("A", Fraction(1)),
    "W": ("W", Fraction(1)),
    "kW": ("W", Fraction(1_000)),
    "VA": ("VA", Fraction(1)),
    "kVA": ("VA", Fraction(1_000)),
    "var": ("var", Fraction(1)),
    "kvar": ("var", Fraction(1_000)),
    "Hz": ("Hz", Fraction(1)),
    "1": ("1", Fraction(1)),
    "%": ("%", Fraction(1)),
    "l": ("m3", Fraction(1, 1_000)),
    "m3": ("m3", Fraction(1)),
    "l/h": ("m3/h", Fraction(1, 1_000)),
    "m3/h": ("m3/h", Fraction(1)),
    "°C": ("°C", Fraction(1)),
    "min": ("min", Fraction(1)),
}
"""Unit on the meter -> our unit and the factor to it."""

USUAL_RANGE: dict[str, tuple[int, int]] = {
    "%": (0, 1_000),
    "Wh": (0, 10**15),
    "VAh": (0, 10**15),
    "varh": (0, 10**15),
    "V": (0, 1_000),
    "A": (0, 30_000),
    "W": (-30_000_000, 30_000_000),
    "VA": (0, 30_000_000),
    "var": (-30_000_000, 30_000_000),
    "Hz": (0, 500),
    "m3": (0, 10**9),
    "m3/h": (-100_000, 100_000),
    "°C": (-60, 400),
    "min": (0, 10**9),
}
"""Our unit -> what a meter can show; a row that knows better says so."""
FACTOR_RANGE = (Fraction(-1_001, 1_000), Fraction(1_001, 1_000))
COUNT_RANGE = (Fraction(0), Fraction(2**53))


def usual_range(quantity: str, unit: str) -> tuple[Fraction, Fraction]:
    """The range of a quantity, in the unit on the meter."""
    row = BY_NAME[quantity]
    if row.unit == "1":
        return COUNT_RANGE if row.kind is QuantityKind.REGISTER else FACTOR_RANGE
    low, high = USUAL_RANGE[row.unit]
    return low / UNITS[unit][1], high / UNITS[unit][1]


class Encoding(Enum):
    """PLAIN: a number. FOUR_QUADRANTS: a power factor of -2..2 that tells lag and lead by going past one (Schneider)."""

    PLAIN = "plain"
    FOUR_QUADRANTS = "four-quadrants"


def usual_absent(kind: Kind) -> frozenset[int]:
    """What a meter puts where it has no value: all ones, or the ends of the signed range. Floats say NaN."""
    bits = 16 * kind.words
    if kind.is_float:
        return frozenset()
    return frozenset({2 ** (bits - 1) - 1, -(2 ** (bits - 1))}) if kind.is_signed else frozenset({2**bits - 1})


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a meter. `quantity` is a name of `quantities`; register value times `scale` plus `offset` is in `unit`,
    and must lie within `low..high` there (None: the usual range of the quantity). `absent` None means the usual marks of
    the type. `exponent_at` is the cell of a signed 16-bit power of ten that the value is multiplied by."""

    quantity: str
    address: int
    unit: str
    low: Fraction | int | float | None = None
    high: Fraction | int | float | None = None
    kind: Kind = Kind.F32
    function: Function = Function.READ_INPUT
    order: WordOrder = WordOrder.BIG
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    absent: frozenset[int] | None = None
    encoding: Encoding = Encoding.PLAIN
    exponent_at: int | None = None

    @property
    def end(self) -> int:
        return self.address + self.kind.words

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """Address and end of everything the row reads: the value and its exponent."""
        value = (self.address, self.end)
        return (value,) if self.exponent_at is None else (value, (self.exponent_at, self.exponent_at + 1))

    @property
    def range(self) -> tuple[Fraction, Fraction]:
        low, high = usual_range(self.quantity, self.unit)
        return low if self.low is None else Fraction(self.low), high if self.high is None else Fraction(self.high)

    @property
    def absent_marks(self) -> frozenset[int]:
        return usual_absent(self.kind) if self.absent is None else self.absent


class SerialForm(Enum):
    """NUMBER: unsigned integer. TEXT: ASCII, filled with blanks or zeros. HEX: the octets as hexadecimal digits."""

    NUMBER = "number"
    TEXT = "text"
    HEX = "hex"


@dataclass(frozen=True, slots=True)
class SerialCell:
    """Where a meter keeps its serial number: `words` registers from `address` on."""

    address: int
    words: int = 2
    form: SerialForm = SerialForm.NUMBER
    function: Function = Function.READ_HOLDING
    order: WordOrder = WordOrder.BIG


@dataclass(frozen=True, slots=True)
class Probe:
    """A cell that tells whether the profile fits: the maker's model number (one of `values`), or a value that must lie
    within `low..high` of its raw number (frequency is the best: it is known, and never zero on a live meter)."""

    what: str
    address: int
    kind: Kind
    function: Function
    order: WordOrder = WordOrder.BIG
    values: frozenset[int] = frozenset()
    low: float = 0.0
    high: float = 0.0

    @property
    def cell(self) -> tuple[Function, int, Kind]:
        return self.function, self.address, self.kind

    def accepts(self, raw: int | float) -> bool:
        return raw in self.values if self.values else self.low <= raw <= self.high


@dataclass(frozen=True, slots=True)
class Block:
    """Registers that one request reads: `count` registers from `address` on."""

    function: Function
    address: int
    count: int
    registers: tuple[Register, ...]


@dataclass(frozen=True, slots=True)
class MeterTable:
    """A model's registers. A request takes `max_registers` at most and spans holes of `max_hole` registers."""

    registers: tuple[Register, ...]
    serial: SerialCell | None = None
    probe: Probe | None = None
    max_registers: int = 80
    max_hole: int = 16

    def blocks(self) -> tuple[Block, ...]:
        """The registers in groups that one request can read."""
        groups: list[list[Register]] = []
        for register in sorted(self.registers, key=lambda r: (r.function, r.cells[0][0])):
            if groups and self._fits(groups[-1], register):
                groups[-1].append(register)
            else:
                groups.append([register])
        return tuple(block_of(group) for group in groups)

    def _fits(self, group: list[Register], register: Register) -> bool:
        before, after = block_of(group), block_of([*group, register])
        hole = register.address - before.address - before.count
        return register.function is before.function and hole <= self.max_hole and after.count <= self.max_registers


def block_of(registers: Iterable[Register]) -> Block:
    """One request for all of these rows; they must be of one function."""
    rows = tuple(registers)
    cells = [cell for row in rows for cell in row.cells]
    first, last = min(start for start, _ in cells), max(end for _, end in cells)
    return Block(rows[0].function, first, last - first, rows)


