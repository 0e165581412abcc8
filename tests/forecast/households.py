"""The households of the test data as whole hours of Wh. An hour with a missing reading is not known.

The Australian files are stamped with a local clock that has 48 half-hours on each day, so their zone here is one that never changes.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_HOUR

STANDARD_TIME = ZoneInfo("Etc/GMT-10")
LONDON = ZoneInfo("Europe/London")


@dataclass(frozen=True, slots=True)
class Household:
    name: str
    zone: ZoneInfo
    start_ms: int
    hours_wh: tuple[int | None, ...]

    def at_ms(self, index: int) -> int:
        return self.start_ms + index * MS_PER_HOUR


def households(folder: Path) -> tuple[Household, ...]:
    """The half-hourly Australian ones, then the hourly British one."""
    found = [_read(path, 2, STANDARD_TIME, path.name[5:13]) for path in sorted(folder.glob("sgsc_*_30min.csv.gz"))]
    found += [_read(path, 1, LONDON, "uk-hourly") for path in sorted(folder.glob("uk-electricity-*hourly*.csv.gz"))]
    return tuple(found)


def _read(path: Path, parts: int, zone: ZoneInfo, name: str) -> Household:
    sums: dict[int, list[int]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        for stamp, value in rows:
            at = datetime.fromisoformat(stamp)
            at = at if at.tzinfo else at.replace(tzinfo=zone)
            if value:
                sums.setdefault(int(at.timestamp()) // 3600, []).append(round(float(value) * 1000))
    hours = range(min(sums), max(sums) + 1)
    values = tuple(sum(sums[h]) if len(sums.get(h, ())) == parts else None for h in hours)
    return Household(name, zone, hours[0] * MS_PER_HOUR, values)
