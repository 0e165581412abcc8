"""Local days of a zone and their interval slots on the UTC grid.

* A day is named by its number: days since 1970-01-01 of the local date.
* A slot belongs to the day in which it starts. With 15 minutes a day has 96 slots, 92 and 100 at the changes of
  summer time (mdm.md B.2 row 7).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class DaySlots:
    """The slots of one local day: `n` of `period_s` seconds from `start_ms` on."""

    day: int
    start_ms: int
    period_s: int
    n: int

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.n * self.period_s * 1000


def zone_of(name: str) -> ZoneInfo:
    """Raises ConfigError for a zone that tzdata does not know."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError("zone", name, "write an IANA name such as Europe/Berlin or Asia/Kolkata") from None


def day_of(at_ms: int, zone: str) -> int:
    """Number of the local day that holds the instant."""
    return (datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone(zone_of(zone)).date() - EPOCH).days


def date_of(day: int) -> date:
    return EPOCH + timedelta(days=day)


@lru_cache(maxsize=4096)
def month_no(day: int) -> int:
    """Number of the month of a day: months since January 1970."""
    at = date_of(day)
    return 12 * (at.year - EPOCH.year) + at.month - 1


@lru_cache(maxsize=256)
def days_of_month(month: int) -> range:
    """Its days, by their numbers."""
    first, after = (date(EPOCH.year + number // 12, number % 12 + 1, 1) for number in (month, month + 1))
    return range((first - EPOCH).days, (after - EPOCH).days)


@lru_cache(maxsize=4096)
def midnight_ms(day: int, zone: str) -> int:
    """First instant of the local day."""
    local = date_of(day)
    start = datetime(local.year, local.month, local.day, tzinfo=zone_of(zone))
    return int(start.timestamp()) * 1000


@lru_cache(maxsize=4096)
def slots_of(day: int, zone: str, period_s: int) -> DaySlots:
    """The slots that start within the local day."""
    period_ms = period_s * 1000
    first = -(-midnight_ms(day, zone) // period_ms)
    after = -(-midnight_ms(day + 1, zone) // period_ms)
    return DaySlots(day, first * period_ms, period_s, after - first)


def utc_text(at_ms: int) -> str:
    """An instant as others read it, in the API and in webhooks: RFC 3339 in UTC, 2026-11-21T14:00:00Z, with milliseconds only where
    there are any."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{at_ms % 1000:03d}Z" if at_ms % 1000 else f"{moment}Z"
