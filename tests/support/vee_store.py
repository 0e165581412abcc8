"""A store with closed days of many meters that wait for VEE, and how long the run over them takes."""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

from sqlalchemy import Connection, insert, select

from gridtally_cloud.store.bulk import ClosedDays
from gridtally_cloud.store.close import GRACE_MS, close_days, take_days
from gridtally_cloud.store.days import midnight_ms, slots_of
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import channel, reading
from gridtally_cloud.vee.model import RegisterSample
from gridtally_cloud.vee.run import Outcome, run_day, run_pending
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block
from support.vee_days import Columns, clean, damaged, midnights

ZONE = "Asia/Kolkata"
FIRST_DAY = START_MS // 86_400_000 + 1
DAYS = 3
ALONE = 30


@dataclass(frozen=True, slots=True)
class StoreRun:
    """`alone_s` is what a clean day takes that is judged by itself."""

    meters: int
    days: int
    clean_days: int
    intervals: int
    cpu_s: float
    alone_s: float

    @property
    def cpu_us_a_day(self) -> float:
        return 1_000_000 * self.cpu_s / self.days

    @property
    def intervals_per_cpu_s(self) -> float:
        return self.intervals / self.cpu_s


def add_channel(conn: Connection, number: int, unit: str = "Wh", quantity: int = 11, point: int | None = None) -> None:
    conn.execute(insert(channel).values(channel_no=number, usage_point_no=point or number, quantity=quantity, direction="import",
                                        unit=unit, exponent=0, period_s=900))  # fmt: skip


def add_days(
    conn: Connection, number: int, rng: random.Random, faults: int = 0, first_day: int = FIRST_DAY, days: int = DAYS
) -> None:
    """Days of a meter and the reads of its register at their midnights."""
    columns = clean(rng, ZONE, first_day, days)
    add_reads(conn, number, midnights(columns).samples)
    add_blocks(conn, number, damaged(columns, rng, faults))


def add_blocks(conn: Connection, number: int, columns: Columns, unit: str = "Wh") -> None:
    for first, after in zip((0, *columns.ends), columns.ends, strict=False):
        if not any(columns.present[first:after]):
            continue
        quality = b"".join(flags.to_bytes(2, "little") for flags in columns.quality[first:after])
        message = block(number, columns.at(first), columns.values[first:after], 900, quality, bytes(columns.present[first:after]))
        store_block(conn, ChannelRef(number, unit, ZONE), message, columns.at(first))


def add_reads(conn: Connection, number: int, samples: Iterable[RegisterSample]) -> None:
    conn.execute(insert(reading), [{"shard": 0, "meter_no": number, "quantity": 1, "at_ms": s.at_ms, "value": s.value} for s in samples])


def add_quarters(conn: Connection, number: int) -> None:
    """The register was read every quarter between its midnights too, as concentrators do; it counted evenly."""
    of_meter = (reading.c.meter_no == number, reading.c.quantity == 1)
    known = conn.execute(select(reading.c.at_ms, reading.c.value).where(*of_meter).order_by(reading.c.at_ms)).all()
    for before, now in pairwise(known):
        steps = (now.at_ms - before.at_ms) // 900_000
        add_reads(conn, number, (
            RegisterSample(before.at_ms + i * 900_000, before.value + (now.value - before.value) * i // steps) for i in range(1, steps)
        ))  # fmt: skip


def closed_street(folder: Path, meters: int, rng: random.Random, faulty: float = 0, first_day: int = FIRST_DAY) -> tuple[Street, int]:
    """(a street whose days are closed and not judged, the time of it)"""
    street = new_street(folder, meters, ZONE)
    with street.db.write() as conn:
        for number in street.meters:
            add_channel(conn, number)
            add_days(conn, number, rng, int(rng.random() < faulty), first_day)
    now_ms = midnight_ms(first_day + DAYS, ZONE) + GRACE_MS
    while close_days(street.db, now_ms):
        pass
    return street, now_ms


@dataclass(frozen=True, slots=True)
class Habit:
    """How a street is read, and how much of it is wrong: `faulty` is the share of days with a fault."""

    name: str
    every_quarter: bool
    faulty: float


def run_over_a_store(folder: Path, meters: int, nights: int, habit: Habit, seed: int = 5) -> StoreRun:
    """Night after night the day of all meters is closed, past the inbox, and judged; the judging is timed."""
    street, rng = new_street(folder, meters, ZONE), random.Random(seed)
    with street.db.write() as conn:
        use = {number: _use(conn, number, rng, nights, habit) for number in street.meters}
    outcomes: list[Outcome] = []
    cpu_s = 0.0
    for night in range(nights):
        now_ms = midnight_ms(FIRST_DAY + night + 1, ZONE) + GRACE_MS
        with street.db.write() as conn:
            take_days(conn, _day(use, night), now_ms)
        before = time.process_time()
        while found := run_pending(street.db, now_ms):
            outcomes += found
        cpu_s += time.process_time() - before
    alone_s = _alone(street, [o for o in outcomes if not o.findings][-ALONE:], now_ms)
    street.db.close()
    return StoreRun(meters, len(outcomes), sum(not outcome.findings for outcome in outcomes), 96 * len(outcomes), cpu_s, alone_s)


def _use(conn: Connection, number: int, rng: random.Random, nights: int, habit: Habit) -> Columns:
    add_channel(conn, number)
    columns = clean(rng, ZONE, FIRST_DAY, nights)
    add_reads(conn, number, midnights(columns).samples)
    if habit.every_quarter:
        add_quarters(conn, number)
    return damaged(columns, rng, sum(rng.random() < habit.faulty for _ in range(nights)))


def _day(use: dict[int, Columns], night: int) -> ClosedDays:
    grid, span = slots_of(FIRST_DAY + night, ZONE, 900), slice(96 * night, 96 * (night + 1))
    values = array("q", chain.from_iterable(columns.values[span] for columns in use.values()))
    quality = [array("H", columns.quality[span]).tobytes() if any(columns.quality[span]) else b"" for columns in use.values()]
    present = b"".join(bytes(columns.present[span]) for columns in use.values())
    return ClosedDays([ChannelRef(number, "Wh", ZONE) for number in use], [grid] * len(use), values, quality, present)


def _alone(street: Street, outcomes: list[Outcome], now_ms: int) -> float:
    """What clean days take that are judged by themselves."""
    with street.db.engine.connect() as conn:
        before = time.process_time()
        for outcome in outcomes:
            run_day(conn, outcome.day, outcome.channel_no, now_ms)
        return (time.process_time() - before) / len(outcomes)
