"""Frames of the wired M-Bus link (EN 13757-2, FT 1.2): short, long, control, and the single character E5.

* short: 10 C A CS 16. long: 68 L L 68 C A CI data CS 16, where L counts C to data; L = 3 is a control frame. CS is the
  sum of C to data. A collision of several answers on a bus shows as octets that are none of these.
* A frame is found by its length fields and accepted only with the right checksum and stop octet; what stands in front or
  behind is noise.
* FCB alternates with each new request, so that a meter can tell a repeat from the next question.

Source: EN 13757-2:2018 clause 5; M-Bus documentation 4.8, chapter 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from gridtally_edge.protocols.conversation import Found
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

SHORT_START, LONG_START, STOP, ACK = 0x10, 0x68, 0x16, 0xE5
SHORT_BYTES, LONGEST = 5, 261
MAX_DATA: Final = 252
STRAY: Final = b"\x00\xff"
_STARTS: Final = re.compile(b"[\x10\x68]")

TO_ALL, TEST_ADDRESS, SELECTED, TO_ALL_SILENT = 0xFB, 0xFE, 0xFD, 0xFF
"""Addresses with a meaning: 254 is answered by every meter, 255 by none, 253 by the one that was selected."""

MAX_PRIMARY: Final = 250


class Control(IntEnum):
    """C fields. FCB (0x20) is set on top of those of the master that alternate."""

    SND_NKE = 0x40
    SND_UD = 0x53
    REQ_UD1 = 0x5A
    REQ_UD2 = 0x5B
    RSP_UD = 0x08


FCB: Final = 0x20


@dataclass(frozen=True, slots=True)
class Frame:
    """`ci` is None in a short frame. `is_ack` is the single character E5."""

    control: int
    address: int
    ci: int | None = None
    data: bytes = b""
    is_ack: bool = False

    def to_bytes(self) -> bytes:
        """Raises ValueError when the data do not fit."""
        if self.is_ack:
            return bytes((ACK,))
        if self.ci is None:
            return bytes((SHORT_START, self.control, self.address, self.control + self.address & 0xFF, STOP))
        body = bytes((self.control, self.address, self.ci)) + self.data
        if len(self.data) > MAX_DATA:
            raise ValueError(f"an M-Bus frame carries {MAX_DATA} octets at most")
        return bytes((LONG_START, len(body), len(body), LONG_START)) + body + bytes((sum(body) & 0xFF, STOP))


ACKNOWLEDGED: Final = Frame(0, 0, is_ack=True)


def frame_length(octets: bytes) -> int:
    """Length of the frame that starts with these octets; 0: none starts here; more than there is: not all of it is
    there (six when even the length is not)."""
    if octets[:1] == bytes((ACK,)):
        return 1
    if octets[:1] == bytes((SHORT_START,)):
        return SHORT_BYTES
    if octets[:1] != bytes((LONG_START,)):
        return 0
    if len(octets) < 4:
        return 6 if octets[1:2] == octets[2:3] or len(octets) < 3 else 0
    if octets[1] != octets[2] or octets[3] != LONG_START or octets[1] < 3:
        return 0
    return octets[1] + 6


def is_sound(frame: bytes) -> bool:
    """Whether a frame of the right length has its checksum and stop octet."""
    if frame == bytes((ACK,)):
        return True
    body = frame[1:-2] if frame[0] == SHORT_START else frame[4:-2]
    return frame[-1] == STOP and sum(body) & 0xFF == frame[-2]


def decode_frame(octets: bytes) -> Frame:
    """Exactly one frame. Raises MeterFault that says what is wrong with it."""
    length = frame_length(octets)
    if not length:
        raise MeterFault(f"no M-Bus frame: {octets[:8].hex(' ') or 'nothing'}")
    if len(octets) != length:
        raise MeterFault(f"the M-Bus frame has {len(octets)} octets and ought to have {length}")
    if not is_sound(octets):
        raise MeterFault("the checksum or stop octet of the M-Bus frame is wrong: no value can be taken from it")
    if length == 1:
        return ACKNOWLEDGED
    if length == SHORT_BYTES:
        return Frame(octets[1], octets[2])
    return Frame(octets[4], octets[5], octets[6], octets[7:-2])


def find_frame(received: bytes) -> Found | None:
    """The first sound short or long frame. E5 counts only as `find_ack` looks for it: in noise it is everywhere."""
    return next(sound_frames(received), None)


def sound_frames(received: bytes) -> Iterator[Found]:
    """Every place where a sound short or long frame stands; they may overlap in noise."""
    for candidate in _STARTS.finditer(received):
        start = candidate.start()
        length = frame_length(received[start : start + 4])
        if 1 < length <= len(received) - start and is_sound(received[start : start + length]):
            yield Found(start, start + length)


def find_ack(received: bytes, request: bytes = b"") -> Found | None:
    """A single E5, stray 00 and FF of the turn-around apart, or behind a part of the request that the adapter heard. Other
    octets mean that more than one meter answered."""
    place = received.find(ACK)
    if not is_ack(received) and not (ACK not in request and is_ack(received[place:]) and received[:place].strip(STRAY) in request):
        return None
    return Found(place, place + 1)


def is_ack(received: bytes) -> bool:
    return received.strip(STRAY) == bytes((ACK,))
