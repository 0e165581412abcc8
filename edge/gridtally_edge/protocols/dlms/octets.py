"""A reader over received octets that never runs past the end: every short read is a `MeterFault`."""

from __future__ import annotations

from gridtally_shared.errors import MeterFault


class Reader:
    """Walks once through `data`. All numbers are unsigned and big-endian, as everywhere in DLMS."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next `count` octets."""
        if count > self.left:
            raise MeterFault(f"cut short: {count} octets announced at offset {self.position}, {self.left} there")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def octet(self) -> int:
        return self.number(1)

    def length(self) -> int:
        """A length of A-XDR and BER: one octet up to 127, or 0x80 + n and then n octets (at most four here)."""
        first = self.octet()
        if first < 0x80:
            return first
        if not 0x81 <= first <= 0x84:
            raise MeterFault(f"a length cannot start with 0x{first:02x}")
        return self.number(first - 0x80)

    def string(self) -> bytes:
        return self.take(self.length())

    def flag(self) -> bool:
        """The octet before an OPTIONAL or DEFAULT field."""
        return self.octet() != 0

    def rest(self) -> bytes:
        return self.take(self.left)


def encode_length(count: int) -> bytes:
    """The shortest form of a length."""
    if count < 0x80:
        return bytes([count])
    size = (count.bit_length() + 7) // 8
    return bytes([0x80 + size]) + count.to_bytes(size, "big")


def encode_string(octets: bytes) -> bytes:
    return encode_length(len(octets)) + octets
