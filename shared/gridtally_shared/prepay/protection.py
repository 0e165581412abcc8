"""The times in which no step down may happen, as a consumer's local calendar says.

* The whole interval of the clock's uncertainty must be free, from its earliest to its latest true time (I16).
* A span that can not be read, or a zone this box does not know, protects always.

Source: prepayment.md 2.3, 3.5, 5.6; safety.md 5 and 6.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime, tzinfo

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.prepay.policy import Protected, Span
from gridtally_shared.prepay.zones import zone_of
from gridtally_shared.records import dataclass

MINUTES_PER_DAY = 1_440
MS_PER_MINUTE = 60_000
_SPAN = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$")


def spans_of(texts: tuple[str, ...]) -> tuple[Span, ...] | None:
    """'HH:MM-HH:MM' spans; None when one of them can not be read."""
    matches = [_SPAN.match(t.strip()) for t in texts]
    spans = tuple(Span(int(m[1]) * 60 + int(m[2]), int(m[3]) * 60 + int(m[4])) for m in matches if m)
    good = len(spans) == len(texts) and all(s.until <= MINUTES_PER_DAY and s.first != s.until for s in spans)
    return spans if good else None


@dataclass(frozen=True, slots=True)
class Calendar:
    """`protected` in a zone, with the holidays (proleptic ordinals) of the account's calendar."""

    protected: Protected
    zone: tzinfo | None
    holidays: frozenset[int] = frozenset()

    @property
    def readable(self) -> bool:
        return self.protected.readable and self.zone is not None

    @property
    def is_empty(self) -> bool:
        p = self.protected
        return not (p.daily or p.weekly or p.dates or p.yearly or p.window or (p.holidays and self.holidays))

    def reason(self, from_ms: int, to_ms: int) -> str:
        """Why some minute of the interval (both ends included) is protected; "" where none is."""
        if not self.readable:
            return "unreadable"
        if self.is_empty:
            return ""
        if to_ms - from_ms >= MS_PER_DAY:
            return "uncertain"
        minutes = (*range(from_ms, to_ms, MS_PER_MINUTE), to_ms)
        return next((why for at_ms in minutes if (why := self._why(at_ms))), "")

    def touches(self, from_ms: int, to_ms: int) -> bool:
        return bool(self.reason(from_ms, to_ms))

    def free_until_ms(self, from_ms: int, limit_ms: int) -> int:
        """The last moment up to `limit_ms` before which no protected minute begins."""
        if self.readable and self.is_empty:
            return limit_ms
        at_ms = from_ms
        while at_ms < limit_ms and not self.touches(at_ms, at_ms):
            at_ms = min(limit_ms, _next_minute(at_ms))
        return at_ms if at_ms >= limit_ms and not self.touches(at_ms, at_ms) else at_ms - 1

    def free_from_ms(self, from_ms: int, limit_ms: int) -> int | None:
        """When protection ends: the first free minute up to `limit_ms`, None where there is none."""
        at_ms = from_ms
        while at_ms <= limit_ms:
            if not self.touches(at_ms, at_ms):
                return at_ms
            at_ms = _next_minute(at_ms)
        return None

    def _why(self, at_ms: int) -> str:
        local = datetime.fromtimestamp(at_ms // 1000, self.zone)
        minute, day = local.hour * 60 + local.minute, local.date()
        p = self.protected
        rules = (
            ("hours", any(s.holds(minute) for s in p.daily)),
            ("weekday", any(day.weekday() in w.days and w.nth in (0, (day.day + 6) // 7) for w in p.weekly)),
            ("date", day.toordinal() in p.dates or year_place(day) in p.yearly),
            ("holiday", p.holidays and day.toordinal() in self.holidays),
            ("window", p.window is not None and not p.window.holds(minute)),
        )
        return next((why for why, holds in rules if holds), "")


def year_place(day: date) -> int:
    """Place in a year of 366 days, from 0, as documents count days of the year."""
    return day.replace(year=2024).toordinal() - date(2024, 1, 1).toordinal()


def in_season(place: int, first: int, until: int) -> bool:
    """Whether a day of the year lies between two others, both included, over the new year too."""
    return first <= place <= until if first <= until else place >= first or place <= until


def protected_hours(spans: tuple[str, ...], zone_name: str) -> Calendar:
    """The calendar of plain daily spans."""
    return Calendar(plain_hours(spans), zone_of(zone_name))


def plain_hours(spans: tuple[str, ...]) -> Protected:
    read = spans_of(spans)
    return replace(Protected(), daily=read or (), readable=read is not None)


def _next_minute(at_ms: int) -> int:
    return (at_ms // MS_PER_MINUTE + 1) * MS_PER_MINUTE
