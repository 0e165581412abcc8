"""Association control (ACSE, IEC 62056-5-3, 9.2): AARQ, AARE, RLRQ and RLRE, BER-coded.

Fields are kept by meaning and written in the order of the standard; unknown fields are kept as they came, behind.
"""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum
from typing import ClassVar, Final

from gridtally_edge.protocols.dlms.octets import Reader, encode_string
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

_OID: Final = b"\x60\x85\x74\x05\x08"
_CONTEXT, _MECHANISM = b"\x01", b"\x02"


class Context(IntEnum):
    LOGICAL_NAME = 1
    SHORT_NAME = 2
    LOGICAL_NAME_CIPHERED = 3
    SHORT_NAME_CIPHERED = 4


class Mechanism(IntEnum):
    """Authentication mechanisms we can name; a meter may send others."""

    NONE = 0
    LLS = 1
    HLS = 2
    HLS_MD5 = 3
    HLS_SHA1 = 4
    HLS_GMAC = 5
    HLS_SHA256 = 6
    HLS_ECDSA = 7


ACCEPTED: Final = 0
REJECTED_FOR_NOW: Final = 2
DIAGNOSTICS: Final = {
    0: "null",
    1: "no reason given",
    2: "application context not supported",
    11: "authentication mechanism not recognised",
    12: "authentication mechanism required",
    13: "authentication failure",
    14: "authentication required",
}


def _fields(reader: Reader) -> list[tuple[int, bytes]]:
    inner = Reader(reader.string())
    fields = []
    while inner.left:
        fields.append((inner.octet(), inner.string()))
    return fields


def _field(tag: int, octets: bytes) -> bytes:
    return bytes([tag]) + encode_string(octets)


def _wrapped(octets: bytes, tag: int) -> bytes:
    """The content of a nested field that must start with `tag`."""
    reader = Reader(octets)
    if reader.octet() != tag:
        raise MeterFault(f"expected field 0x{tag:02x} in the association PDU")
    content = reader.string()
    if reader.left:
        raise MeterFault("octets behind a field of the association PDU")
    return content


def _oid_number(octets: bytes, kind: bytes) -> int:
    if octets[:-1] != _OID + kind:
        raise MeterFault(f"unknown object identifier {octets.hex()}")
    return octets[-1]


def _context_of(octets: bytes) -> int:
    return _oid_number(_wrapped(octets, 0x06), _CONTEXT)


@dataclass(frozen=True, slots=True)
class Aarq:
    """`initiate` is the xDLMS initiate request, plain or ciphered; `secret` the password (LLS) or challenge (HLS)."""

    tags: ClassVar[bytes] = b"\x60"
    context: int = Context.LOGICAL_NAME
    title: bytes | None = None
    requirements: bytes | None = None
    mechanism: int | None = None
    secret: bytes | None = field(default=None, repr=False)
    initiate: bytes | None = None
    others: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def from_reader(cls, reader: Reader) -> Aarq:
        found, others = _sorted(_fields(reader), (0xA1, 0xA6, 0x8A, 0x8B, 0xAC, 0xBE))
        return cls(
            _context_of(_needed(found, 0xA1)),
            _wrapped(found[0xA6], 0x04) if 0xA6 in found else None,
            found.get(0x8A),
            _oid_number(found[0x8B], _MECHANISM) if 0x8B in found else None,
            _wrapped(found[0xAC], 0x80) if 0xAC in found else None,
            _wrapped(found[0xBE], 0x04) if 0xBE in found else None,
            others,
        )

    def octets(self) -> bytes:
        body = _field(0xA1, _field(0x06, _OID + _CONTEXT + bytes([self.context])))
        body += b"" if self.title is None else _field(0xA6, _field(0x04, self.title))
        body += b"" if self.requirements is None else _field(0x8A, self.requirements)
        body += b"" if self.mechanism is None else _field(0x8B, _OID + _MECHANISM + bytes([self.mechanism]))
        body += b"" if self.secret is None else _field(0xAC, _field(0x80, self.secret))
        return self.tags + encode_string(body + _initiate_field(self.initiate) + _other_fields(self.others))


