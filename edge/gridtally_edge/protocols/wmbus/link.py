"""The data link layer of wireless M-Bus: length, CRCs, who sends.

* L, C, M (2), A (6), then CI and what follows. L counts what stands behind it, without CRCs in format A, with them in B.
* Format A: a CRC behind the first 10 octets and behind every 16 that follow. Format B: one CRC at the end, and one at
  octet 126 in front where the frame is longer than 128. CRC-16 of EN 13757, high octet first.
* Most receivers strip the CRCs. Which form a frame has follows from its length and from the CRCs being right; where they
  are there and wrong, it is a MeterFault. A stripped frame is only proved by its cipher.

Source: EN 13757-4:2019 clause 12 (link layer, frame formats A and B).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gridtally_edge.protocols.mbus.crc import crc16_en13757
from gridtally_edge.protocols.mbus.header import Identity, maker_text, number_text
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

FIRST_BLOCK, NEXT_BLOCK, CRC_BYTES = 10, 16, 2
SHORTEST: Final = 11
B_LONGEST_BLOCK: Final = 126

CONTROLS: dict[int, str] = {
    0x44: "sends by itself (SND-NR)",
    0x46: "wants to be installed (SND-IR)",
    0x47: "can be reached now (ACC-NR)",
    0x48: "wants to be asked (ACC-DMD)",
    0x08: "answers (RSP-UD)",
    0x18: "answers (RSP-UD)",
    0x28: "answers (RSP-UD)",
    0x38: "answers (RSP-UD)",
    0x43: "is sent by a gateway (SND-UD2)",
    0x53: "is sent by a gateway (SND-UD)",
}


@dataclass(frozen=True, slots=True)
class RadioFrame:
    """`address` are M and A as sent, from which initial vectors are made. `body` begins with the CI field. `has_crc` says
    that the CRCs were there (and right)."""

    control: int
    address: bytes
    body: bytes
    has_crc: bool

    @property
    def sender(self) -> Identity:
        return identity_of(self.address)


def identity_of(address: bytes) -> Identity:
    """M (2), A: number (4), version, type. Radio turns the order of wired M-Bus round."""
    return Identity(number_text(address[2:6]), maker_text(address[:2]), address[6], address[7])


def read_frame(octets: bytes) -> RadioFrame:
    """A frame from its L field on, with or without CRCs. Raises MeterFault."""
    if len(octets) < SHORTEST:
        raise MeterFault(f"a radio frame has {SHORTEST} octets at least, {len(octets)} are there")
    plain, has_crc = _without_crc(octets)
    return RadioFrame(plain[1], plain[2:10], plain[10:], has_crc)


def _without_crc(octets: bytes) -> tuple[bytes, bool]:
    length = octets[0]
    if length < SHORTEST - 1:
        raise MeterFault(f"a radio frame of length {length} can not be")
    if len(octets) == length_in_a(length):
        return _strip_a(octets), True
    if len(octets) != length + 1:
        raise MeterFault(f"the radio frame announces {length} octets behind its length and has {len(octets) - 1}")
    stripped = _strip_b(octets)
    return (stripped, True) if stripped else (octets, False)


def length_in_a(length: int) -> int:
    """Octets on the air of a frame in format A whose L is `length`."""
    blocks = 1 + -(-(length + 1 - FIRST_BLOCK) // NEXT_BLOCK)
    return length + 1 + CRC_BYTES * blocks


def _strip_a(octets: bytes) -> bytes:
    plain = b""
    for block in _blocks_a(octets):
        data = block[:-CRC_BYTES]
        if crc16_en13757(data) != int.from_bytes(block[-CRC_BYTES:], "big"):
            raise MeterFault("a CRC of the radio frame is wrong: no value can be taken from it")
        plain += data
    return plain


def _blocks_a(octets: bytes) -> Iterator[bytes]:
    yield octets[: FIRST_BLOCK + CRC_BYTES]
    step = NEXT_BLOCK + CRC_BYTES
    for start in range(FIRST_BLOCK + CRC_BYTES, len(octets), step):
        yield octets[start : start + step]


def _strip_b(octets: bytes) -> bytes:
    """The frame without its CRCs and with the L it then has; b"" when these are no CRCs."""
    first, rest = octets[: B_LONGEST_BLOCK + CRC_BYTES], octets[B_LONGEST_BLOCK + CRC_BYTES :]
    blocks = [block for block in (first, rest) if block]
    if any(len(block) <= CRC_BYTES or not _is_proved(block) for block in blocks):
        return b""
    plain = b"".join(block[:-CRC_BYTES] for block in blocks)
    return bytes((len(plain) - 1,)) + plain[1:]


def _is_proved(block: bytes) -> bool:
    return crc16_en13757(block[:-CRC_BYTES]) == int.from_bytes(block[-CRC_BYTES:], "big")
