"""An M-Bus application telegram without its link: CI field and what follows, into a header and records.

* 72 and 76 have a long header, 7A a short one, 78 none; 73 is the fixed structure; 70 an application error. 79 and 7B are
  compact frames and need the format of an earlier full frame (`compact.py`); 69 to 6B carry a format.
* Ciphered telegrams are opened before they come here (`wmbus/security.py`); one that is still ciphered is a MeterFault.

Source: EN 13757-7:2018 (CI fields); EN 13757-3:2018 clause 10 (application errors).
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.mbus.compact import Formats, read_compact
from gridtally_edge.protocols.mbus.fixed import read_fixed
from gridtally_edge.protocols.mbus.frames import Frame
from gridtally_edge.protocols.mbus.header import (
    ANYONE,
    LONG_HEADER,
    NO_HEADER,
    SHORT_HEADER,
    Header,
    long_header,
    short_header,
)
from gridtally_edge.protocols.mbus.records import Records, read_records
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

ERROR_CI, FIXED_CI = 0x70, 0x73
HEADERS: dict[int, int] = {
    0x72: LONG_HEADER,
    0x76: LONG_HEADER,
    0x78: NO_HEADER,
    0x7A: SHORT_HEADER,
    0x79: NO_HEADER,
    0x7B: SHORT_HEADER,
}
COMPACT = frozenset({0x79, 0x7B})
CIPHERED_MODES: Final = frozenset({5, 7, 8, 9, 10, 13})
MODE_BITS, BLOCK_BITS = 0x1F00, 0x00F0

APPLICATION_ERRORS: dict[int, str] = {
    0: "unspecified error",
    1: "this CI field is not implemented",
    2: "its buffer is too long and was cut",
    3: "too many records",
    4: "premature end of a record",
    5: "more than 10 DIFEs",
    6: "more than 10 VIFEs",
    8: "application busy, ask again later",
    9: "too many readouts within this time",
    16: "access denied",
    17: "application unknown",
    18: "parameter unknown",
    19: "parameter out of range",
    20: "a step must come first",
    21: "forbidden to change",
}


@dataclass(frozen=True, slots=True)
class Telegram:
    header: Header
    contents: Records
    ci: int


def decode_telegram(ci: int, octets: bytes, formats: Formats | None = None) -> Telegram:
    """`octets` are behind the CI field. Raises MeterFault; an application error of the meter is one too."""
    if ci == ERROR_CI:
        raise MeterFault(f"the M-Bus meter answers: {application_error(octets)}")
    if ci == FIXED_CI:
        return Telegram(*read_fixed(octets), ci)
    if ci not in HEADERS:
        raise MeterFault(f"the CI field {ci:02X} carries no readings that are known here")
    header, start = split_header(ci, octets)
    if is_ciphered(header.configuration):
        raise MeterFault("the telegram is ciphered: the meter's key is needed")
    if ci in COMPACT:
        return Telegram(header, read_compact(octets[start:], formats or Formats()), ci)
    if formats is not None:
        formats.learn(octets[start:])
    return Telegram(header, read_records(octets[start:]), ci)


def is_ciphered(configuration: int) -> bool:
    """By mode and number of blocks: old wired meters put any signature into this word."""
    return (configuration & MODE_BITS) >> 8 in CIPHERED_MODES and bool(configuration & BLOCK_BITS)


def split_header(ci: int, octets: bytes) -> tuple[Header, int]:
    """The header that this CI field has, and where the data begin."""
    length = HEADERS[ci]
    if length == LONG_HEADER:
        return long_header(octets), length
    return (short_header(octets), length) if length else (ANYONE, 0)


def decode_answer(frame: Frame, formats: Formats | None = None) -> Telegram:
    """The telegram in a long frame of a meter."""
    if frame.ci is None:
        raise MeterFault("the M-Bus meter answered without data")
    return decode_telegram(frame.ci, frame.data, formats)


def application_error(octets: bytes) -> str:
    if not octets:
        return APPLICATION_ERRORS[0]
    return APPLICATION_ERRORS.get(octets[0], f"error {octets[0]}")
