"""Radio receivers: the octets of a stick or program into frames. One `Receiver` for each kind, fed as the octets come.

* `imst`: iM871A and iM170A, 57600 baud, HCI frames A5, control and endpoint, message, length, payload, then time stamp,
  RSSI and CRC where the control bits say so. A telegram is message 3 of endpoint 2; its payload has no L field.
* `amber`: AMB8465 and AMB3665 in command mode, 9600 baud: FF, command, length, payload, RSSI where it is switched on, XOR of
  all that. The length octet is the frame's L field.
* `transparent`: frames back to back, L field first, without any framing. They are found by their fields (C, maker, length).
* `rtl-wmbus`: text lines `MODE;CRC_OK;3OUTOF6_OK;TIME;RSSI;LQI;ID;0xHEX` of the program of that name.

A frame with a wrong checksum of the receiver's own is dropped and counted. None of these met hardware here: they are made
from the makers' documents.

Source: IMST WMBus HCI specification 1.6; Wuerth Elektronik AMB8465-M manual, chapters on the command interface; README of
xaelsouth/rtl-wmbus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from gridtally_edge.protocols.mbus.header import maker_text
from gridtally_edge.protocols.wmbus.link import CONTROLS, SHORTEST
from gridtally_native import crc16_x25
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

KEPT: Final = 4_096


@dataclass(frozen=True, slots=True)
class Caught:
    """A frame from its L field on. `quality` is the receiver's own number of signal strength, 0: it gave none."""

    frame: bytes
    quality: int = 0


class Receiver(Protocol):
    spoiled: int

    def feed(self, octets: bytes) -> tuple[Caught, ...]:
        """What came next; the frames that are whole now."""
        ...


@dataclass(slots=True)
class Piecewise:
    """A receiver whose `step` finds a frame at the front of what is kept, and how many octets it took. 0: more is needed."""

    step: Callable[[bytes], tuple[Caught | None, int, bool]]
    spoiled: int = 0
    _kept: bytes = b""

    def feed(self, octets: bytes) -> tuple[Caught, ...]:
        self._kept = (self._kept + octets)[-KEPT:]
        return tuple(self._frames())

    def _frames(self) -> Iterator[Caught]:
        while self._kept:
            caught, taken, sound = self.step(self._kept)
            if not taken:
                return
            self._kept = self._kept[taken:]
            self.spoiled += not sound
            if caught is not None:
                yield caught


IMST_START, IMST_RADIO, IMST_TELEGRAM = 0xA5, 2, 3
IMST_STAMP, IMST_RSSI, IMST_CRC = 0x20, 0x40, 0x80
IMST_MANAGEMENT, IMST_SET_CONFIG = 1, 3
IMST_HEAD: Final = 4


def imst_step(kept: bytes) -> tuple[Caught | None, int, bool]:
    start = kept.find(IMST_START)
    if start:
        return None, start if start > 0 else len(kept), True
    if len(kept) < IMST_HEAD:
        return None, 0, True
    control, message, length = kept[1], kept[2], kept[3]
    tail = 4 * bool(control & IMST_STAMP) + bool(control & IMST_RSSI) + 2 * bool(control & IMST_CRC)
    end = IMST_HEAD + length + tail
    if len(kept) < end:
        return None, 0, True
    frame = kept[:end]
    if control & IMST_CRC and imst_crc(frame[1:-2]) != int.from_bytes(frame[-2:], "little"):
        return None, 1, False
    if (control & 0x0F, message) != (IMST_RADIO, IMST_TELEGRAM):
        return None, end, True
    payload = frame[IMST_HEAD : IMST_HEAD + length]
    rssi_at = IMST_HEAD + length + 4 * bool(control & IMST_STAMP)
    return Caught(bytes((length,)) + payload, frame[rssi_at] if control & IMST_RSSI else 0), end, True


def imst_crc(octets: bytes) -> int:
    """CRC-16 CCITT of IMST's HCI: reflected, start and end complemented, as HDLC has it."""
    return crc16_x25(octets)


IMST_MODES: dict[str, int] = {"s1": 0, "s1m": 1, "s2": 2, "t1": 3, "t2": 4, "r2": 5, "c1a": 6, "c1b": 7}


