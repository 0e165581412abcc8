"""The wrapper of DLMS over TCP and UDP (IEC 62056-47): version 1, source port, destination port, length, PDU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VERSION: Final = b"\x00\x01"
HEADER_OCTETS: Final = 8


@dataclass(frozen=True, slots=True)
class WrapperPdu:
    source: int
    destination: int
    apdu: bytes

    def octets(self) -> bytes:
        ports = self.source.to_bytes(2, "big") + self.destination.to_bytes(2, "big")
        return VERSION + ports + len(self.apdu).to_bytes(2, "big") + self.apdu


@dataclass(frozen=True, slots=True)
class PlacedPdu:
    """A PDU and where it lies in the buffer."""

    pdu: WrapperPdu
    start: int
    end: int


def scan(buffer: bytes) -> tuple[PlacedPdu, ...]:
    """The whole PDUs at the start of a stream. TCP does not lose octets, so a stream that starts otherwise has none."""
    found = []
    start = 0
    while buffer[start : start + 2] == VERSION and len(buffer) >= start + HEADER_OCTETS:
        end = start + HEADER_OCTETS + int.from_bytes(buffer[start + 6 : start + 8], "big")
        if end > len(buffer):
            break
        source, destination = (int.from_bytes(buffer[start + at : start + at + 2], "big") for at in (2, 4))
        found.append(PlacedPdu(WrapperPdu(source, destination, buffer[start + HEADER_OCTETS : end]), start, end))
        start = end
    return tuple(found)
