"""HDLC frames of DLMS (IEC 62056-46, frame format type 3): bytes to frames and back.

* Frame: 7E, format (0xA, segmentation bit, 11-bit length), destination, source, control, HCS, information, FCS, 7E.
  There is no byte stuffing: the length field says where the frame ends, never a search for the next flag.
* One flag may close a frame and open the next. HCS and FCS are CRC-16/X-25, low octet first.
* After damage the scan goes on behind the frame when its closing flag stands where the length says, else at the next
  octet. A frame whose check is wrong yields nothing.
* Addresses have 1, 2 or 4 octets; the low bit marks the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from gridtally_native import crc16_x25
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

FLAG: Final = 0x7E
MAX_LENGTH: Final = 0x7FF
_SHORTEST: Final = 7
_FORMAT_TYPE: Final = 0xA0
_SEGMENTED: Final = 0x08

LLC_COMMAND: Final = b"\xe6\xe6\x00"
LLC_RESPONSE: Final = b"\xe6\xe7\x00"


class Control(Enum):
    """Kinds of control octet, apart from sequence numbers and the poll/final bit."""

    I = "I"  # noqa: E741 - the standard's own name
    RR = "RR"
    RNR = "RNR"
    REJ = "REJ"
    SNRM = "SNRM"
    UA = "UA"
    DISC = "DISC"
    DM = "DM"
    FRMR = "FRMR"
    UI = "UI"
    OTHER = "other"


_SUPERVISORY: Final = {0x01: Control.RR, 0x05: Control.RNR, 0x09: Control.REJ}
_UNNUMBERED: Final = {
    0x83: Control.SNRM, 0x63: Control.UA, 0x43: Control.DISC, 0x0F: Control.DM, 0x87: Control.FRMR, 0x03: Control.UI,
}  # fmt: skip
POLL: Final = 0x10
SNRM: Final = 0x93
UA: Final = 0x73
DISC: Final = 0x53
DM: Final = 0x1F
FRMR: Final = 0x97
UI: Final = 0x13


def information(send: int, receive: int, poll: bool = True) -> int:
    """Control octet of an I frame with N(S), N(R) and, on the last of a window, the poll/final bit."""
    return receive << 5 | (POLL if poll else 0) | send << 1


def receive_ready(receive: int) -> int:
    return receive << 5 | POLL | 0x01


def not_ready(receive: int) -> int:
    return receive << 5 | POLL | 0x05


def reject(receive: int) -> int:
    return receive << 5 | POLL | 0x09


def kind_of(control: int) -> Control:
    if not control & 0x01:
        return Control.I
    if control & 0x03 == 0x01:
        return _SUPERVISORY.get(control & 0x0F, Control.OTHER)
    return _UNNUMBERED.get(control & ~POLL, Control.OTHER)


@dataclass(frozen=True, slots=True)
class Address:
    """`upper` is the logical device (or the client), `lower` the physical device; `size` is 1, 2 or 4 octets."""

    upper: int
    lower: int | None = None
    size: int = 1

    def octets(self) -> bytes:
        """Raises ValueError where the numbers do not fit the size."""
        wide = 14 if self.size == 4 else 7
        lower = self.lower or 0
        if self.size not in (1, 2, 4) or self.upper >> wide or lower >> wide or (self.size == 1 and self.lower):
            raise ValueError(f"{self} does not fit its size")
        if self.size == 1:
            return bytes([self.upper << 1 | 1])
        if self.size == 2:
            return bytes([self.upper << 1, lower << 1 | 1])
        pairs = (self.upper >> 7, self.upper & 0x7F, lower >> 7, lower & 0x7F)
        return bytes([pairs[0] << 1, pairs[1] << 1, pairs[2] << 1, pairs[3] << 1 | 1])

    def __str__(self) -> str:
        return f"{self.upper}" if self.lower is None else f"{self.upper}/{self.lower}"


@dataclass(frozen=True, slots=True)
class Frame:
    destination: Address
    source: Address
    control: int
    information: bytes = b""
    segmented: bool = False

    @property
    def kind(self) -> Control:
        return kind_of(self.control)

    @property
    def send_number(self) -> int:
        return self.control >> 1 & 0x07

    @property
    def receive_number(self) -> int:
        return self.control >> 5

    @property
    def poll(self) -> bool:
        return bool(self.control & POLL)


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame and where it lies: `buffer[start:end]`, both flags included."""

    frame: Frame
    start: int
    end: int


def encode_frame(frame: Frame) -> bytes:
    """The octets with both flags. Raises ValueError where the frame is longer than its length field can say."""
    head = frame.destination.octets() + frame.source.octets() + bytes([frame.control])
    length = 2 + len(head) + (2 + len(frame.information) if frame.information else 0) + 2
    if length > MAX_LENGTH:
        raise ValueError(f"a frame of {length} octets; at most {MAX_LENGTH}")
    first = _FORMAT_TYPE | (_SEGMENTED if frame.segmented else 0) | length >> 8
    body = bytes([first, length & 0xFF]) + head
    if frame.information:
        body += _check(body) + frame.information
    return bytes([FLAG]) + body + _check(body) + bytes([FLAG])


def _check(octets: bytes) -> bytes:
    check: int = crc16_x25(octets)
    return check.to_bytes(2, "little")


