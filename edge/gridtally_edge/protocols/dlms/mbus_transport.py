"""DLMS PDUs carried in wired M-Bus long frames (EN 13757-3, annex; used by Austrian customer interfaces).

Frame: 68 L L 68, C, A, CI, source and destination selector, data, checksum (sum of C to data), 16. The CI field counts
the segments in its low four bits, 0x10 marks the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

_START, _STOP = 0x68, 0x16
_LAST: Final = 0x10
_HIGHEST_CI: Final = 0x1F
_HEAD: Final = 5


@dataclass(frozen=True, slots=True)
class Segment:
    control: int
    address: int
    number: int
    last: bool
    piece: bytes


def looks_like_mbus(octets: bytes) -> bool:
    return len(octets) >= 9 and octets[0] == octets[3] == _START and octets[1] == octets[2]


def segments_of(octets: bytes) -> tuple[Segment, ...]:
    """All frames, back to back. Raises MeterFault for a wrong checksum or a frame that is no DLMS segment."""
    return tuple(_segments(octets))


def _segments(octets: bytes) -> Iterator[Segment]:
    start = 0
    while start < len(octets):
        frame = octets[start:]
        if not looks_like_mbus(frame):
            raise MeterFault(f"no M-Bus frame at offset {start}")
        end = 4 + frame[1] + 2
        if len(frame) < end or frame[end - 1] != _STOP:
            raise MeterFault("the M-Bus frame is cut short")
        body = frame[4 : end - 2]
        if sum(body) & 0xFF != frame[end - 2]:
            raise MeterFault("the checksum of the M-Bus frame is wrong")
        if len(body) < _HEAD or body[2] > _HIGHEST_CI:
            raise MeterFault("the M-Bus frame carries no DLMS segment")
        yield Segment(body[0], body[1], body[2] & 0x0F, bool(body[2] & _LAST), body[_HEAD:])
        start += end


def join_segments(segments: tuple[Segment, ...]) -> bytes:
    """The PDU of a whole run. Raises MeterFault where a segment is missing."""
    if [s.number for s in segments] != list(range(len(segments))) or not segments or not segments[-1].last:
        raise MeterFault("a segment of the message is missing")
    if any(s.last for s in segments[:-1]):
        raise MeterFault("more than one message in a row")
    return b"".join(segment.piece for segment in segments)
