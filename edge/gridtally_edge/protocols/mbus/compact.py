"""Compact frames (CI 79): values without their DIF and VIF, read with the format of an earlier full frame.

* A format is the run of DIF, DIFE, VIF and VIFE octets of a full frame; its signature is the CRC-16 of EN 13757 over them.
* A compact frame: format signature, CRC of the full frame's records, then the data fields. The second CRC proves that the
  rebuilt records are those the meter means, so a wrong format gives a refusal and no value.
* Formats are few and small; the oldest is forgotten above `MOST`.

Source: EN 13757-3:2018, annex on compact M-Bus frames; EN 13757-7:2018.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.mbus.crc import crc16_en13757
from gridtally_edge.protocols.mbus.fields import LENGTHS, VARIABLE, variable_length
from gridtally_edge.protocols.mbus.records import FILLER, MAKER_DATA, MORE_FOLLOWS, Records, read_head, read_records, read_value
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

MOST: Final = 64
_HEAD: Final = 4


@dataclass(slots=True)
class Formats:
    """Formats seen in full frames, by signature. One for each meter: another meter's format may collide."""

    by_signature: dict[int, bytes] = field(default_factory=dict)

    def learn(self, records: bytes) -> None:
        """Keep the format of a full frame's records; octets that are no records are passed over."""
        try:
            heads = format_of(records)
        except MeterFault:
            return
        self.by_signature.setdefault(crc16_en13757(heads), heads)
        if len(self.by_signature) > MOST:
            del self.by_signature[next(iter(self.by_signature))]


def format_of(records: bytes) -> bytes:
    """DIF, DIFE, VIF and VIFE octets of all records. Raises MeterFault."""
    heads, start = b"", 0
    while start < len(records) and records[start] not in (MAKER_DATA, MORE_FOLLOWS):
        if records[start] == FILLER:
            start += 1
            continue
        head, start = read_head(records, start)
        _, start = read_value(head, records, start)
        heads += head.octets
    return heads


def read_compact(octets: bytes, formats: Formats) -> Records:
    """Raises MeterFault when the format is not known or does not fit."""
    if len(octets) < _HEAD:
        raise MeterFault("the compact M-Bus frame is cut short")
    signature, crc = int.from_bytes(octets[:2], "little"), int.from_bytes(octets[2:4], "little")
    heads = formats.by_signature.get(signature)
    if heads is None:
        raise MeterFault(f"a compact frame of format {signature:04X}, which no full frame has shown yet: a full one comes by itself")
    full = _rebuilt(heads, octets[_HEAD:])
    if crc16_en13757(full) != crc:
        raise MeterFault("the compact frame does not fit the remembered format: a full one comes by itself")
    return read_records(full)


def _rebuilt(heads: bytes, data: bytes) -> bytes:
    """The records of the full frame: each head, then its data."""
    full, at, start = b"", 0, 0
    while at < len(heads):
        head, at = read_head(heads, at)
        length = _data_length(head.field, data[start:])
        full += head.octets + data[start : start + length]
        start += length
    return full


def _data_length(kind: int, data: bytes) -> int:
    if kind != VARIABLE:
        return LENGTHS[kind]
    if not data:
        raise MeterFault("the compact frame is cut short")
    return 1 + variable_length(data[0])
