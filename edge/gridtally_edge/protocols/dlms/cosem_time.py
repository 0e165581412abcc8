"""COSEM date-time, 12 octets (IEC 62056-6-2, 4.1.6.1), to UTC milliseconds and back.

* The deviation is UTC minus local time in minutes: India is -330. Some meters send the opposite sign, some none
  (0x8000): a `ClockRule` per meter model says how to read it.
* Wildcard octets (0xFF) in the hundredths and the second count as zero; elsewhere there is no moment to give.
* Status bits: 0 invalid, 1 doubtful, 2 other clock base, 3 invalid status, 7 daylight saving; 0xFF is "not told".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

UNSPECIFIED: Final = -0x8000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_TOLD: Final = 0xFF
_DOUBTFUL_BITS: Final = 0x0B


class ClockPolicy(Enum):
    """How the deviation field of a meter is to be read."""

    BLUE_BOOK = "blue_book"
    INVERTED = "inverted"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class ClockRule:
    """`utc_offset_min` is local time minus UTC (India 330); it holds where the deviation is missing or ignored."""

    policy: ClockPolicy = ClockPolicy.BLUE_BOOK
    utc_offset_min: int = 0


@dataclass(frozen=True, slots=True)
class CosemDateTime:
    """The fields as sent; 0xFF (0xFFFF for the year) stands for "any"."""

    year: int
    month: int
    day: int
    weekday: int
    hour: int
    minute: int
    second: int
    hundredths: int
    deviation_min: int
    status: int

    @property
    def doubtful(self) -> bool:
        """The meter itself does not trust this time."""
        return self.status != _NOT_TOLD and bool(self.status & _DOUBTFUL_BITS)

    @property
    def has_deviation(self) -> bool:
        return self.deviation_min != UNSPECIFIED

    def local(self) -> datetime:
        """Local time without zone. Raises MeterFault where a field is a wildcard or impossible."""
        second = 0 if self.second == _NOT_TOLD else self.second
        hundredths = 0 if self.hundredths == _NOT_TOLD else self.hundredths
        try:
            return datetime(  # noqa: DTZ001 - local by definition, the deviation is applied by utc_ms
                self.year, self.month, self.day, self.hour, self.minute, second, hundredths * 10_000
            )
        except ValueError as error:
            raise MeterFault(f"no such moment in the meter's time: {error}") from None

    def utc_ms(self, rule: ClockRule) -> int:
        """UTC in milliseconds. Raises MeterFault as `local` does."""
        offset = timedelta(minutes=self._offset_min(rule))
        return (self.local().replace(tzinfo=UTC) - _EPOCH - offset) // timedelta(milliseconds=1)

    def _offset_min(self, rule: ClockRule) -> int:
        if rule.policy is ClockPolicy.IGNORED or not self.has_deviation:
            return rule.utc_offset_min
        return self.deviation_min if rule.policy is ClockPolicy.INVERTED else -self.deviation_min

    def __str__(self) -> str:
        date = f"{_field(self.year, 4, 0xFFFF)}-{_field(self.month)}-{_field(self.day)}"
        time = f"{_field(self.hour)}:{_field(self.minute)}:{_field(self.second)}"
        return f"{date} {time}"


def _field(value: int, width: int = 2, wildcard: int = _NOT_TOLD) -> str:
    return "*" if value == wildcard else f"{value:0{width}d}"


def decode_datetime(octets: bytes) -> CosemDateTime:
    """Read the 12 octets. Raises MeterFault for another length; impossible fields show when they are used."""
    if len(octets) != 12:
        raise MeterFault(f"a date-time has 12 octets, not {len(octets)}")
    reader = Reader(octets)
    year = reader.number(2)
    month, day, weekday, hour, minute, second, hundredths = reader.take(7)
    deviation = int.from_bytes(reader.take(2), "big", signed=True)
    status = reader.octet()
    return CosemDateTime(year, month, day, weekday, hour, minute, second, hundredths, deviation, status)


def encode_datetime(time: CosemDateTime) -> bytes:
    fields = (time.month, time.day, time.weekday, time.hour, time.minute, time.second, time.hundredths)
    return b"".join(
        (time.year.to_bytes(2, "big"), bytes(fields), time.deviation_min.to_bytes(2, "big", signed=True), bytes([time.status]))
    )


def cosem_datetime(utc_ms: int, rule: ClockRule) -> CosemDateTime:
    """The fields a meter under `rule` uses for this moment, with the deviation its policy expects and status 0."""
    local = _EPOCH + timedelta(milliseconds=utc_ms, minutes=rule.utc_offset_min)
    sign = {ClockPolicy.BLUE_BOOK: -1, ClockPolicy.INVERTED: 1, ClockPolicy.IGNORED: 0}[rule.policy]
    deviation = sign * rule.utc_offset_min if sign else UNSPECIFIED
    return CosemDateTime(
        local.year, local.month, local.day, local.isoweekday(),
        local.hour, local.minute, local.second, local.microsecond // 10_000, deviation, 0,
    )  # fmt: skip


def datetime_octets(utc_ms: int, rule: ClockRule) -> bytes:
    """The 12 octets of a moment for a meter under `rule`."""
    return encode_datetime(cosem_datetime(utc_ms, rule))
