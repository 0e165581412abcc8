"""Coils, discrete inputs and single registers over Modbus RTU, without I/O: what relay boards are spoken to with.

* Reads are functions 1 and 2, up to `MOST_BITS` at a time. Writes are functions 15 and 16 by default, whose answer never
  equals the request: an adapter's echo can not pass for it. Function 5 is there for boards that know no other; its answer
  is the request again.
* An answer counts only with a valid CRC, from the unit, function and address that was asked. It says that the board took
  the order, not that a contact moved: read back.

Source: MODBUS Application Protocol 1.1b3, functions 1, 2, 5, 15 and 16.
"""

from __future__ import annotations

import struct

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.modbus import EXCEPTION_BIT, EXCEPTION_BYTES, Refusal, crc_holds, with_crc
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

READ_COILS, READ_INPUTS, WRITE_COIL, WRITE_COILS, WRITE_REGISTERS = 1, 2, 5, 15, 16
MOST_BITS = 2_000
COIL_ON = 0xFF00
WRITE_ANSWER_BYTES = 8


@dataclass(frozen=True, slots=True)
class BitRequest:
    """One request and how its answer looks: `head` are its first octets, `answer_bytes` its length."""

    wire: bytes
    head: bytes
    answer_bytes: int
    about: str

    def find(self, received: bytes) -> Found | None:
        """The first valid answer or exception to this request, wherever it stands."""
        refusal = bytes((self.head[0], self.head[1] | EXCEPTION_BIT))
        for start in range(len(received) - EXCEPTION_BYTES + 1):
            for head, length in ((self.head, self.answer_bytes), (refusal, EXCEPTION_BYTES)):
                frame = received[start : start + length]
                if frame.startswith(head) and len(frame) == length and crc_holds(frame):
                    return Found(start, start + length)
        return None

    def decode(self, frame: bytes) -> bytes | Refusal:
        """The answer without unit, function and CRC. Raises MeterFault for anything else."""
        if self.find(frame) != Found(0, len(frame)):
            raise MeterFault(f"no valid Modbus answer to ({self.about}): {frame.hex(' ') or 'nothing'}")
        return Refusal(frame[2]) if frame[1] & EXCEPTION_BIT else frame[2:-2]


def read_bits_request(unit: int, function: int, address: int, count: int = 1) -> BitRequest:
    """Read `count` coils (function 1) or discrete inputs (function 2). ValueError outside the protocol's limits."""
    _check(unit, address)
    if function not in (READ_COILS, READ_INPUTS) or not 1 <= count <= MOST_BITS:
        raise ValueError(f"function 1 or 2, count 1..{MOST_BITS}: {function}, {count}")
    octets = (count + 7) // 8
    wire = with_crc(struct.pack(">BBHH", unit, function, address, count))
    what = "coil" if function == READ_COILS else "input"
    return BitRequest(wire, bytes((unit, function, octets)), 5 + octets, f"unit {unit}, read {what} {address}")


def write_coil_request(unit: int, address: int, on: bool, function: int = WRITE_COILS) -> BitRequest:
    """Write one coil with function 15 or 5."""
    _check(unit, address)
    about = f"unit {unit}, switch coil {address} {'on' if on else 'off'}"
    if function == WRITE_COIL:
        wire = with_crc(struct.pack(">BBHH", unit, function, address, COIL_ON if on else 0))
        return BitRequest(wire, wire, WRITE_ANSWER_BYTES, about)
    head = struct.pack(">BBHH", unit, WRITE_COILS, address, 1)
    return BitRequest(with_crc(head + bytes((1, int(on)))), head, WRITE_ANSWER_BYTES, about)


def write_register_request(unit: int, address: int, value: int) -> BitRequest:
    """Write one holding register with function 16."""
    _check(unit, address)
    head = struct.pack(">BBHH", unit, WRITE_REGISTERS, address, 1)
    about = f"unit {unit}, write {value} to register {address}"
    return BitRequest(with_crc(head + struct.pack(">BH", 2, value)), head, WRITE_ANSWER_BYTES, about)


def ask_bits(request: BitRequest, timeout_ms: int, retries: int, device: str = "") -> Conversation[bytes]:
    """Carry out a request. Raises MeterFault in words when the board refuses."""
    frame = yield Exchange(request.wire, request.find, request.answer_bytes, timeout_ms, retries, device=device)
    answer = request.decode(frame)
    if isinstance(answer, Refusal):
        raise MeterFault(f"the relay board refused ({request.about}): {answer}")
    return answer


def read_bit(unit: int, function: int, address: int, timeout_ms: int = 500, retries: int = 2, device: str = "") -> Conversation[bool]:
    answer = yield from ask_bits(read_bits_request(unit, function, address), timeout_ms, retries, device)
    return bool(answer[1] & 1)


def _check(unit: int, address: int) -> None:
    if not (1 <= unit <= 247 and 0 <= address <= 0xFFFF):
        raise ValueError(f"unit 1..247, address 0..65535: {unit}, {address}")
