"""Series of a usage point as they stand (with the estimates of VEE, marked), for writing in any format."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gridtally_cloud.exchange.importing import Progress
from gridtally_cloud.exchange.points import Point, PointChannel, channels_of
from gridtally_cloud.exchange.record import Clock, Row, Series
from gridtally_cloud.exchange.times import instant
from gridtally_cloud.store.days import EPOCH, midnight_ms, zone_of
from gridtally_cloud.store.intervals import IntervalSeries, read_intervals
from gridtally_shared.errors import ConfigError

PART_MS = 31 * 86_400_000
MOST_ROWS = 5_000_000


def span(from_text: str, to_text: str, zone: str) -> tuple[int, int]:
    """Instants of --from and --to: a day counts whole, so --to is the last day; a time is the end itself. Raises ConfigError."""
    from_ms = _bound("--from", from_text, zone, 0)
    to_ms = _bound("--to", to_text, zone, 1)
    if to_ms <= from_ms:
        raise ConfigError("--to", to_text, "this is not after --from")
    return from_ms, to_ms


def _bound(name: str, text: str, zone: str, days: int) -> int:
    place: ZoneInfo = zone_of(zone)
    try:
        if len(text) == 10:
            day = date.fromisoformat(text) + timedelta(days=days)
            return midnight_ms((day - EPOCH).days, zone)
        return instant(text, Clock.LOCAL, place)
    except (ValueError, OverflowError):
        raise ConfigError(name, text, "write a local day such as 2026-11-01, or a time such as 2026-11-01T06:00") from None


def series_of(conn: Connection, point: Point, name: str, from_ms: int, to_ms: int, quantities: tuple[str, ...],
              progress: Progress) -> tuple[Series, ...]:  # fmt: skip
    """Raises ConfigError where there is nothing of that kind, or too much."""
    channels = [c for c in channels_of(conn, point) if not quantities or c.quantity.name in quantities]
    if not channels:
        have = ", ".join(c.quantity.name for c in channels_of(conn, point)) or "none"
        raise ConfigError("--usage-point", point.number, f"no such intervals are held there; channels: {have}")
    total = sum((to_ms - from_ms) // (c.period_s * 1000) for c in channels)
    if total > MOST_ROWS:
        raise ConfigError("--to", "", f"{total} intervals are too many for one file: choose a shorter span")
    done, made = 0, []
    for each in channels:
        rows: list[Row] = []
        for part in _parts(conn, each, from_ms, to_ms):
            rows += part
            done += len(part)
            progress(done, total)
        made.append(Series(name, each.quantity.name, each.period_s, _trimmed(rows)))
    return tuple(each for each in made if each.rows)


def _parts(conn: Connection, known: PointChannel, from_ms: int, to_ms: int) -> Iterator[list[Row]]:
    while from_ms < to_ms:
        until_ms = min(to_ms, from_ms + PART_MS)
        yield list(_rows(read_intervals(conn, known.ref.channel_no, from_ms, until_ms)))
        from_ms = until_ms


def _rows(held: IntervalSeries) -> Iterator[Row]:
    for i in range(len(held)):
        value = held.values[i] if held.present[i] else None
        yield Row(held.start_ms + i * held.period_s * 1000, value, held.quality[i])


def _trimmed(rows: list[Row]) -> tuple[Row, ...]:
    """Missing intervals before the first value and after the last are not written."""
    there = [n for n, row in enumerate(rows) if row.value is not None]
    return tuple(rows[there[0] : there[-1] + 1]) if there else ()
