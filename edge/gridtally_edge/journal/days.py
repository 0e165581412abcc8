"""What each local day used, by the intervals in readings.db: of one meter, the newest version of each interval."""

from __future__ import annotations

import sqlite3
from zoneinfo import ZoneInfo

from gridtally_shared.quantities import INTERVAL_IMPORT
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.usage_days import DAYS, DayTotal

_ROWS = """SELECT start_ms, period_s, value FROM interval WHERE meter_no = ? AND quantity = ? AND start_ms >= ? AND start_ms < ?
    ORDER BY start_ms, version"""


@dataclass(frozen=True, slots=True)
class Household:
    """Whose use is asked for: the meter, its local time, and since when the account is served by it. What somebody used before that is
    none of theirs."""

    meter_no: int
    zone: ZoneInfo
    since_ms: int

    def today(self, now_ms: int) -> int:
        return day_of(now_ms, self.zone)


def recent_days(db: sqlite3.Connection, of: Household, now_ms: int) -> tuple[DayTotal, ...]:
    """Today and the days before it of which a usual day is made, ascending; those without data are left out."""
    zone, from_ms = of.zone, max(of.since_ms, starts_at(of.today(now_ms) - DAYS, of.zone))
    rows = db.execute(_ROWS, (of.meter_no, INTERVAL_IMPORT.code, from_ms, now_ms)).fetchall()
    newest = {start_ms: (period_s, wh) for start_ms, period_s, wh in rows}
    by_day: dict[int, list[tuple[int, int]]] = {}
    for start_ms, interval in newest.items():
        by_day.setdefault(day_of(start_ms, zone), []).append(interval)
    return tuple(_total(day, intervals, zone) for day, intervals in sorted(by_day.items()))


def _total(day: int, intervals: list[tuple[int, int]], zone: ZoneInfo) -> DayTotal:
    length_ms = starts_at(day + 1, zone) - starts_at(day, zone)
    expected = length_ms // (min(period_s for period_s, _ in intervals) * 1_000)
    return DayTotal(day, sum(wh for _, wh in intervals), len(intervals), expected)
