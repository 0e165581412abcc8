"""Modbus meters as tables: what a register holds, how neighbouring ones are read together, and the port made of it.

* A row names our quantity, the address, the type and the unit on the meter; the value is rounded once, half to even,
  from the exact register value to the integer we keep.
* Neighbours are read in one request while the hole between them is small and the request stays within the meter's
  limit. A meter that refuses a merged request (exception 2) is read register by register from then on.
* A value that is no number or outside its row's range is a reading with `Quality.METER_INVALID` and value 0, not an
  error: the rest of the meter's values stand.
* These meters have no load profile, no event log, no clock and no contactor.

Source: protocols.md 3.2 (profile schema).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NoReturn

from gridtally_edge.drivers.model import Capability, MeterEvent, Now, Reading, SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.modbus import (
    ILLEGAL_ADDRESS,
    REQUEST_BYTES,
    Function,
    Kind,
    ReadRequest,
    Refusal,
    WordOrder,
    ask,
    decode_answer,
    decode_value,
    read_registers,
)
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME

UNITS: dict[str, tuple[str, int]] = {
    "Wh": ("Wh", 1),
    "kWh": ("Wh", 1_000),
    "MWh": ("Wh", 1_000_000),
    "VAh": ("VAh", 1),
    "kVAh": ("VAh", 1_000),
    "varh": ("varh", 1),
    "kvarh": ("varh", 1_000),
    "V": ("V", 1),
    "A": ("A", 1),
    "W": ("W", 1),
    "kW": ("W", 1_000),
    "VA": ("VA", 1),
    "kVA": ("VA", 1_000),
    "Hz": ("Hz", 1),
    "1": ("1", 1),
}
"""Unit on the meter -> our unit and the factor to it."""


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a meter. `quantity` is a name of `quantities`; register value times `scale` is in `unit`, and must
    lie within `low..high` there."""

    quantity: str
    address: int
    unit: str
    low: float
    high: float
    kind: Kind = Kind.F32
    function: Function = Function.READ_INPUT
    order: WordOrder = WordOrder.BIG
    scale: Fraction = Fraction(1)

    def reading(self, words: tuple[int, ...], at_ms: int) -> Reading:
        row, raw = BY_NAME[self.quantity], decode_value(words, self.kind, self.order)
        if not math.isfinite(raw) or not self.low <= raw * self.scale <= self.high:
            return Reading(row.code, at_ms, 0, Quality.METER_INVALID)
        factor = self.scale * UNITS[self.unit][1] / Fraction(10) ** row.exponent
        return Reading(row.code, at_ms, round(Fraction(raw) * factor))


@dataclass(frozen=True, slots=True)
class SerialCell:
    """Where a meter keeps its serial number, an unsigned integer."""

    address: int
    kind: Kind = Kind.U32
    function: Function = Function.READ_HOLDING
    order: WordOrder = WordOrder.BIG


@dataclass(frozen=True, slots=True)
class MeterTable:
    """A model's registers. A request takes `max_registers` at most and spans holes of `max_hole` registers."""

    registers: tuple[Register, ...]
    serial: SerialCell
    max_registers: int = 80
    max_hole: int = 16

    def blocks(self) -> tuple[tuple[Register, ...], ...]:
        """The registers in groups that one request can read."""
        groups: list[tuple[Register, ...]] = []
        for register in sorted(self.registers, key=lambda r: (r.function, r.address)):
            if groups and self._fits(groups[-1], register):
                groups[-1] = (*groups[-1], register)
            else:
                groups.append((register,))
        return tuple(groups)

    def _fits(self, group: tuple[Register, ...], register: Register) -> bool:
        first, last = group[0], group[-1]
        hole = register.address - last.address - last.kind.words
        span = register.address + register.kind.words - first.address
        return register.function is first.function and 0 <= hole <= self.max_hole and span <= self.max_registers


