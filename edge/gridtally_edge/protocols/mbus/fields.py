"""Data fields of M-Bus records: integers, BCD, reals, variable length, and the date types F, G, I and J.

* A field that carries no true value is `Invalid` with the reason, never zero: BCD digits A to F, a date of zeros, the
  invalid bit of a time, a real that is no number.
* A BCD number whose highest digit is F is negative (EN 13757-3, type A); other hexadecimal digits are errors.
* Dates are the meter's own local time without a zone: ISO text, as exact as the meter tells.

Source: EN 13757-3:2018, clauses 6.3 and annex A (data types A to M).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

from gridtally_edge.protocols.mbus.vif import Form
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Invalid:
    """There is a field, and it holds no value."""

    why: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A meter's local date, or date and time. `text` is ISO 8601 without a zone; `summer` is its own flag."""

    text: str
    summer: bool = False


Raw: TypeAlias = int | Decimal | str | bytes | Moment | Invalid | None
"""None: the record has no data at all (data field 0, or a request for readout)."""

LENGTHS: dict[int, int] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 8: 0, 9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}
VARIABLE = 0xD
REAL, NONE, SELECTION = 5, 0, 8
BCD = frozenset({9, 0xA, 0xB, 0xC, 0xE})
LONG_BINARY: dict[int, int] = {0xF5: 48, 0xF6: 64, **{code: 4 * (code - 0xEC) for code in range(0xF0, 0xF5)}}


def variable_length(first: int) -> int:
    """Bytes behind the length octet of a variable field. Raises MeterFault for a reserved octet."""
    if first <= 0xBF:
        return first
    if 0xC0 <= first <= 0xC9 or 0xD0 <= first <= 0xD9:
        return first & 0x0F
    if 0xE0 <= first <= 0xEF:
        return first - 0xE0
    if first in LONG_BINARY:
        return LONG_BINARY[first]
    raise MeterFault(f"a record of variable length has the reserved length octet {first:02X}")


def variable_value(first: int, data: bytes) -> Raw:
    """Text (sent backwards), BCD of either sign, or a binary number."""
    if first <= 0xBF:
        return data[::-1].decode("latin-1")
    if first <= 0xD9:
        number = bcd(data)
        return number if isinstance(number, Invalid) or first < 0xD0 else -number
    return int.from_bytes(data, "little", signed=True) if len(data) <= 8 else data


def fixed_value(field: int, data: bytes, form: Form) -> Raw:
    """The value of a field of fixed length; `form` says whether its integer is a date."""
    if field in (NONE, SELECTION):
        return None
    if form is not Form.NUMBER and field in DATES:
        return DATES[field](data)
    if field in BCD:
        return bcd(data)
    return real(data) if field == REAL else int.from_bytes(data, "little", signed=True)


def bcd(data: bytes) -> int | Invalid:
    digits = data[::-1].hex().upper()
    negative = digits.startswith("F")
    plain = digits[1:] if negative else digits
    if not plain.isdecimal():
        return Invalid(f"digits {digits}") if digits else Invalid("no digits")
    return -int(plain) if negative else int(plain)


def real(data: bytes) -> Decimal | Invalid:
    """A 32-bit real as its exact decimal."""
    number = struct.unpack("<f", data)[0]
    return Decimal(number) if math.isfinite(number) else Invalid("a real that is no number")


def _date(low: int, high: int) -> str | None:
    """Type G: day, month, and seven bits of a year. 81 to 99 are of the last century."""
    day, month, year = low & 0x1F, high & 0x0F, low >> 5 | (high >> 4) << 3
    if not 1 <= month <= 12 or not 1 <= day <= 31 or year > 99:
        return None
    return f"{(1900 if year > 80 else 2000) + year}-{month:02}-{day:02}"


def date(data: bytes) -> Moment | Invalid:
    """Type G, two bytes."""
    text = _date(data[0], data[1])
    return Moment(text) if text else Invalid(f"date {data.hex(' ').upper()}")


def date_time(data: bytes) -> Moment | Invalid:
    """Type F, four bytes: minutes with the invalid bit, hours with the summer bit, and type G. Bits of the century
    (type F, hour octet, bits 5 and 6) lie where older meters have zeros and are not read."""
    text = _date(data[2], data[3])
    minute, hour = data[0] & 0x3F, data[1] & 0x1F
    if text is None or data[0] & 0x80 or minute > 59 or hour > 23:
        return Invalid(f"date and time {data.hex(' ').upper()}")
    return Moment(f"{text}T{hour:02}:{minute:02}:00", bool(data[1] & 0x80))


def time_of_day(data: bytes) -> Moment | Invalid:
    """Type J, three bytes: second, minute, hour."""
    second, minute, hour = data[0] & 0x3F, data[1] & 0x3F, data[2] & 0x1F
    if second > 59 or minute > 59 or hour > 23:
        return Invalid(f"time {data.hex(' ').upper()}")
    return Moment(f"T{hour:02}:{minute:02}:{second:02}")


def date_time_seconds(data: bytes) -> Moment | Invalid:
    """Type I, six bytes: second with the summer bit, minute with the invalid bit, hour, type G, week."""
    text = _date(data[3], data[4])
    second, minute, hour = data[0] & 0x3F, data[1] & 0x3F, data[2] & 0x1F
    if text is None or data[1] & 0x80 or second > 59 or minute > 59 or hour > 23:
        return Invalid(f"date and time {data.hex(' ').upper()}")
    return Moment(f"{text}T{hour:02}:{minute:02}:{second:02}", bool(data[0] & 0x40))


DATES: dict[int, Callable[[bytes], Moment | Invalid]] = {2: date, 3: time_of_day, 4: date_time, 6: date_time_seconds}
