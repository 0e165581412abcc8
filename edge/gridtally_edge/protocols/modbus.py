"""Modbus RTU without I/O: requests, finding the answer in what the line brought, registers into numbers.

* An answer counts only with a valid CRC, from the unit that was asked, for the function and length that was asked.
  Noise or an echo in front and junk behind are skipped; a single flipped bit yields no value at all.
* Where several valid frames stand, the first one is taken.
* An exception answer is data (`Refusal`); `read_registers` turns it into a `MeterFault` that says it in words.
* Registers are big-endian words. `WordOrder` names where the octets A (highest) to D of a 32-bit value stand; values of
  64 bits follow the same rule: words forwards or backwards, octets of a word forwards or swapped.
* `Query` is a request made once and asked often: its octets and its exchange are not made again at each poll.

Source: MODBUS Application Protocol 1.1b3 (functions 3 and 4, exception codes), MODBUS over Serial Line 1.02.
"""

from __future__ import annotations

import struct
from enum import Enum, IntEnum

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found, GivesWay
from gridtally_native import crc16_modbus
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

MAX_REGISTERS = 125
EXCEPTION_BIT = 0x80
EXCEPTION_BYTES = 5
REQUEST_BYTES = 8


class Function(IntEnum):
    READ_HOLDING = 3
    READ_INPUT = 4


FUNCTION_WORDS: dict[int, str] = {
    1: "read coils",
    2: "read discrete inputs",
    3: "read holding registers",
    4: "read input registers",
    5: "write single coil",
    6: "write single register",
    15: "write coils",
    16: "write registers",
}

EXCEPTION_WORDS: dict[int, str] = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledged, still working",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not respond",
}

ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
TARGET_SILENT = 11


class WordOrder(Enum):
    BIG = "ABCD"
    LITTLE = "CDAB"
    SWAPPED = "BADC"
    REVERSED = "DCBA"

    def places(self, words: int) -> tuple[int, ...]:
        """Where on the line the octets of a value stand, the highest octet first."""
        backwards, swapped = self in (WordOrder.LITTLE, WordOrder.REVERSED), self in (WordOrder.SWAPPED, WordOrder.REVERSED)
        order = range(words - 1, -1, -1) if backwards else range(words)
        return tuple(2 * word + (1 - octet if swapped else octet) for word in order for octet in (0, 1))


class Kind(Enum):
    """Type of a register value: struct code and how many registers it takes."""

    U16 = ("H", 1)
    S16 = ("h", 1)
    U32 = ("I", 2)
    S32 = ("i", 2)
    F32 = ("f", 2)
    F64 = ("d", 4)
    U64 = ("Q", 4)
    S64 = ("q", 4)

    @property
    def words(self) -> int:
        return self.value[1]

    @property
    def code(self) -> str:
        return self.value[0]

    @property
    def is_float(self) -> bool:
        return self in (Kind.F32, Kind.F64)

    @property
    def is_signed(self) -> bool:
        return self in (Kind.S16, Kind.S32, Kind.S64)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Read `count` registers from the zero-based `address` of `unit` (1..247)."""

    unit: int
    function: Function
    address: int
    count: int

    def __post_init__(self) -> None:
        if not (1 <= self.unit <= 247 and 0 <= self.address <= 0xFFFF and 1 <= self.count <= MAX_REGISTERS):
            raise ValueError(f"unit 1..247, address 0..65535, count 1..{MAX_REGISTERS}: {self}")

    @classmethod
    def from_bytes(cls, frame: bytes) -> ReadRequest:
        """The request in a whole frame; ValueError when it is none."""
        if len(frame) != REQUEST_BYTES or not crc_holds(frame):
            raise ValueError(f"not a request for registers: {frame.hex(' ')}")
        unit, function, address, count = struct.unpack(">BBHH", frame[:-2])
        return cls(unit, Function(function), address, count)

    def to_bytes(self) -> bytes:
        return with_crc(struct.pack(">BBHH", self.unit, self.function, self.address, self.count))

    @property
    def answer_bytes(self) -> int:
        return 5 + 2 * self.count

    def __str__(self) -> str:
        return f"unit {self.unit}, {FUNCTION_WORDS[self.function]}, address 0x{self.address:04X}, {self.count} registers"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The meter answered with an exception code."""

    code: int

    def __str__(self) -> str:
        return f"exception {self.code}, {EXCEPTION_WORDS.get(self.code, 'unknown code')}"


def with_crc(frame: bytes) -> bytes:
    """The frame with its CRC, low byte first."""
    return frame + crc16_modbus(frame).to_bytes(2, "little")


def crc_holds(frame: bytes) -> bool:
    return len(frame) >= 4 and crc16_modbus(frame[:-2]) == int.from_bytes(frame[-2:], "little")


