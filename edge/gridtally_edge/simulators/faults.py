"""Faults on demand for simulated lines: what real RS-485 lines do on bad days.

* A fault aims at one meter (its serial) or at every answer of the line (`*`), for a number of answers or until cleared.
* `shape` turns an answer into what really goes out: pieces of bytes, each with a wait before it. No piece: silence.
* The order of `SHAPES` is the order in which several faults at once act.

Source: protocols.md section 7, test harness list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from gridtally_shared.records import dataclass

EVERYBODY = "*"


class FaultKind(Enum):
    MUTE = "mute"
    FLIP = "flip"
    LEAD = "lead"
    TRAIL = "trail"
    SPLIT = "split"
    LATE = "late"
    ECHO = "echo"
    ECHO_PART = "echo-part"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes to send after waiting `wait_ms` on top of the line's own timing."""

    data: bytes
    wait_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`times` answers are spoilt, None means until cleared. `noise` is what LEAD and TRAIL add, `bit` the bit that FLIP
    turns (counted from the first, modulo the answer's length), `wait_ms` the delay of LATE and the pause of SPLIT and PAUSE,
    `tail` how many bytes of a request ECHO_PART gives back and before how many last bytes of an answer PAUSE stops."""

    kind: FaultKind
    meter: str = EVERYBODY
    times: int | None = None
    noise: bytes = b"\x00\xff"
    bit: int = 27
    wait_ms: float = 5.0
    tail: int = 4


def _mute(_fault: Fault, _pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return ()


def _flip(fault: Fault, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return tuple(replace(p, data=flip_bit(p.data, fault.bit)) if p.data else p for p in pieces)


def _lead(fault: Fault, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return (Piece(fault.noise), *pieces)


def _trail(fault: Fault, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return (*pieces, Piece(fault.noise))


def _split(fault: Fault, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return tuple(Piece(bytes((b,)), fault.wait_ms) for p in pieces for b in p.data)


def _late(fault: Fault, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return tuple(replace(p, wait_ms=p.wait_ms + fault.wait_ms) if i == 0 else p for i, p in enumerate(pieces))


def _pause(fault: Fault, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    whole = b"".join(piece.data for piece in pieces)
    return (Piece(whole[: -fault.tail]), Piece(whole[-fault.tail :], fault.wait_ms))


SHAPES: dict[FaultKind, Callable[[Fault, tuple[Piece, ...]], tuple[Piece, ...]]] = {
    FaultKind.FLIP: _flip,
    FaultKind.LEAD: _lead,
    FaultKind.TRAIL: _trail,
    FaultKind.SPLIT: _split,
    FaultKind.PAUSE: _pause,
    FaultKind.LATE: _late,
    FaultKind.MUTE: _mute,
}


def flip_bit(data: bytes, bit: int) -> bytes:
    """The bytes with one bit turned, counted from the first byte's lowest, modulo the length."""
    place, within = divmod(bit % (8 * len(data)), 8)
    return data[:place] + bytes((data[place] ^ (1 << within),)) + data[place + 1 :]


class FaultBoard:
    """The faults in force on one line; any thread may change them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self, meter: str = EVERYBODY) -> None:
        """Lift the faults of one meter, or all of them."""
        with self._lock:
            self._faults = [f for f in self._faults if meter not in (EVERYBODY, f.meter)]

    def listed(self) -> tuple[Fault, ...]:
        with self._lock:
            return tuple(self._faults)

    def echo(self, request: bytes) -> bytes:
        """What the line's adapter hears of its own request: nothing, all, or its last bytes."""
        kinds = {fault.kind: fault for fault in self.listed()}
        part = kinds.get(FaultKind.ECHO_PART)
        if part is not None:
            return request[-part.tail :]
        return request if FaultKind.ECHO in kinds else b""

    def shape(self, meter: str, answer: bytes) -> tuple[Piece, ...]:
        """What goes out instead of a meter's answer; uses up one time of each fault that acts."""
        acting = self._use(meter)
        pieces: tuple[Piece, ...] = (Piece(answer),)
        for kind, reshape in SHAPES.items():
            for fault in acting:
                if fault.kind is kind:
                    pieces = reshape(fault, pieces)
        return pieces

    def _use(self, meter: str) -> tuple[Fault, ...]:
        with self._lock:
            acting = tuple(f for f in self._faults if f.meter in (meter, EVERYBODY) and f.kind in SHAPES)
            self._faults = [left for f in self._faults if (left := _used(f) if f in acting else f) is not None]
        return acting


def _used(fault: Fault) -> Fault | None:
    if fault.times is None:
        return fault
    return replace(fault, times=fault.times - 1) if fault.times > 1 else None
