"""The wrapper of DLMS over TCP and UDP (IEC 62056-47): version 1, source port, destination port, length, PDU."""

from __future__ import annotations

from typing import Final

from gridtally_shared.records import dataclass

VERSION: Final = b"\x00\x01"
HEADER_OCTETS: Final = 8


@dataclass(frozen=True, slots=True)
class WrapperPdu:
    source: int
    destination: int
    apdu: bytes

    def octets(self) -> bytes:
        """Raises ValueError for a PDU that its length field can not say."""
        if len(self.apdu) > 0xFFFF:
            raise ValueError(f"a PDU of {len(self.apdu)} octets does not fit a wrapper")
        ports = self.source.to_bytes(2, "big") + self.destination.to_bytes(2, "big")
        return VERSION + ports + len(self.apdu).to_bytes(2, "big") + self.apdu


@dataclass(frozen=True, slots=True)
class PlacedPdu:
    """A PDU and where it lies in the buffer."""

    pdu: WrapperPdu
    start: int
    end: int


def scan(buffer: bytes, resync: bool = False) -> tuple[PlacedPdu, ...]:
    """The whole PDUs at the start of a stream. TCP does not lose octets, so a stream that starts otherwise has none.

    `resync`: datagrams of strangers may stand between, so what is no whole PDU is passed over."""
    found = []
    start = 0
    while (start := _next_start(buffer, start, resync)) >= 0:
        end = start + HEADER_OCTETS + int.from_bytes(buffer[start + 6 : start + 8], "big")
        if end <= len(buffer):
            found.append(_placed(buffer, start, end))
            start = end
        elif resync:
            start += 1
        else:
            break
    return tuple(found)


def _next_start(buffer: bytes, start: int, resync: bool) -> int:
    if resync:
        start = buffer.find(VERSION, start)
    whole = len(buffer) >= start + HEADER_OCTETS
    return start if start >= 0 and whole and buffer[start : start + 2] == VERSION else -1


def _placed(buffer: bytes, start: int, end: int) -> PlacedPdu:
    source, destination = (int.from_bytes(buffer[start + at : start + at + 2], "big") for at in (2, 4))
    return PlacedPdu(WrapperPdu(source, destination, buffer[start + HEADER_OCTETS : end]), start, end)
