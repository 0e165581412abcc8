"""A simulated Modbus relay board whose contacts cut the simulated houses: coils, feedback inputs, a few registers.

* Coils are off after power-up. A normally closed contactor opens when its coil is driven; a latching one moves at the
  start of a pulse and keeps its place.
* The feedback input follows the house's contactor, not the coil: a stuck one disagrees.
* With a watchdog register, coils fall off when nobody spoke to the board for that many seconds.
* `troubles` counts what must never happen: both coils of a latching contactor driven at once.

Source: MODBUS Application Protocol 1.1b3, functions 1, 2, 3, 5, 6, 15 and 16.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import field

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.simulators.meter import SimMeter
from gridtally_edge.simulators.rtu_ear import RtuEar, answer_of, exception_of
from gridtally_shared.records import dataclass

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
COIL_VALUES = {0xFF00: True, 0x0000: False}
MS_PER_S = 1_000


@dataclass(frozen=True, slots=True)
class Contactor:
    """One house's contactor on the board. A latching one has a `close_coil`."""

    meter: SimMeter
    coil: int
    close_coil: int | None = None
    feedback: int | None = None
    feedback_when_open: bool = True

    @property
    def coils(self) -> frozenset[int]:
        return frozenset({self.coil} if self.close_coil is None else {self.coil, self.close_coil})

    def feedback_is_on(self) -> bool:
        return (self.meter.switch() is SwitchState.OPEN) is self.feedback_when_open


@dataclass(slots=True)
class RelaySlave:
    """`registers` hold what the board says of itself; `watchdog` is the address of its time-out in seconds (0: none)."""

    unit: int
    contactors: tuple[Contactor, ...]
    now_ms: Callable[[], int]
    registers: dict[int, int] = field(default_factory=dict)
    watchdog: int | None = None
    coil_functions: frozenset[int] = frozenset({5, 15})
    troubles: int = 0
    _driven: set[int] = field(default_factory=set)
    _heard_ms: int = 0
    _ear: RtuEar = field(init=False)

    def __post_init__(self) -> None:
        self._ear, self._heard_ms = RtuEar(self.unit), self.now_ms()

    def power_cycle(self) -> None:
        """Off and on again: no coil is driven."""
        for coil in sorted(self._driven):
            self._drive(coil, False)

    def driven(self) -> frozenset[int]:
        self._tick()
        return frozenset(self._driven)

    def receive(self, data: bytes) -> bytes:
        answer = b""
        self._tick()
        for frame in self._ear.requests(data):
            self._heard_ms = self.now_ms()
            answer = self._answer(frame)
        return answer

    def _answer(self, frame: bytes) -> bytes:
        act = _ACTS.get(frame[1])
        if act is None or (frame[1] in (5, 15) and frame[1] not in self.coil_functions):
            return exception_of(self.unit, frame[1], ILLEGAL_FUNCTION)
        body = act(self, frame)
        return answer_of(self.unit, body) if isinstance(body, bytes) else exception_of(self.unit, frame[1], body)

    def _tick(self) -> None:
        limit_s = self.registers.get(self.watchdog, 0) if self.watchdog is not None else 0
        if limit_s and self.now_ms() - self._heard_ms > limit_s * MS_PER_S:
            self.power_cycle()
        for contactor in self.contactors:
            if contactor.close_coil is None:  # one that was jammed follows its coil once it is free
                contactor.meter.operate_switch(contactor.coil not in self._driven)

    def _coils(self) -> set[int]:
        return {coil for contactor in self.contactors for coil in contactor.coils}

    def _drive(self, coil: int, on: bool) -> None:
        before = coil in self._driven
        (self._driven.add if on else self._driven.discard)(coil)
        for contactor in self.contactors:
            if coil not in contactor.coils or before is on:
                continue
            if contactor.close_coil is None:
                contactor.meter.operate_switch(not on)
            elif on:
                self.troubles += contactor.coils <= self._driven
                contactor.meter.operate_switch(coil == contactor.close_coil)

    def _read_bits(self, frame: bytes) -> bytes | int:
        address, count = struct.unpack(">HH", frame[2:6])
        inputs = {c.feedback: c.feedback_is_on() for c in self.contactors if c.feedback is not None}
        bits = {coil: coil in self._driven for coil in self._coils()} if frame[1] == 1 else inputs
        if not all(at in bits for at in range(address, address + count)):
            return ILLEGAL_ADDRESS
        packed = sum(bits[address + n] << n for n in range(count))
        octets = (count + 7) // 8
        return bytes((frame[1], octets)) + packed.to_bytes(octets, "little")

    def _read_registers(self, frame: bytes) -> bytes | int:
        address, count = struct.unpack(">HH", frame[2:6])
        if not all(at in self.registers for at in range(address, address + count)):
            return ILLEGAL_ADDRESS
        words = [self.registers[at] for at in range(address, address + count)]
        return struct.pack(f">BB{count}H", 3, 2 * count, *words)

    def _write_coil(self, frame: bytes) -> bytes | int:
        coil, value = struct.unpack(">HH", frame[2:6])
        if coil not in self._coils() or value not in COIL_VALUES:
            return ILLEGAL_VALUE if coil in self._coils() else ILLEGAL_ADDRESS
        self._drive(coil, COIL_VALUES[value])
        return frame[1:6]

    def _write_coils(self, frame: bytes) -> bytes | int:
        address, count = struct.unpack(">HH", frame[2:6])
        if not all(coil in self._coils() for coil in range(address, address + count)):
            return ILLEGAL_ADDRESS
        for n in range(count):
            self._drive(address + n, bool(frame[7 + n // 8] >> n % 8 & 1))
        return frame[1:6]

    def _write_register(self, frame: bytes) -> bytes | int:
        address, value = struct.unpack(">HH", frame[2:6])
        return self._set(address, value) or frame[1:6]

    def _write_registers(self, frame: bytes) -> bytes | int:
        address, count = struct.unpack(">HH", frame[2:6])
        for n, value in enumerate(struct.unpack(f">{count}H", frame[7:-2])):
            code = self._set(address + n, value)
            if code:
                return code
        return frame[1:6]

    def _set(self, address: int, value: int) -> int:
        if address not in self.registers:
            return ILLEGAL_ADDRESS
        self.registers[address] = value
        return 0


_ACTS: dict[int, Callable[[RelaySlave, bytes], bytes | int]] = {
    1: RelaySlave._read_bits,
    2: RelaySlave._read_bits,
    3: RelaySlave._read_registers,
    5: RelaySlave._write_coil,
    6: RelaySlave._write_register,
    15: RelaySlave._write_coils,
    16: RelaySlave._write_registers,
}
