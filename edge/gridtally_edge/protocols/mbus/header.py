"""Who sent an M-Bus telegram: identification, maker, version, medium, status.

* The identification is eight BCD digits, sent lowest first; some makers use A to F in it, so it is kept as text.
* A maker is three letters of five bits each (FLAG association), `A` is 1.
* Status: two bits say what the application does, five bits are flags, of which the upper three are the maker's.

Source: EN 13757-3:2018 clause 5 and 6; EN 13757-7:2018 clause 7 (headers), tables of device types.
"""

from __future__ import annotations

from enum import Enum, Flag
from typing import Final

from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

LONG_HEADER, SHORT_HEADER, NO_HEADER = 12, 4, 0

MEDIA: dict[int, str] = {
    0x00: "other",
    0x01: "oil",
    0x02: "electricity",
    0x03: "gas",
    0x04: "heat (outlet)",
    0x05: "steam",
    0x06: "warm water",
    0x07: "water",
    0x08: "heat cost allocator",
    0x09: "compressed air",
    0x0A: "cooling (outlet)",
    0x0B: "cooling (inlet)",
    0x0C: "heat (inlet)",
    0x0D: "heat and cooling",
    0x0E: "bus or system",
    0x0F: "unknown",
    0x15: "hot water",
    0x16: "cold water",
    0x17: "hot and cold water",
    0x18: "pressure",
    0x19: "analogue-digital converter",
    0x1A: "smoke detector",
    0x1B: "room sensor",
    0x1C: "gas detector",
    0x20: "breaker (electricity)",
    0x21: "valve (gas or water)",
    0x25: "customer unit",
    0x28: "waste water",
    0x29: "garbage",
    0x31: "communication controller",
    0x32: "unidirectional repeater",
    0x33: "bidirectional repeater",
    0x36: "radio converter (system side)",
    0x37: "radio converter (meter side)",
}
ELECTRICITY, GAS, WATER, HEAT, COOLING = "electricity", "gas", "water", "heat", "cooling"
COMMODITIES: dict[int, str] = {
    0x02: ELECTRICITY,
    0x03: GAS,
    0x04: HEAT,
    0x06: WATER,
    0x07: WATER,
    0x0A: COOLING,
    0x0B: COOLING,
    0x0C: HEAT,
    0x0D: HEAT,
    0x15: WATER,
    0x16: WATER,
    0x17: WATER,
    0x28: WATER,
}
"""Which utility a device type belongs to, where it belongs to one."""


class Application(Enum):
    """The low two bits of the status octet."""

    NO_ERROR = 0
    BUSY = 1
    ERROR = 2
    ALARM = 3


class StatusFlag(Flag):
    """The other bits; the upper three mean what the maker says."""

    POWER_LOW = 0x04
    PERMANENT_ERROR = 0x08
    TEMPORARY_ERROR = 0x10
    MAKER_1 = 0x20
    MAKER_2 = 0x40
    MAKER_3 = 0x80


@dataclass(frozen=True, slots=True)
class Identity:
    """A device's address of eight octets: identification (8 digits), maker (3 letters), version, device type."""

    number: str
    maker: str
    version: int
    medium: int

    @classmethod
    def from_bytes(cls, octets: bytes) -> Identity:
        """As a TPL header and a secondary address carry it: number, maker, version, type."""
        if len(octets) != 8:
            raise ValueError("an M-Bus identity has eight octets")
        return cls(number_text(octets[:4]), maker_text(octets[4:6]), octets[6], octets[7])

    def to_bytes(self) -> bytes:
        """Raises ValueError for a number or maker that cannot be."""
        return bytes.fromhex(self.number)[::-1] + maker_octets(self.maker) + bytes((self.version, self.medium))

    @property
    def commodity(self) -> str:
        return COMMODITIES.get(self.medium, "")

    def __str__(self) -> str:
        return f"{self.maker} {self.number}, version {self.version}, {medium_name(self.medium)}"


@dataclass(frozen=True, slots=True)
class Header:
    """A TPL header. `identity` is None in a short one. `configuration` is the configuration or signature word."""

    identity: Identity | None
    access: int
    status: int
    configuration: int

    @property
    def application(self) -> Application:
        return Application(self.status & 3)

    @property
    def flags(self) -> StatusFlag:
        return StatusFlag(self.status & 0xFC)


ANYONE: Final = Header(None, 0, 0, 0)
"""What stands for the header where a telegram has none."""


def number_text(octets: bytes) -> str:
    return octets[::-1].hex().upper()


def maker_text(octets: bytes) -> str:
    """Three letters; octets that are no letters give their hexadecimal digits."""
    code = int.from_bytes(octets, "little") & 0x7FFF
    letters = [(code >> shift & 0x1F) + 64 for shift in (10, 5, 0)]
    return bytes(letters).decode("ascii") if all(65 <= letter <= 90 for letter in letters) else octets[::-1].hex().upper()


def maker_octets(maker: str) -> bytes:
    """Two octets of three letters. Raises ValueError."""
    if len(maker) == 4:
        return bytes.fromhex(maker)[::-1]
    if len(maker) != 3 or not all("A" <= letter <= "Z" for letter in maker):
        raise ValueError(f"a maker is three letters A to Z, not {maker!r}")
    first, second, third = (ord(letter) - 64 for letter in maker)
    return (first << 10 | second << 5 | third).to_bytes(2, "little")


def medium_name(medium: int) -> str:
    return MEDIA.get(medium, f"device type {medium:02X}")


def long_header(octets: bytes) -> Header:
    """The 12 octets behind CI 72, 7B and others. Raises MeterFault when they are not all there."""
    if len(octets) < LONG_HEADER:
        raise MeterFault("the M-Bus telegram ends within its header")
    return Header(Identity.from_bytes(octets[:8]), octets[8], octets[9], int.from_bytes(octets[10:12], "little"))


def short_header(octets: bytes) -> Header:
    """The 4 octets behind CI 7A."""
    if len(octets) < SHORT_HEADER:
        raise MeterFault("the M-Bus telegram ends within its header")
    return Header(None, octets[0], octets[1], int.from_bytes(octets[2:4], "little"))
