"""When files go out: schedules, the days they are due on, and which of those were not sent yet.

* A run belongs to the local day it is due on. `day`: every day, with the data of the day `ago` days before. `month`: on the `ago`-th day
  of every month, with the data of the month before.
* A run that was missed is made good once, however long the MDM was away, up to `CATCH_UP` runs back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, select

from gridtally_cloud.exchange.given import Kind, taker
from gridtally_cloud.exchange.record import Clock
from gridtally_cloud.exchange.tables import exchange_run, exchange_schedule
from gridtally_cloud.exchange.times import resolved
from gridtally_cloud.exchange.wanted import PROFILE, Wanted
from gridtally_cloud.store.days import EPOCH, date_of, day_of, zone_of
from gridtally_shared.records import dataclass

EVERY = ("day", "month")
CATCH_UP = 31
MOST_AGO = 28
DONE = "done"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What, when and where to: a recipient, or a folder where `recipient` is empty. `points` and `quantities` empty: all."""

    name: str
    format: str
    points: tuple[int, ...]
    quantities: tuple[str, ...]
    every: str
    minute: int
    zone: str
    ago: int
    folder: str
    by_label: bool
    made_ms: int
    made_by: str
    recipient: str = ""
    kind: str = PROFILE
    sender: str = ""
    validated: bool = False

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.kind, self.format, self.quantities, self.by_label)

    @property
    def place(self) -> str:
        """Where it goes, for people."""
        return f"to {self.recipient}" if self.recipient else f"into {self.folder}"

    @property
    def taker(self) -> str:
        """Who has what it sends (given.py)."""
        return taker(Kind.RECIPIENT, self.recipient) if self.recipient else taker(Kind.FOLDER, self.name)

    def at_ms(self, day: int) -> int:
        """When the run of that local day is due; an hour that never comes moves with the clock."""
        wall = datetime.combine(date_of(day), datetime.min.time()) + timedelta(minutes=self.minute)
        return resolved(wall, Clock.LOCAL, zone_of(self.zone), strict=False)

    def is_run_day(self, day: int) -> bool:
        return self.every == "day" or date_of(day).day == self.ago

    def data_days(self, day: int) -> tuple[int, int]:
        """First and last local day of the data of a run."""
        if self.every == "day":
            return day - self.ago, day - self.ago
        last = date_of(day).replace(day=1) - timedelta(days=1)
        return (last.replace(day=1) - EPOCH).days, (last - EPOCH).days

    def title(self, day: int) -> str:
        """The data's day or month, as it stands in file names."""
        first = date_of(self.data_days(day)[0]).isoformat()
        return first if self.every == "day" else first[:7]

    def run_days(self, now_ms: int) -> Iterator[int]:
        """Days whose run has come due since the schedule was made, the latest first."""
        day = day_of(now_ms, self.zone)
        while (at_ms := self.at_ms(day)) >= self.made_ms:
            if self.is_run_day(day) and at_ms <= now_ms:
                yield day
            day -= 1

    def next_ms(self, now_ms: int) -> int:
        """When it is due next."""
        day = day_of(now_ms, self.zone)
        while not self.is_run_day(day) or self.at_ms(day) <= now_ms:
            day += 1
        return self.at_ms(day)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a schedule, as far as it came."""

    name: str
    day: int
    state: str
    until_ms: int
    part: int
    files: int
    after: tuple[str, int]
    intervals: int
    reason: str
    at_ms: int


def due(conn: Connection, now_ms: int) -> tuple[tuple[Schedule, int], ...]:
    """(schedule, day) of every run that is to be done or carried on now, the oldest first."""
    found = []
    for schedule in all_schedules(conn):
        days = [day for _, day in zip(range(CATCH_UP), schedule.run_days(now_ms), strict=False)]
        known = {run.day: run for run in runs_of(conn, schedule.name, days)}
        found += [(schedule, day) for day in days if _is_open(known.get(day), now_ms)]
    return tuple(sorted(found, key=lambda pair: (pair[0].at_ms(pair[1]), pair[0].name)))


def _is_open(run: Run | None, now_ms: int) -> bool:
    return run is None or (run.state != DONE and run.until_ms <= now_ms)


def all_schedules(conn: Connection) -> tuple[Schedule, ...]:
    return tuple(_schedule(row) for row in conn.execute(select(exchange_schedule).order_by(exchange_schedule.c.name)))


def runs_of(conn: Connection, name: str, days: list[int]) -> tuple[Run, ...]:
    r = exchange_run.c
    rows = conn.execute(select(exchange_run).where(and_(r.name == name, r.day.in_(days))).order_by(r.day))
    return tuple(run_from(row) for row in rows)


def latest_runs(conn: Connection, name: str, limit: int) -> tuple[Run, ...]:
    """Newest first."""
    r = exchange_run.c
    return tuple(run_from(row) for row in conn.execute(select(exchange_run).where(r.name == name).order_by(r.day.desc()).limit(limit)))


def run_from(row: Any) -> Run:
    after = (row.after_zone, row.after_point)
    return Run(row.name, row.day, row.state, row.until_ms, row.part, row.files, after, row.intervals, row.reason, row.at_ms)


def _schedule(row: Any) -> Schedule:
    return Schedule(row.name, row.format, tuple(int(n) for n in row.points.split()), tuple(row.quantities.split()), row.every, row.minute,
                    row.zone, row.ago, row.folder, row.by_label, row.made_ms, row.made_by, row.recipient,
                    row.kind, row.sender, row.validated)  # fmt: skip
