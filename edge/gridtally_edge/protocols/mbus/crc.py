"""CRC-16 of EN 13757-4: polynomial 3D65, start 0, complemented, no reflection.

The native module has the CRCs of the hot paths; a radio telegram of some hundred octets is none of them.
"""

from __future__ import annotations

from typing import Final

POLYNOMIAL: Final = 0x3D65


def _entry(octet: int) -> int:
    value = octet << 8
    for _ in range(8):
        value = (value << 1 ^ POLYNOMIAL if value & 0x8000 else value << 1) & 0xFFFF
    return value


_TABLE: Final = tuple(_entry(octet) for octet in range(256))


def crc16_en13757(octets: bytes) -> int:
    crc = 0
    for octet in octets:
        crc = (crc << 8 & 0xFF00) ^ _TABLE[crc >> 8 ^ octet]
    return crc ^ 0xFFFF
