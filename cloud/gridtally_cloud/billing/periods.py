"""Days and months of an account's zone, as UTC milliseconds and as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from gridtally_cloud.store.days import EPOCH, day_of, midnight_ms, zone_of


def local(at_ms: int, zone: str) -> datetime:
    """The wall-clock time of an instant."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone_of(zone))


def month(text: str, zone: str) -> tuple[int, int]:
    """Start and end of a month written as '2026-11'. Raises ValueError."""
    return _month_of(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date(), zone)


def last_month(at_ms: int, zone: str) -> tuple[int, int]:
    """Start and end of the last month that is over."""
    return _month_of(local(at_ms, zone).date().replace(day=1) - timedelta(days=1), zone)


def day_start(text: str, zone: str) -> int:
    """The instant a local day written as '2026-11-21' begins. Raises ValueError."""
    return _start_ms(date.fromisoformat(text), zone)


def late_from_ms(due_ms: int, zone: str) -> int:
    """When what is due at an instant is late: the whole local day of it is time to pay."""
    return midnight_ms(day_of(due_ms, zone) + 1, zone)


def _month_of(day: date, zone: str) -> tuple[int, int]:
    following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return _start_ms(day.replace(day=1), zone), _start_ms(following, zone)


def _start_ms(day: date, zone: str) -> int:
    return midnight_ms((day - EPOCH).days, zone)
