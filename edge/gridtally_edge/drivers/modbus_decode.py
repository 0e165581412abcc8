"""The octets of one answer into readings, with everything that can be known beforehand worked out beforehand.

* A block is unpacked by one `struct`; where words or octets stand in another order, they are put in place first.
* Integers stay integers: multiplier and divisor are exact, the quotient is rounded once, half to even. A float32 times a
  small whole number is exact in a double; everything else goes through exact fractions.
* A value that is no number, a mark for "not available", or outside its row's range is a reading with
  `Quality.METER_INVALID` and value 0, not an error: the rest of the meter's values stand.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from operator import itemgetter

from gridtally_edge.drivers.modbus_table import UNITS, Block, Encoding, Register
from gridtally_edge.drivers.model import Reading
from gridtally_edge.protocols.modbus import Kind, WordOrder
from gridtally_shared.errors import MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME

Take = Callable[[float], int | None]
EXACT_IN_A_DOUBLE = 2**29
INVALID = int(Quality.METER_INVALID)
LARGEST_EXPONENT = 18


class BlockDecoder:
    """Made once for a block of a table; `readings` is called at each poll."""

    __slots__ = ("_order", "_rows", "_scaled", "_unpack")

    def __init__(self, block: Block) -> None:
        fields = sorted({(start, end) for row in block.registers for start, end in row.cells})
        places = {start: number for number, (start, _) in enumerate(fields)}
        rows = sorted(block.registers, key=lambda row: row.address)
        self._unpack = struct.Struct(_format(block, fields)).unpack
        self._order = _order(block)
        self._rows = [(BY_NAME[r.quantity].code, places[r.address], taker(r)) for r in rows if r.exponent_at is None]
        self._scaled = [
            (BY_NAME[r.quantity].code, places[r.address], places[r.exponent_at], r) for r in rows if r.exponent_at is not None
        ]

    def readings(self, octets: bytes, at_ms: int) -> tuple[Reading, ...]:
        """`octets` are the block's registers as they stood on the line. Raises MeterFault when it is not that many."""
        values = self._values(octets)
        found = [
            Reading(code, at_ms, 0, INVALID) if (value := take(values[place])) is None else Reading(code, at_ms, value)
            for code, place, take in self._rows
        ]
        for code, place, exponent_place, register in self._scaled:
            value = _scaled(register, values[place], values[exponent_place])
            found.append(Reading(code, at_ms, 0, INVALID) if value is None else Reading(code, at_ms, value))
        return tuple(found)

    def _values(self, octets: bytes) -> tuple[float, ...]:
        try:
            return self._unpack(octets if self._order is None else bytes(self._order(octets)))
        except (struct.error, IndexError) as error:
            raise MeterFault(f"{len(octets)} octets are not the registers that were asked") from error


def taker(register: Register) -> Take:
    """From the raw value of a row to our integer, None where it is no value."""
    unit = UNITS[register.unit][1] / Fraction(10) ** BY_NAME[register.quantity].exponent
    factor, offset = register.scale * unit, register.offset * unit
    if register.encoding is Encoding.FOUR_QUADRANTS:
        return _folded(_exact(factor, offset, *_raw_range(replace(register, low=-2, high=2)), register.absent_marks))
    low, high = _raw_range(register)
    if offset:
        return _exact(factor, offset, low, high, register.absent_marks)
    if not register.kind.is_float:
        return _integer(factor, math.ceil(low), math.floor(high), register.absent_marks)
    if register.kind is Kind.F32 and factor.denominator == 1 and abs(factor.numerator) < EXACT_IN_A_DOUBLE:
        return _float(factor.numerator, float(low), float(high))
    return _exact(factor, offset, low, high, register.absent_marks)


def _raw_range(register: Register) -> tuple[Fraction, Fraction]:
    low, high = sorted((edge - register.offset) / register.scale for edge in register.range)
    return low, high


def _integer(factor: Fraction, low: int, high: int, absent: frozenset[int]) -> Take:
    multiplier, divisor = factor.numerator, factor.denominator

    def whole(raw: float) -> int | None:
        return int(raw) * multiplier if low <= raw <= high and raw not in absent else None

    def parted(raw: float) -> int | None:
        return _half_even(int(raw) * multiplier, divisor) if low <= raw <= high and raw not in absent else None

    return whole if divisor == 1 else parted


def _float(multiplier: int, low: float, high: float) -> Take:
    def take(raw: float) -> int | None:
        return round(raw * multiplier) if low <= raw <= high else None

    return take


def _exact(factor: Fraction, offset: Fraction, low: Fraction, high: Fraction, absent: frozenset[int]) -> Take:
    def take(raw: float) -> int | None:
        if not math.isfinite(raw) or not low <= raw <= high or raw in absent:
            return None
        return round(Fraction(raw) * factor + offset)

    return take


def _folded(take: Take) -> Take:
    """A four-quadrant power factor past one counts back towards zero with the same sign."""

    def folded(raw: float) -> int | None:
        if abs(raw) <= 1:
            return take(raw)
        return take(math.copysign(2, raw) - raw) if abs(raw) <= 2 else None

    return folded


def _half_even(numerator: int, divisor: int) -> int:
    quotient, rest = divmod(numerator, divisor)
    twice = 2 * rest
    return quotient + (twice > divisor or (twice == divisor and quotient & 1))


def _scaled(register: Register, raw: float, exponent: float) -> int | None:
    if abs(exponent) > LARGEST_EXPONENT:
        return None
    return taker(replace(register, scale=register.scale * Fraction(10) ** int(exponent), exponent_at=None))(raw)


def _format(block: Block, fields: Sequence[tuple[int, int]]) -> str:
    """The struct format of a block whose values stand highest octet first, holes as pad octets."""
    codes = {row.address: row.kind.code for row in block.registers}
    text, at = ">", block.address
    for start, end in fields:
        text += f"{2 * (start - at)}x" + codes.get(start, "h")
        at = end
    return text + f"{2 * (block.address + block.count - at)}x"


def _order(block: Block) -> Callable[[bytes], tuple[int, ...]] | None:
    """Puts the octets of a block in place; None when they stand in place already."""
    if all(row.order is WordOrder.BIG for row in block.registers):
        return None
    order = list(range(2 * block.count))
    for row in block.registers:
        start = 2 * (row.address - block.address)
        order[start : start + 2 * row.kind.words] = [start + place for place in row.order.places(row.kind.words)]
    return itemgetter(*order)
