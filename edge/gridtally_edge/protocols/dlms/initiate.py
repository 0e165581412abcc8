"""xDLMS initiate (IEC 62056-5-3, 9.3.2): what client and meter agree on before the first GET."""

from __future__ import annotations

from dataclasses import field
from enum import IntFlag
from typing import ClassVar, Final

from gridtally_edge.protocols.dlms.octets import Reader, encode_string
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

DLMS_VERSION: Final = 6
_CONFORMANCE_HEAD: Final = b"\x5f\x1f\x04\x00"
_SHORT_HEAD: Final = b"\x5f\x04\x00"


class Conformance(IntFlag):
    """The 24 conformance bits; bit 0 of the standard is the top bit of the first octet."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    DELTA_VALUE_ENCODING = 1 << 17
    ATTRIBUTE_0_SET = 1 << 15
    PRIORITY = 1 << 14
    ATTRIBUTE_0_GET = 1 << 13
    BLOCK_GET = 1 << 12
    BLOCK_SET = 1 << 11
    BLOCK_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


def _read_conformance(reader: Reader) -> tuple[Conformance, bool]:
    """The bits, and whether the tag had its usual long form. Some meters leave out the second tag octet."""
    long_form = reader.data[reader.position : reader.position + 2] == _CONFORMANCE_HEAD[:2]
    head = _CONFORMANCE_HEAD if long_form else _SHORT_HEAD
    if reader.take(len(head)) != head:
        raise MeterFault("no conformance block in the initiate PDU")
    return Conformance(reader.number(3)), long_form


def _conformance_octets(conformance: Conformance, long_form: bool) -> bytes:
    return (_CONFORMANCE_HEAD if long_form else _SHORT_HEAD) + int(conformance).to_bytes(3, "big")


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    tags: ClassVar[bytes] = b"\x01"
    conformance: Conformance
    max_pdu: int = 0xFFFF
    dedicated_key: bytes | None = field(default=None, repr=False)
    response_allowed: int | None = None
    quality_of_service: int | None = None
    version: int = DLMS_VERSION
    long_form: bool = True

    @classmethod
    def from_reader(cls, reader: Reader) -> InitiateRequest:
        key = reader.string() if reader.flag() else None
        allowed = reader.octet() if reader.flag() else None
        quality = reader.octet() if reader.flag() else None
        version = reader.octet()
        conformance, long_form = _read_conformance(reader)
        return cls(conformance, reader.number(2), key, allowed, quality, version, long_form)

    def octets(self) -> bytes:
        key = b"\x00" if self.dedicated_key is None else b"\x01" + encode_string(self.dedicated_key)
        options = _option(self.response_allowed) + _option(self.quality_of_service)
        bits = _conformance_octets(self.conformance, self.long_form)
        return self.tags + key + options + bytes([self.version]) + bits + self.max_pdu.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    """`vaa_name` is 7 for logical-name referencing."""

    tags: ClassVar[bytes] = b"\x08"
    conformance: Conformance
    max_pdu: int
    vaa_name: int = 7
    quality_of_service: int | None = None
    version: int = DLMS_VERSION
    long_form: bool = True

    @classmethod
    def from_reader(cls, reader: Reader) -> InitiateResponse:
        quality = reader.octet() if reader.flag() else None
        version = reader.octet()
        conformance, long_form = _read_conformance(reader)
        return cls(conformance, reader.number(2), reader.number(2), quality, version, long_form)

    def octets(self) -> bytes:
        bits = _conformance_octets(self.conformance, self.long_form)
        sizes = self.max_pdu.to_bytes(2, "big") + self.vaa_name.to_bytes(2, "big")
        return self.tags + _option(self.quality_of_service) + bytes([self.version]) + bits + sizes


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    """The meter refuses a service (1 is the association); `kind` and `value` are the standard's error class and code."""

    tags: ClassVar[bytes] = b"\x0e"
    service: int
    kind: int
    value: int

    @classmethod
    def from_reader(cls, reader: Reader) -> ConfirmedServiceError:
        return cls(reader.octet(), reader.octet(), reader.octet())

    def octets(self) -> bytes:
        return self.tags + bytes([self.service, self.kind, self.value])


def _option(value: int | None) -> bytes:
    return b"\x00" if value is None else bytes([1, value])