def find_answer(request: ReadRequest, received: bytes) -> Found | None:
    """The first valid answer or exception of the unit that was asked, wherever it stands; None means not yet."""
    start = received.find(request.unit)
    while start >= 0:
        end = start + _frame_bytes(request, received[start + 1 : start + 3])
        if start < end <= len(received) and crc_holds(received[start:end]):
            return Found(start, end)
        start = received.find(request.unit, start + 1)
    return None


def _frame_bytes(request: ReadRequest, head: bytes) -> int:
    """Length of the frame that starts with the unit and `head`, 0 when it is no answer to this request."""
    if len(head) < 2:
        return 0
    if head[0] == request.function | EXCEPTION_BIT:
        return EXCEPTION_BYTES
    return request.answer_bytes if head[0] == request.function and head[1] == 2 * request.count else 0


def decode_answer(request: ReadRequest, frame: bytes) -> tuple[int, ...] | Refusal:
    """The registers of a frame. Raises MeterFault for anything but a whole and valid answer to this request."""
    if len(frame) < EXCEPTION_BYTES or frame[0] != request.unit or not crc_holds(frame):
        raise MeterFault(f"no valid Modbus answer to ({request}): {frame.hex(' ') or 'nothing'}")
    if len(frame) != _frame_bytes(request, frame[1:3]):
        raise MeterFault(f"the Modbus answer does not fit the request ({request}): {frame.hex(' ')}")
    if frame[1] & EXCEPTION_BIT:
        return Refusal(frame[2])
    return struct.unpack(f">{request.count}H", frame[3:-2])


class Query:
    """A request with its octets, its exchange and the first octets of its answer made once. The frame it found last is kept: its
    check need not be made a second time."""

    __slots__ = ("_checked", "_end", "_head", "_whole", "exchange", "request")

    def __init__(self, request: ReadRequest, timeout_ms: int = 500, retries: int = 2) -> None:
        self.request = request
        self._head = bytes((request.unit, request.function, 2 * request.count))
        self._end = request.answer_bytes
        self._whole, self._checked = Found(0, self._end), b""
        self.exchange = Exchange(request.to_bytes(), self.find, self._end, timeout_ms, retries, gives_way=GivesWay.ANYBODY)

    def find(self, received: bytes) -> Found | None:
        """As `find_answer`; an answer that stands alone, which is the rule, is found at once."""
        if len(received) < EXCEPTION_BYTES:
            return None
        if len(received) == self._end and received.startswith(self._head) and not crc16_modbus(received):
            self._checked = received
            return self._whole
        return find_answer(self.request, received)

    def octets(self, frame: bytes) -> bytes | Refusal:
        """The registers' octets as they stood on the line. Raises MeterFault as `decode_answer` does."""
        if frame is self._checked:
            return frame[3:-2]
        answer = decode_answer(self.request, frame)
        return answer if isinstance(answer, Refusal) else frame[3:-2]


def ask(
    request: ReadRequest, timeout_ms: int = 500, retries: int = 2, device: str = ""
) -> Conversation[tuple[int, ...] | Refusal]:
    """One request; an exception answer is returned, silence ends in the line's LinkDown."""

    def find(received: bytes) -> Found | None:
        return find_answer(request, received)

    octets, way = request.to_bytes(), GivesWay.ANYBODY
    answer = yield Exchange(octets, find, request.answer_bytes, timeout_ms, retries, gives_way=way, device=device)
    return decode_answer(request, answer)


def read_registers(
    request: ReadRequest, timeout_ms: int = 500, retries: int = 2, device: str = ""
) -> Conversation[tuple[int, ...]]:
    """One request; raises MeterFault naming function and exception when the meter refuses."""
    answer = yield from ask(request, timeout_ms, retries, device)
    if isinstance(answer, Refusal):
        raise MeterFault(f"the meter refused ({request}): {answer}")
    return answer


def decode_value(words: tuple[int, ...], kind: Kind, order: WordOrder = WordOrder.BIG) -> int | float:
    """Registers as they stand on the line into one number. ValueError when their number does not fit the type."""
    if len(words) != kind.words:
        raise ValueError(f"{kind.name} takes {kind.words} registers, not {len(words)}")
    octets = struct.pack(f">{kind.words}H", *words)
    value: int | float = struct.unpack(f">{kind.code}", bytes(octets[place] for place in order.places(kind.words)))[0]
    return value


def encode_value(value: int | float, kind: Kind, order: WordOrder = WordOrder.BIG) -> tuple[int, ...]:
    """One number into registers, for the simulated slaves."""
    ordered = bytearray(2 * kind.words)
    for place, octet in zip(order.places(kind.words), struct.pack(f">{kind.code}", value), strict=True):
        ordered[place] = octet
    return struct.unpack(f">{kind.words}H", ordered)
