"""Explain Modbus RTU octets for `gridtally decode`: which frames they hold and what the registers may mean.

* Only a valid CRC proves a frame. Octets of the right shape with a wrong CRC are shown as damaged, without values.
* Noise between frames is passed over; octets that are mostly something else are not ours (None).
* Registers carry no type: an answer is shown as words and as float32 with the high word first. Behind its own request
  the addresses are known too.

Source: MODBUS Application Protocol 1.1b3; MODBUS over Serial Line 1.02.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from decimal import Decimal

from gridtally_edge.protocols.modbus import EXCEPTION_BIT, EXCEPTION_WORDS, FUNCTION_WORDS, crc_holds
from gridtally_native import crc16_modbus
from gridtally_shared.explain import ExplainedReading, Explanation, Keys, plain
from gridtally_shared.records import dataclass

KIND = "modbus"
LONGEST = 256
_READS = frozenset({1, 2, 3, 4})
_REGISTER_READS = frozenset({3, 4})
_FIXED = frozenset({1, 2, 3, 4, 5, 6})
_WRITES_MANY = frozenset({15, 16})


@dataclass(frozen=True, slots=True)
class RtuFrame:
    octets: bytes

    @property
    def function(self) -> int:
        return self.octets[1] & ~EXCEPTION_BIT

    @property
    def is_exception(self) -> bool:
        return bool(self.octets[1] & EXCEPTION_BIT)

    @property
    def is_answer_with_registers(self) -> bool:
        return self.octets[1] in _REGISTER_READS and len(self.octets) == 5 + self.octets[2]

    @property
    def is_read_request(self) -> bool:
        return self.octets[1] in _REGISTER_READS and len(self.octets) == 8


def explain_modbus(data: bytes, keys: Keys) -> Explanation | None:
    """An entry point of `gridtally.decoders`; Modbus RTU needs no keys."""
    frames = tuple(_frames(data))
    if 2 * sum(len(frame.octets) for frame in frames) < len(data) or not frames:
        return _damaged(data)
    lines: list[str] = []
    readings: list[ExplainedReading] = []
    before: RtuFrame | None = None
    for frame in frames:
        lines.append(_sentence(frame))
        if frame.is_answer_with_registers:
            address = _address_asked(before, frame)
            readings += _floats(frame, address)
            lines.append("registers " + frame.octets[3:-2].hex(" ", 2))
        before = frame
    title = f"Modbus RTU, {len(frames)} frame{'s' if len(frames) > 1 else ''}: {_sentence(frames[-1])}"
    return Explanation(KIND, title, tuple(lines), tuple(readings), proved=True)


def _frames(data: bytes) -> Iterator[RtuFrame]:
    position = 0
    while position < len(data):
        length = next((n for n in _lengths(data[position : position + 7]) if _sound(data, position, n)), 0)
        if length:
            yield RtuFrame(data[position : position + length])
        position += length or 1


def _sound(data: bytes, start: int, length: int) -> bool:
    return start + length <= len(data) and crc_holds(data[start : start + length])


def _lengths(head: bytes) -> Iterator[int]:
    """Lengths that a frame starting like this may have."""
    if len(head) < 3 or not head[0] <= 247:
        return
    function = head[1] & ~EXCEPTION_BIT
    if function not in FUNCTION_WORDS:
        return
    if head[1] & EXCEPTION_BIT:
        yield 5
        return
    if function in _FIXED or function in _WRITES_MANY:
        yield 8
    if function in _READS and 5 + head[2] <= LONGEST:
        yield 5 + head[2]
    if function in _WRITES_MANY and len(head) == 7:
        yield 9 + head[6]


def _sentence(frame: RtuFrame) -> str:
    who, what = f"unit {frame.octets[0]}", FUNCTION_WORDS[frame.function]
    if frame.is_exception:
        code = frame.octets[2]
        return f"{who} refused to {what}: exception {code}, {EXCEPTION_WORDS.get(code, 'unknown code')}"
    if frame.is_answer_with_registers:
        return f"{who} answered to {what}: {frame.octets[2] // 2} registers"
    if frame.function in _READS and len(frame.octets) != 8:
        return f"{who} answered to {what}: {frame.octets[2]} bytes"
    address, count = struct.unpack(">HH", frame.octets[2:6])
    return f"{who}, {what}, address 0x{address:04X}, {'value' if frame.function in (5, 6) else 'count'} {count}"


def _address_asked(before: RtuFrame | None, answer: RtuFrame) -> int | None:
    if before is None or not before.is_read_request or before.octets[:2] != answer.octets[:2]:
        return None
    address, count = struct.unpack(">HH", before.octets[2:6])
    return int(address) if 2 * count == answer.octets[2] else None


def _floats(frame: RtuFrame, address: int | None) -> Iterator[ExplainedReading]:
    for offset in range(0, frame.octets[2] - 3, 4):
        number = struct.unpack(">f", frame.octets[3 + offset : 7 + offset])[0]
        name = f"register {offset // 2}" if address is None else f"0x{address + offset // 2:04X}"
        yield ExplainedReading(f"{name} as float32", shortest(number), "")


def shortest(number: float) -> Decimal | str:
    """The fewest digits that still mean this float32; its name where it is no number."""
    if not math.isfinite(number):
        return str(number)
    packed = struct.pack(">f", number)
    texts = (f"{number:.{digits}g}" for digits in range(1, 10))
    text = next(t for t in texts if _as_float32(t) == packed)
    return Decimal(plain(Decimal(text)))


def _as_float32(text: str) -> bytes:
    try:
        return struct.pack(">f", float(text))
    except OverflowError:
        return b""


def _damaged(data: bytes) -> Explanation | None:
    """One answer or exception by its shape, but with a wrong CRC."""
    if len(data) < 5 or data[1] & ~EXCEPTION_BIT not in _REGISTER_READS or not 1 <= data[0] <= 247:
        return None
    shape = 5 if data[1] & EXCEPTION_BIT else 5 + data[2]
    if len(data) != shape or (not data[1] & EXCEPTION_BIT and (data[2] % 2 or not data[2])):
        return None
    is_there, ought = int.from_bytes(data[-2:], "little"), crc16_modbus(data[:-2])
    fault = f"the CRC is 0x{is_there:04X} and ought to be 0x{ought:04X}: no value can be taken from this frame"
    return Explanation(KIND, "Modbus RTU frame, damaged on the line", faults=(fault,))
