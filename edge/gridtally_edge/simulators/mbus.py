"""A simulated wired M-Bus meter: bytes in, bytes out, no I/O.

* Answers SND_NKE, REQ_UD2 with its frame count bit, selection (CI 52) with wildcards, application reset and orders for
  another speed; a broadcast (255) gets no answer. It finds requests again after noise and other meters' answers.
* `readout` gives its telegrams, CI field first, freshly made for each round of a readout: recorded ones, or those of
  `house_telegrams`, which show a simulated home as an electricity, water, gas or heat meter.
* Until the frame count bit changes it repeats its last telegram, as the link layer asks.

Source: EN 13757-2:2018, EN 13757-3:2018; M-Bus documentation 4.8, chapters 5 to 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Final

from gridtally_edge.protocols.mbus.address import matches
from gridtally_edge.protocols.mbus.frames import (
    ACKNOWLEDGED,
    FCB,
    SELECTED,
    TEST_ADDRESS,
    Control,
    Frame,
    decode_frame,
    frame_length,
    is_sound,
)
from gridtally_edge.protocols.mbus.header import Identity
from gridtally_edge.protocols.mbus.link import BAUD_CI, RESET_CI, SELECT_CI
from gridtally_edge.simulators.house import HouseMeter
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_edge.simulators.meter import SimMeter
from gridtally_shared.records import dataclass

LONG_CI: Final = 0x72
ELECTRICITY, GAS, HEAT, WATER = 0x02, 0x03, 0x04, 0x07
BAUD_OF: dict[int, int] = {ci: baud for baud, ci in BAUD_CI.items()}
LITRES_PER_KWH: dict[int, int] = {GAS: 95, WATER: 22, HEAT: 60}
"""A home that draws power also draws water and gas, at these rates: exact, and it never falls."""

Readout = Callable[[], tuple[bytes, ...]]


@dataclass(slots=True)
class MbusSlave:
    """One meter at one primary address. `baud` is the last speed it was ordered to."""

    address: int
    identity: Identity
    readout: Readout
    baud: int = 2_400
    selected: bool = False
    _round: tuple[bytes, ...] = ()
    _place: int = -1
    _fcb: int | None = None
    _buffer: bytes = field(default=b"", repr=False)

    def receive(self, data: bytes) -> bytes:
        """Whatever the line carried; the answers to requests for this meter."""
        self._buffer += data
        answers = b""
        for frame in self._frames():
            answers += self._answer(frame)
        return answers

    def _frames(self) -> Iterator[Frame]:
        """Whole sound frames at the front of the buffer; noise is passed over."""
        while self._buffer:
            length = frame_length(self._buffer[:4])
            if length > len(self._buffer):
                return
            octets = self._buffer[:length]
            sound = bool(length) and is_sound(octets)
            self._buffer = self._buffer[length if sound else 1 :]
            if sound and length > 1:
                yield decode_frame(octets)

    def _answer(self, frame: Frame) -> bytes:
        if frame.ci == SELECT_CI and frame.address == SELECTED:
            return self._select(frame.data)
        if not self._is_meant(frame.address):
            return b""
        action = _ACTIONS.get(frame.control & ~FCB)
        return action(self, frame) if action else b""

    def _is_meant(self, address: int) -> bool:
        return address in (self.address, TEST_ADDRESS) or (address == SELECTED and self.selected)

    def _select(self, selection: bytes) -> bytes:
        self.selected = len(selection) == 8 and matches(selection, self.identity)
        self._fcb = None
        return ACKNOWLEDGED.to_bytes() if self.selected else b""

    def _reset(self, frame: Frame) -> bytes:
        self._fcb, self._place = None, -1
        if frame.address == SELECTED:
            self.selected = False
        return ACKNOWLEDGED.to_bytes()

    def _take(self, frame: Frame) -> bytes:
        if frame.ci == RESET_CI:
            self._place = -1
        elif frame.ci in BAUD_OF:
            self.baud = BAUD_OF[frame.ci]
        return ACKNOWLEDGED.to_bytes()

    def _tell(self, frame: Frame) -> bytes:
        fcb = frame.control & FCB
        if fcb != self._fcb or not self._round:
            self._fcb, self._place = fcb, self._place + 1
            if self._place >= len(self._round) or not self._place:
                self._round, self._place = self.readout(), 0
        if not self._round:
            return b""
        told = self._round[self._place]
        return Frame(Control.RSP_UD, self.address, told[0], told[1:]).to_bytes()


_ACTIONS: dict[int, Callable[[MbusSlave, Frame], bytes]] = {
    Control.SND_NKE: MbusSlave._reset,
    Control.SND_UD & ~FCB: MbusSlave._take,
    Control.REQ_UD2 & ~FCB: MbusSlave._tell,
}


def house_telegrams(meter: SimMeter, medium: int, maker: str = "GTY", version: int = 1, utc_offset_min: int = 330) -> Readout:
    """What a simulated home shows as a meter of this medium: one telegram with a long header. Its access number counts."""
    identity = house_identity(meter, medium, maker, version)
    access = -1

    def readout() -> tuple[bytes, ...]:
        nonlocal access
        access = access + 1 & 0xFF
        header = identity.to_bytes() + bytes((access, _status(meter), 0, 0))
        return (bytes((LONG_CI,)) + header + house_records(meter, medium, utc_offset_min),)

    return readout


def _status(meter: SimMeter) -> int:
    """A weak battery is bit 2, a memory fault a permanent error (bit 3)."""
    faults = meter.faults() if isinstance(meter, HouseMeter) else ()
    return sum(bit for fault, bit in ((HouseFault.BATTERY, 0x04), (HouseFault.MEMORY, 0x08)) if fault in faults)


def house_identity(meter: SimMeter, medium: int, maker: str = "GTY", version: int = 1) -> Identity:
    return Identity(meter.serial[-8:].rjust(8, "0"), maker, version, medium)


def house_records(meter: SimMeter, medium: int, utc_offset_min: int) -> bytes:
    """The data records of a home: registers, power, clock (type F)."""
    own = _electricity(meter) if medium == ELECTRICITY else _volume(meter, medium)
    return own + bytes((0x04, 0x6D)) + date_time_octets(meter.clock_ms() + utc_offset_min * 60_000)


def _electricity(meter: SimMeter) -> bytes:
    """04 03: Wh. 04 83 3C: Wh backward. 04 2B: W. 04 FD 46: mV. 04 FD 59: mA."""
    now = meter.snapshot()
    registers = ((0x03, now.energy_import_wh), (0x833C, now.energy_export_wh))
    cells = (*registers, (0x2B, now.power_w), (0xFD46, now.voltage_mv), (0xFD59, now.current_ma))
    return b"".join(_number(vif, value) for vif, value in cells)


def _volume(meter: SimMeter, medium: int) -> bytes:
    """04 13: litres; a heat meter shows 04 03 (Wh) in front."""
    used_wh = meter.snapshot().energy_import_wh
    heat = _number(0x03, used_wh * 3) if medium == HEAT else b""
    return heat + _number(0x13, used_wh * LITRES_PER_KWH[medium] // 1_000)


def _number(vif: int, value: int) -> bytes:
    """A record of a signed 32-bit number; registers wrap as those of a real meter do."""
    octets = vif.to_bytes(2 if vif > 0xFF else 1, "big")
    wrapped = value if -(1 << 31) <= value < 1 << 31 else value % (1 << 31)
    return b"\x04" + octets + wrapped.to_bytes(4, "little", signed=True)


def date_time_octets(local_ms: int) -> bytes:
    """Type F of a local time."""
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=local_ms)
    year = local.year % 100
    return bytes((local.minute, local.hour, (year & 7) << 5 | local.day, (year >> 3) << 4 | local.month))
