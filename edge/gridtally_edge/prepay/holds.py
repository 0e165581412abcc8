"""Holds on a switch and the hours without cuts: what keeps a supply on, and what keeps it off.

* A hold that keeps the supply off is lifted where it was set, never by a payment, by time or by a mass restore.
* A hold this version does not know blocks both ways: unknown never means cut, and never means close.
* Protected hours are local spans 'HH:MM-HH:MM', over midnight too. A span that can not be read, or a zone this box does
  not know, protects always. The whole interval of the clock's uncertainty must be outside.

Source: safety.md 1 and 5; prepayment.md 3.5, 5.6 (I16).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MINUTES_PER_DAY = 1_440
MS_PER_MINUTE = 60_000
_SPAN = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$")


@dataclass(frozen=True, slots=True)
class Hold:
    code: str
    blocks_cut: bool
    blocks_close: bool


HOLDS: dict[str, Hold] = {
    h.code: h
    for h in (
        Hold("safety", False, True),
        Hold("work", False, True),
        Hold("tamper", False, True),
        Hold("vacant", False, True),
        Hold("customer", False, True),
        Hold("regulator", True, True),
        Hold("disaster", True, False),
        Hold("weather", True, False),
        Hold("medical", True, False),
        Hold("priority", True, False),
        Hold("dispute", True, False),
        Hold("conversion", True, False),
        Hold("schedule", True, False),
    )
}


def hold_of(code: str) -> Hold:
    return HOLDS.get(code) or Hold(code, True, True)


def holds_against_cut(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in codes if hold_of(c).blocks_cut)


def holds_against_close(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in codes if hold_of(c).blocks_close)


@dataclass(frozen=True, slots=True)
class ProtectedHours:
    """Spans as minutes of the local day, start inclusive, end exclusive. `readable` False: always protected."""

    spans: tuple[tuple[int, int], ...]
    zone: ZoneInfo | None
    readable: bool = True

    def touches(self, from_ms: int, to_ms: int) -> bool:
        """Whether any minute of the interval (both ends included) is protected."""
        if not self.readable:
            return True
        if not self.spans:
            return False
        if to_ms - from_ms >= MINUTES_PER_DAY * MS_PER_MINUTE:
            return True
        minutes = [*range(from_ms, to_ms, MS_PER_MINUTE), to_ms]
        return any(self._protects(self._minute(at_ms)) for at_ms in minutes)

    def free_until_ms(self, from_ms: int, limit_ms: int) -> int:
        """The last moment up to `limit_ms` before which no protected minute begins."""
        if not self.spans and self.readable:
            return limit_ms
        at_ms = from_ms
        while at_ms < limit_ms and not self.touches(at_ms, at_ms):
            at_ms = min(limit_ms, (at_ms // MS_PER_MINUTE + 1) * MS_PER_MINUTE)
        return at_ms if at_ms >= limit_ms and not self.touches(at_ms, at_ms) else at_ms - 1

    def _minute(self, at_ms: int) -> int:
        local = datetime.fromtimestamp(at_ms // 1000, self.zone)
        return local.hour * 60 + local.minute

    def _protects(self, minute: int) -> bool:
        return any(a <= minute < b if a < b else minute >= a or minute < b for a, b in self.spans)


def zone_of(name: str) -> ZoneInfo | None:
    """The zone, or None when this box does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def protected_hours(spans: tuple[str, ...], zone_name: str) -> ProtectedHours:
    matches = [_SPAN.match(s.strip()) for s in spans]
    zone = zone_of(zone_name)
    read = tuple((int(m[1]) * 60 + int(m[2]), int(m[3]) * 60 + int(m[4])) for m in matches if m)
    readable = zone is not None and len(read) == len(spans) and all(b <= MINUTES_PER_DAY and a != b for a, b in read)
    return ProtectedHours(read, zone, readable)