@dataclass(slots=True)
class ModbusPort:
    """A `MeterPort` for one meter. `unit` is its Modbus address."""

    table: MeterTable
    unit: int
    timeout_ms: int = 500
    retries: int = 2
    capabilities: frozenset[Capability] = frozenset()
    interval_s: int = 0
    _one_by_one: bool = field(default=False)

    def open(self) -> Conversation[None]:
        yield from ()

    def close(self) -> Conversation[None]:
        yield from ()

    def read_serial(self) -> Conversation[str]:
        """The serial number the meter itself tells, in decimal digits."""
        cell = self.table.serial
        request = ReadRequest(self.unit, cell.function, cell.address, cell.kind.words)
        words = yield from read_registers(request, self.timeout_ms, self.retries)
        return str(decode_value(words, cell.kind, cell.order))

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        """Every register of the table; each carries the time at which its answer was there."""
        readings: list[Reading] = []
        for block in self.table.blocks():
            readings += yield from self._read_block(block, now)
        return tuple(readings)

    def read_intervals(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        return (yield from _refuse("no load profile"))

    def read_events(self, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        return (yield from _refuse("no event log"))

    def read_clock(self) -> Conversation[int]:
        return (yield from _refuse("no clock"))

    def read_switch(self) -> Conversation[SwitchState]:
        yield from ()
        return SwitchState.NOT_FITTED

    def open_switch(self) -> Conversation[None]:
        yield from _refuse("no contactor in the meter")

    def close_switch(self) -> Conversation[None]:
        yield from _refuse("no contactor in the meter")

    def write_balance(self, amount_nano: int, at_ms: int) -> Conversation[None]:
        yield from _refuse("no display for a balance")

    def _read_block(self, block: tuple[Register, ...], now: Now) -> Conversation[tuple[Reading, ...]]:
        if not self._one_by_one:
            request = _request(self.unit, block)
            answer = yield from ask(request, self.timeout_ms, self.retries)
            if not isinstance(answer, Refusal):
                return _readings(block, answer, now())
            if answer.code != ILLEGAL_ADDRESS or len(block) == 1:
                raise MeterFault(f"the meter refused ({request}): {answer}")
            self._one_by_one = True
        readings: list[Reading] = []
        for register in block:
            words = yield from read_registers(_request(self.unit, (register,)), self.timeout_ms, self.retries)
            readings.append(register.reading(words, now()))
        return tuple(readings)


def _refuse(what: str) -> Conversation[NoReturn]:
    yield from ()
    raise RefusedCommand("unsupported", what)


def _request(unit: int, block: Sequence[Register]) -> ReadRequest:
    first, last = block[0], block[-1]
    return ReadRequest(unit, first.function, first.address, last.address + last.kind.words - first.address)


def _readings(block: Sequence[Register], words: tuple[int, ...], at_ms: int) -> tuple[Reading, ...]:
    base = block[0].address
    return tuple(r.reading(words[r.address - base : r.address - base + r.kind.words], at_ms) for r in block)


def read_vector(table: MeterTable, data: bytes) -> tuple[tuple[str, str], ...]:
    """Recorded requests, each with its answer behind it, into (quantity name, integer as text), with the table.
    Raises MeterFault for bytes that are no such recording."""
    found: list[tuple[str, str]] = []
    for request, words in _recorded(data):
        for register in table.registers:
            start = register.address - request.address
            if register.function is request.function and 0 <= start <= request.count - register.kind.words:
                reading = register.reading(words[start : start + register.kind.words], 0)
                found.append((register.quantity, str(reading.value)))
    return tuple(found)


def _recorded(data: bytes) -> Iterator[tuple[ReadRequest, tuple[int, ...]]]:
    while data:
        try:
            request = ReadRequest.from_bytes(data[:REQUEST_BYTES])
        except ValueError as error:
            raise MeterFault(f"not a recorded Modbus request: {data[:REQUEST_BYTES].hex(' ')}") from error
        answer = decode_answer(request, data[REQUEST_BYTES : REQUEST_BYTES + request.answer_bytes])
        if isinstance(answer, Refusal):
            raise MeterFault(f"the recording holds a refusal: {answer}")
        yield request, answer
        data = data[REQUEST_BYTES + request.answer_bytes :]