@dataclass(frozen=True, slots=True)
class Aare:
    """`result` 0 is accepted, 1 rejected for good, 2 for now. `provider` tells a diagnostic of the service provider
    from one of the user. `initiate` is an initiate response or a confirmed service error, plain or ciphered."""

    tags: ClassVar[bytes] = b"\x61"
    context: int
    result: int
    diagnostic: int
    provider: bool = False
    title: bytes | None = None
    requirements: bytes | None = None
    mechanism: int | None = None
    challenge: bytes | None = None
    initiate: bytes | None = None
    others: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def from_reader(cls, reader: Reader) -> Aare:
        found, others = _sorted(_fields(reader), (0xA1, 0xA2, 0xA3, 0xA4, 0x88, 0x89, 0xAA, 0xBE))
        provider, diagnostic = _diagnostic(_needed(found, 0xA3))
        return cls(
            _context_of(_needed(found, 0xA1)),
            _number(_wrapped(_needed(found, 0xA2), 0x02)),
            diagnostic,
            provider,
            _wrapped(found[0xA4], 0x04) if 0xA4 in found else None,
            found.get(0x88),
            _oid_number(found[0x89], _MECHANISM) if 0x89 in found else None,
            _wrapped(found[0xAA], 0x80) if 0xAA in found else None,
            _wrapped(found[0xBE], 0x04) if 0xBE in found else None,
            others,
        )

    def octets(self) -> bytes:
        body = _field(0xA1, _field(0x06, _OID + _CONTEXT + bytes([self.context])))
        body += _field(0xA2, _field(0x02, bytes([self.result])))
        body += _field(0xA3, _field(0xA2 if self.provider else 0xA1, _field(0x02, bytes([self.diagnostic]))))
        body += b"" if self.title is None else _field(0xA4, _field(0x04, self.title))
        body += b"" if self.requirements is None else _field(0x88, self.requirements)
        body += b"" if self.mechanism is None else _field(0x89, _OID + _MECHANISM + bytes([self.mechanism]))
        body += b"" if self.challenge is None else _field(0xAA, _field(0x80, self.challenge))
        return self.tags + encode_string(body + _initiate_field(self.initiate) + _other_fields(self.others))


@dataclass(frozen=True, slots=True)
class Rlrq:
    """A polite end. `reason` 0 is normal."""

    tags: ClassVar[bytes] = b"\x62"
    reason: int | None = 0
    initiate: bytes | None = None
    others: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def from_reader(cls, reader: Reader) -> Rlrq:
        return cls(*_release(reader))

    def octets(self) -> bytes:
        return self.tags + _release_octets(self.reason, self.initiate, self.others)


@dataclass(frozen=True, slots=True)
class Rlre:
    tags: ClassVar[bytes] = b"\x63"
    reason: int | None = 0
    initiate: bytes | None = None
    others: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def from_reader(cls, reader: Reader) -> Rlre:
        return cls(*_release(reader))

    def octets(self) -> bytes:
        return self.tags + _release_octets(self.reason, self.initiate, self.others)


def _release(reader: Reader) -> tuple[int | None, bytes | None, tuple[tuple[int, bytes], ...]]:
    found, others = _sorted(_fields(reader), (0x80, 0xBE))
    reason = _number(found[0x80]) if 0x80 in found else None
    return reason, _wrapped(found[0xBE], 0x04) if 0xBE in found else None, others


def _release_octets(reason: int | None, initiate: bytes | None, others: tuple[tuple[int, bytes], ...]) -> bytes:
    body = b"" if reason is None else _field(0x80, bytes([reason]))
    return encode_string(body + _initiate_field(initiate) + _other_fields(others))


def _sorted(
    fields: list[tuple[int, bytes]], known: tuple[int, ...]
) -> tuple[dict[int, bytes], tuple[tuple[int, bytes], ...]]:
    found: dict[int, bytes] = {}
    others = []
    for tag, octets in fields:
        if tag in known and tag not in found:
            found[tag] = octets
        else:
            others.append((tag, octets))
    return found, tuple(others)


def _needed(found: dict[int, bytes], tag: int) -> bytes:
    if tag not in found:
        raise MeterFault(f"field 0x{tag:02x} is missing in the association PDU")
    return found[tag]


def _number(octets: bytes) -> int:
    if len(octets) != 1:
        raise MeterFault("expected a number of one octet in the association PDU")
    return octets[0]


def _diagnostic(octets: bytes) -> tuple[bool, int]:
    provider = octets[:1] == b"\xa2"
    return provider, _number(_wrapped(_wrapped(octets, 0xA2 if provider else 0xA1), 0x02))


def _initiate_field(initiate: bytes | None) -> bytes:
    return b"" if initiate is None else _field(0xBE, _field(0x04, initiate))


def _other_fields(others: tuple[tuple[int, bytes], ...]) -> bytes:
    return b"".join(_field(tag, octets) for tag, octets in others)
