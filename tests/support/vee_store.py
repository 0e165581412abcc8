"""A store with closed days of many meters that wait for VEE, and how long the run over them takes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sqlalchemy import Connection, insert, select

from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import midnight_ms
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
    def cpu_ms_a_day(self) -> float:
        return 1000 * self.cpu_s / self.days

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


def run_over_a_store(folder: Path, meters: int) -> StoreRun:
    street, now_ms = closed_street(folder, meters, random.Random(5), faulty=0.06)
    with street.db.write() as conn:
        for number in street.meters:
            add_quarters(conn, number)
    outcomes: list[Outcome] = []
    before = time.process_time()
    while found := run_pending(street.db, now_ms):
        outcomes += found
    cpu_s = time.process_time() - before
    with street.db.engine.connect() as conn:
        before = time.process_time()
        for outcome in outcomes[:ALONE]:
            run_day(conn, outcome.day, outcome.channel_no, now_ms)
        alone_s = (time.process_time() - before) / len(outcomes[:ALONE])
    street.db.close()
    clean_days = sum(not outcome.findings for outcome in outcomes)
    return StoreRun(meters, len(outcomes), clean_days, 96 * len(outcomes), cpu_s, alone_s)