def scan(buffer: bytes) -> Iterator[Placed]:
    """All whole and sound frames in the buffer, oldest first; damage and noise are passed over.

    Stops at the first frame that is still arriving (its header check is right or not yet there), so that nothing
    inside an unfinished frame is ever taken for a frame.
    """
    position = 0
    while (start := buffer.find(FLAG, position)) >= 0:
        seen = _look(buffer, start)
        if isinstance(seen, Placed):
            yield seen
            position = seen.end - 1
        elif seen is None:
            return
        else:
            position = seen


def frames_of(buffer: bytes) -> tuple[Frame, ...]:
    """The frames that `scan` finds."""
    return tuple(placed.frame for placed in scan(buffer))


def pending_from(buffer: bytes) -> int:
    """Where the octets start that may still become a frame: what a receiver must keep."""
    position = 0
    while (start := buffer.find(FLAG, position)) >= 0:
        seen = _look(buffer, start)
        if seen is None:
            return start
        position = seen.end - 1 if isinstance(seen, Placed) else seen
    return len(buffer)


def missing(buffer: bytes) -> int:
    """How many octets of a frame that has begun are still to come, as its length field says; 0 where none has."""
    body = pending_from(buffer) + 1
    if len(buffer) < body + 2:
        return 0
    return max(0, body + ((buffer[body] & 0x07) << 8 | buffer[body + 1]) + 1 - len(buffer))


def damage_at(buffer: bytes, start: int) -> str:
    """Why no frame stands behind the flag at `start`, in words."""
    body = start + 1
    if len(buffer) < body + 2:
        return "the frame is cut short"
    length = (buffer[body] & 0x07) << 8 | buffer[body + 1]
    head = _head_end(buffer, body)
    if buffer[body] & 0xF0 != _FORMAT_TYPE or length < _SHORTEST or head is None:
        return "the frame's head is damaged"
    if not _head_is_sound(buffer, body, head, length):
        return "checksum error: the header check (HCS) is wrong"
    end = body + length + 1
    if len(buffer) < end:
        return f"the frame is cut short: {length} octets announced, {len(buffer) - body} there"
    if buffer[end - 1] != FLAG:
        return "no closing flag where the frame's length says"
    return "checksum error: the frame check (FCS) is wrong"


def _look(buffer: bytes, start: int) -> Placed | int | None:
    """The frame behind the flag at `start`, or where to go on looking, or None while it is still arriving."""
    body = start + 1
    if len(buffer) < body + 2:
        return start + 1 if len(buffer) > body and buffer[body] & 0xF0 != _FORMAT_TYPE else None
    length = (buffer[body] & 0x07) << 8 | buffer[body + 1]
    if buffer[body] & 0xF0 != _FORMAT_TYPE or length < _SHORTEST:
        return start + 1
    head = _head_end(buffer, body)
    if head is None:
        return None if len(buffer) < body + 11 else start + 1
    if not _head_is_sound(buffer, body, head, length):
        return start + 1
    end = body + length + 1
    if len(buffer) < end:
        return None
    if buffer[end - 1] != FLAG:
        return start + 1
    if _check(buffer[body : end - 3]) != buffer[end - 3 : end - 1]:
        return end - 1
    return Placed(_parse(buffer[body : end - 3], head - body), start, end)


def _head_end(buffer: bytes, body: int) -> int | None:
    """Index behind the control octet, or None while the addresses are incomplete or too long."""
    position = body + 2
    for _ in range(2):
        for size in (1, 2, 3, 4):
            if position + size > len(buffer):
                return None
            if buffer[position + size - 1] & 1:
                if size == 3:
                    return None
                position += size
                break
        else:
            return None
    return position + 1 if position < len(buffer) else None


def _head_is_sound(buffer: bytes, body: int, head: int, length: int) -> bool:
    """The header check, as far as it has arrived. A frame without information has none, and is short."""
    rest = body + length - head
    if rest in (0, 1, 3) or rest < 0:
        return False
    if rest == 2 or len(buffer) < head + 2:
        return True
    return _check(buffer[body:head]) == buffer[head : head + 2]


def _parse(body: bytes, head: int) -> Frame:
    destination, used = _read_address(body, 2)
    source, _ = _read_address(body, used)
    return Frame(destination, source, body[head - 1], body[head + 2 :], bool(body[0] & _SEGMENTED))


def _read_address(body: bytes, start: int) -> tuple[Address, int]:
    end = start
    while not body[end] & 1:
        end += 1
    septets = [octet >> 1 for octet in body[start : end + 1]]
    if len(septets) == 1:
        return Address(septets[0]), end + 1
    half = len(septets) // 2
    return Address(_join(septets[:half]), _join(septets[half:]), len(septets)), end + 1


def _join(septets: list[int]) -> int:
    value = 0
    for septet in septets:
        value = value << 7 | septet
    return value


def strip_llc(information_field: bytes) -> bytes:
    """The APDU behind the three LLC octets. Raises MeterFault where they are missing."""
    if information_field[:3] not in (LLC_COMMAND, LLC_RESPONSE):
        raise MeterFault(f"no LLC header before the APDU: {information_field[:3].hex(' ')}")
    return information_field[3:]
