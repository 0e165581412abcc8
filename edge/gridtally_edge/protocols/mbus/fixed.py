"""The fixed data structure of old M-Bus meters (CI 73): two counters and nothing else.

* 16 octets: identification, access number, status, medium and units, two counters of four octets.
* Status bit 0: counters are binary (1) or BCD (0). Bit 1: they were stored at a fixed date. The rest is as in a header.
* Each of the two unit octets holds a unit in six bits and half of the medium in the upper two.

Source: EN 1434-3:1997; M-Bus documentation 4.8, chapter 6.6 and 8.3 (table of physical units).
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.mbus.fields import Raw, bcd
from gridtally_edge.protocols.mbus.header import Header, Identity, number_text
from gridtally_edge.protocols.mbus.records import Function, Record, Records
from gridtally_edge.protocols.mbus.vif import Meaning, Named
from gridtally_shared.errors import MeterFault

BYTES: Final = 16
BINARY, STORED = 0x01, 0x02
_SAME_BUT_STORED: Final = 0x3E

_FAMILIES: tuple[tuple[int, int, Meaning], ...] = (
    (0x02, 9, Meaning("Energy", "Wh", 0)),
    (0x0B, 9, Meaning("Energy", "J", 3)),
    (0x14, 9, Meaning("Power", "W", 0)),
    (0x1D, 9, Meaning("Power", "J/h", 3)),
    (0x26, 9, Meaning("Volume", "m3", -6)),
    (0x2F, 9, Meaning("Volume flow", "m3/h", -6)),
)
UNITS: dict[int, Meaning] = {
    **{first + n: Meaning(m.name, m.unit, m.exponent + n) for first, count, m in _FAMILIES for n in range(count)},
    0x00: Meaning("Time of day"),
    0x01: Meaning("Date"),
    0x38: Meaning("Temperature", "°C", -3),
    0x39: Meaning("Heat cost units"),
    0x3F: Meaning("Number without dimension"),
}
MEDIA: dict[int, int] = {0xA: 0x03, 0xB: 0x04, 0xC: 0x06, 0xD: 0x07, 0xE: 0x08}
"""Media of "mode 2" in the codes of the variable structure; the codes below 9 are the same there."""


def read_fixed(octets: bytes) -> tuple[Header, Records]:
    """Raises MeterFault where the octets are not all there."""
    if len(octets) < BYTES:
        raise MeterFault(f"the fixed M-Bus structure has {BYTES} octets, {len(octets)} are there")
    medium = octets[6] >> 6 | (octets[7] >> 6) << 2
    identity = Identity(number_text(octets[:4]), "", 0, MEDIA.get(medium, medium))
    status = octets[5]
    units = (octets[6] & 0x3F, octets[7] & 0x3F)
    records = (_counter(0, units, status, octets[8:12]), _counter(1, units, status, octets[12:16]))
    return Header(identity, octets[4], status & 0xFC, 0), Records(records)


def _counter(place: int, units: tuple[int, int], status: int, octets: bytes) -> Record:
    historic = units[place] == _SAME_BUT_STORED
    unit = units[0] if historic else units[place]
    meaning = UNITS.get(unit, Meaning(f"Reserved unit {unit:02X}"))
    raw: Raw = int.from_bytes(octets, "little") if status & BINARY else bcd(octets)
    storage = 1 if historic or status & STORED else 0
    return Record(Function.INSTANT, storage, 0, 0, Named(meaning), raw, bytes((unit,)))
