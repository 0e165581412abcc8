"""One simulated line: meters on a pty or TCP port, one thread, with the timing of a real wire if wanted.

* Every station hears every byte; whoever is meant answers.
* `paced`: a request takes its bytes' time, then 3.5 characters of silence and the turn-around, then each byte of the
  answer is handed over when its last bit would have arrived. Deadlines are absolute, so errors do not add up; `burst`
  bytes are handed over together, as a UART's FIFO does.
* Faults come from the line's `FaultBoard`; `unplug` and `plug` pull the adapter out and put it back.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from gridtally_edge.simulators.faults import FaultBoard, Piece
from gridtally_edge.simulators.ports import SimPort
from gridtally_edge.transports.link import readable
from gridtally_edge.transports.settings import Speed
from gridtally_shared.records import dataclass

LAST_S = 0.002
"""The end of a wait is slept: `poll` counts in whole milliseconds, a paced line in fractions of them."""


class Slave(Protocol):
    """Protocol logic of one device without I/O."""

    def receive(self, data: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Station:
    """A slave on the line. `whose` tells the serial of the meter that gave an answer, by which faults name it."""

    slave: Slave
    whose: Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Timing:
    """`burst` bytes are handed over at a time. Without pacing only `turnaround_ms` is waited."""

    speed: Speed = field(default_factory=Speed)
    paced: bool = False
    turnaround_ms: float = 0.0
    burst: int = 8


class SimBus:
    """Start it, and the port's `address()` can be opened by a reader. `close` ends the thread and the port."""

    def __init__(self, name: str, port: SimPort, stations: Sequence[Station], timing: Timing | None = None) -> None:
        self.name = name
        self.port = port
        self.faults = FaultBoard()
        self._stations = tuple(stations)
        self._timing = timing or Timing()
        self._plugged = True
        self._closing = False
        self._unasked: deque[bytes] = deque()
        self._wake_reader, self._wake_writer = os.pipe()
        self._say_reader, self._say_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        self._settled = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"simulated {name}", daemon=True)

    @property
    def stations(self) -> tuple[Station, ...]:
        return self._stations

    def start(self) -> None:
        """Raises ConfigError when the port cannot be made."""
        self.port.plug()
        self._thread.start()

    def close(self, within_s: float = 5.0) -> None:
        self._closing = True
        self._wake()
        self._thread.join(within_s)
        self.port.unplug()
        os.close(self._say_writer)
        os.close(self._say_reader)
        os.close(self._wake_writer)
        os.close(self._wake_reader)

    def unplug(self, within_s: float = 5.0) -> None:
        """Pull the adapter; returns when it is out."""
        self._want(False, within_s)

    def plug(self, within_s: float = 5.0) -> None:
        """Put the adapter back; returns when the port is there."""
        self._want(True, within_s)

    def say(self, data: bytes) -> None:
        """Send what a device says unasked, once the line is free. From any thread."""
        self._unasked.append(data)
        os.write(self._say_writer, b"!")

    def _want(self, plugged: bool, within_s: float) -> None:
        with self._settled:
            self._plugged = plugged
            self._wake()
            self._settled.wait_for(lambda: bool(self.port.descriptors()) is plugged, within_s)

    def _wake(self) -> None:
        os.write(self._wake_writer, b"!")

    def _run(self) -> None:
        while not self._closing:
            ready = readable((self._wake_reader, self._say_reader, *self.port.descriptors()))
            if self._wake_reader in ready:
                os.read(self._wake_reader, 64)
                self._follow_the_plug()
                continue
            for descriptor in ready:
                if descriptor == self._say_reader:
                    self._say_unasked()
                else:
                    self._hear(self.port.receive(descriptor))

    def _say_unasked(self) -> None:
        os.read(self._say_reader, 1)
        data = self._unasked.popleft()
        if self.port.descriptors():
            self._send((Piece(data),), time.monotonic())

    def _follow_the_plug(self) -> None:
        with self._settled:
            if self._plugged:
                self.port.plug()
            else:
                self.port.unplug()
            self._settled.notify_all()

    def _hear(self, data: bytes) -> None:
        if not data:
            return
        heard_s = time.monotonic()
        echo = self.faults.echo(data)
        if echo:
            self.port.send(echo)
        for station in self._stations:
            answer = station.slave.receive(data)
            if answer:
                pieces = self.faults.shape(station.whose(answer), answer)
                self._send(pieces, heard_s + self._first_byte_s(len(data)))
                self._let_others_hear(station, pieces)

    def _let_others_hear(self, speaker: Station, pieces: Sequence[Piece]) -> None:
        sent = b"".join(piece.data for piece in pieces)
        for station in self._stations:
            if station is not speaker:
                station.slave.receive(sent)

    def _first_byte_s(self, request_bytes: int) -> float:
        """From hearing a request (handed over at once) to the start of its answer."""
        speed = self._timing.speed
        wire_s = request_bytes * speed.character_s + speed.silence_s if self._timing.paced else 0.0
        return wire_s + self._timing.turnaround_ms / 1_000

    def _send(self, pieces: Sequence[Piece], start_s: float) -> None:
        due_s = start_s
        for piece in pieces:
            due_s += piece.wait_ms / 1_000
            if self._timing.paced:
                due_s = self._send_paced(piece.data, due_s)
            else:
                self._sleep_until(due_s)
                self.port.send(piece.data)

    def _send_paced(self, data: bytes, start_s: float) -> float:
        character_s, burst = self._timing.speed.character_s, self._timing.burst
        for first in range(0, len(data), burst):
            part = data[first : first + burst]
            self._sleep_until(start_s + (first + len(part)) * character_s)
            self.port.send(part)
        return start_s + len(data) * character_s

    def _sleep_until(self, due_s: float) -> None:
        """Wait; a closing line or a pulled plug cuts the wait short (the bytes then go nowhere)."""
        left_s = due_s - time.monotonic()
        if left_s > LAST_S and readable((self._wake_reader,), left_s - LAST_S):
            return
        time.sleep(max(0.0, due_s - time.monotonic()))