def imst_configuration(mode: str) -> bytes:
    """The command that sets the link mode, until the stick loses power. Raises ConfigError."""
    if mode not in IMST_MODES:
        raise ConfigError("mode", mode, f"write one of {', '.join(IMST_MODES)}")
    radio_mode, rssi = 0x02, 0x10
    payload = bytes((0, radio_mode, IMST_MODES[mode], rssi, 1))
    return bytes((IMST_START, IMST_MANAGEMENT, IMST_SET_CONFIG, len(payload))) + payload


AMBER_START, AMBER_TELEGRAM = 0xFF, 0x03
AMBER_HEAD: Final = 3


def amber_step(kept: bytes) -> tuple[Caught | None, int, bool]:
    start = kept.find(AMBER_START)
    if start:
        return None, start if start > 0 else len(kept), True
    if len(kept) < AMBER_HEAD:
        return None, 0, True
    length = kept[2]
    for extra in (0, 1):  # without and with RSSI: the checksum tells
        end = AMBER_HEAD + length + extra + 1
        if len(kept) >= end and xor_of(kept[: end - 1]) == kept[end - 1]:
            return _amber_frame(kept[:end], length, extra), end, True
    if len(kept) < AMBER_HEAD + length + 2:
        return None, 0, True
    return None, 1, False


def _amber_frame(frame: bytes, length: int, extra: int) -> Caught | None:
    if frame[1] != AMBER_TELEGRAM:
        return None
    payload = frame[AMBER_HEAD : AMBER_HEAD + length]
    return Caught(bytes((length,)) + payload, frame[AMBER_HEAD + length] if extra else 0)


def xor_of(octets: bytes) -> int:
    value = 0
    for octet in octets:
        value ^= octet
    return value


def transparent_step(kept: bytes) -> tuple[Caught | None, int, bool]:
    """A frame looks like one when C is a known one and the maker has three letters. With CRCs in it the frame is longer."""
    if len(kept) < 4:
        return None, 0, True
    length = kept[0]
    if length < SHORTEST - 1 or kept[1] not in CONTROLS or len(maker_text(kept[2:4])) != 3:
        return None, 1, True
    end = length + 1
    return (Caught(kept[:end]), end, True) if len(kept) >= end else (None, 0, True)


FIELDS: Final = 8
CRC_FIELD, RSSI_FIELD, HEX_FIELD = 1, 4, 7


def text_step(kept: bytes) -> tuple[Caught | None, int, bool]:
    end = kept.find(b"\n")
    if end < 0:
        return None, 0, True
    caught = read_text_line(kept[:end].decode("ascii", "replace"))
    return caught, end + 1, caught is not None


def read_text_line(line: str) -> Caught | None:
    """A line of rtl-wmbus; None for a wrong CRC, another line, or no hexadecimal digits."""
    fields = line.strip().split(";")
    if len(fields) < FIELDS or fields[CRC_FIELD] != "1":
        return None
    digits = fields[HEX_FIELD].strip().lower().removeprefix("0x")
    try:
        frame = bytes.fromhex(digits)
    except ValueError:
        return None
    rssi = fields[RSSI_FIELD]
    return Caught(frame, int(rssi) if rssi.isascii() and rssi.isdecimal() else 0) if len(frame) >= SHORTEST else None


@dataclass(frozen=True, slots=True)
class Kind:
    """`baud` 0: text of a program, no serial port."""

    step: Callable[[bytes], tuple[Caught | None, int, bool]]
    baud: int


KINDS: dict[str, Kind] = {
    "im871a": Kind(imst_step, 57_600),
    "im170a": Kind(imst_step, 57_600),
    "amb8465": Kind(amber_step, 9_600),
    "amb3665": Kind(amber_step, 9_600),
    "transparent": Kind(transparent_step, 9_600),
    "rtl-wmbus": Kind(text_step, 0),
}


def receiver_of(name: str) -> tuple[Receiver, int]:
    """A fresh receiver and its usual speed. Raises ConfigError."""
    kind = KINDS.get(name)
    if kind is None:
        raise ConfigError("receiver", name, f"write one of {', '.join(KINDS)}")
    return Piecewise(kind.step), kind.baud
