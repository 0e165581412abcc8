"""Local times of files as instants, and back: the hour that comes twice, the one that never comes, the clock that never changes.

* A time with an offset is that instant. Without one the clock says what it means; the hour that comes twice is told apart by the order
  of the rows.
* A local time that no clock on the wall ever showed is refused: such a file is in standard time, or of another zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from gridtally_cloud.exchange.record import Clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_MS, LATEST_MS = -2_208_988_800_000, 4_102_444_800_000
"""1900 to 2100: what lies outside is no meter reading."""


def instant(text: str, clock: Clock, zone: ZoneInfo, before_ms: int | None = None, strict: bool = True) -> int:
    """Milliseconds UTC of a time as ISO 8601 writes it, or as 14 digits. `before_ms` is the time of the row before. Raises ValueError
    that says why not."""
    try:
        at = datetime.fromisoformat(f"{text[:8]}T{text[8:]}" if len(text) == 14 and text.isdigit() else text)
        return resolved(at, clock, zone, before_ms, strict)
    except OverflowError:
        raise ValueError("this lies outside 1900 to 2100") from None
    except ValueError as error:
        told = str(error) if str(error).startswith("this ") else ""
        raise ValueError(told or "this is not a time; write it such as 2026-11-01 00:15 or 2026-11-01T00:15+05:30") from None


def resolved(at: datetime, clock: Clock, zone: ZoneInfo, before_ms: int | None = None, strict: bool = True) -> int:
    """The same for a time that is read already."""
    if at.tzinfo is not None:
        return _inside(ms_of(at))
    if clock is Clock.UTC:
        return _inside(ms_of(at.replace(tzinfo=UTC)))
    if clock is Clock.STANDARD:
        return _inside(ms_of(standard(at, zone)))
    first_ms, again_ms = ms_of(at.replace(tzinfo=zone)), ms_of(at.replace(tzinfo=zone, fold=1))
    if strict and local(first_ms, zone).replace(tzinfo=None) != at:
        text = "clocks went forward over it; is the file in standard time (--clock standard), or of another zone?"
        raise ValueError(f"this time never came in {zone.key}: {text}")
    return _inside(again_ms if before_ms is not None and first_ms <= before_ms < again_ms else first_ms)


def standard(at: datetime, zone: ZoneInfo) -> datetime:
    """A clock that never changes to summer time."""
    return at.replace(tzinfo=UTC) - standard_offset(at, zone)


def standard_offset(at: datetime, zone: ZoneInfo) -> timedelta:
    """Offset of the zone's standard time in force."""
    there = at.replace(tzinfo=zone)
    return (there.utcoffset() or timedelta()) - (there.dst() or timedelta())


def local(at_ms: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)


def ms_of(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


def _inside(at_ms: int) -> int:
    if not EARLIEST_MS <= at_ms < LATEST_MS:
        raise ValueError("this lies outside 1900 to 2100")
    return at_ms
