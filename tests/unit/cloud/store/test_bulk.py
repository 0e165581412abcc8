"""Closed days in bulk: the same rows as the way through the inbox interval by interval, and nothing held is touched."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from gridtally_cloud.integrations import webhooks
from gridtally_cloud.integrations.webhook_tables import webhook_notice
from gridtally_cloud.store.bulk import ClosedDays, held_days, write_first
from gridtally_cloud.store.close import GRACE_MS, close_day, close_days, close_together, take_days
from gridtally_cloud.store.days import DaySlots, day_of, slots_of
from gridtally_cloud.store.inbox import store_blocks, unpack
from gridtally_cloud.store.intervals import ChannelRef, inbox_size
from gridtally_cloud.store.tables import channel, interval_block, interval_inbox, usage_day
from gridtally_native import encode_block
from gridtally_shared.contract.messages import ChannelBlock
from gridtally_shared.quality import Quality
from support.cloud_store import Street, new_street
from support.vee_left import waiting_days

ZONE = "Europe/Berlin"
SPRING_MS = 1_774_656_000_000
"""2026-03-28: the day before the one of 23 hours."""
NOW_MS = SPRING_MS + 30 * 86_400_000
CHANNELS = {1: (ChannelRef(1, "Wh", ZONE), 900), 2: (ChannelRef(2, "mV", ZONE), 900), 3: (ChannelRef(3, "Wh", ZONE), 1800)}
FLAGS = (0, 0, 0, int(Quality.ESTIMATED), int(Quality.MISSING | Quality.COMM_ERROR), int(Quality.PARTIAL))
Name = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Column:
    """A day of a channel as it was measured."""

    ref: ChannelRef
    grid: DaySlots
    values: array[int]
    present: bytes
    quality: bytes

    @property
    def name(self) -> Name:
        return self.grid.day, self.ref.channel_no

    def part(self, first: int, last: int) -> ChannelBlock:
        quality = self.quality[2 * first : 2 * last]
        blob = encode_block(self.values[first:last], self.present[first:last])
        start_ms = self.grid.start_ms + first * self.grid.period_s * 1000
        return ChannelBlock(1, self.ref.channel_no, start_ms, self.grid.period_s, last - first, blob, quality)


def column(rng: random.Random, number: int, day: int) -> Column:
    ref, period_s = CHANNELS[number]
    grid = slots_of(day, ref.zone, period_s)
    holes = rng.choice((0.0, 0.0, 0.1, 0.9, 1.0))
    present = bytes(rng.random() >= holes for _ in range(grid.n))
    values = array("q", [rng.choice((0, rng.randrange(3000), -7, 2**40)) if there else 0 for there in present])
    flags = rng.choice(((0,), FLAGS))
    quality = b"".join(rng.choice(flags).to_bytes(2, "little") for _ in range(grid.n))
    return Column(ref, grid, values, present, quality)


def some_days(rng: random.Random) -> list[Column]:
    first = day_of(SPRING_MS, ZONE)
    days = [column(rng, number, first + n) for number in CHANNELS for n in range(3) if rng.random() < 0.8]
    rng.shuffle(days)
    return days


def together(days: Sequence[Column]) -> ClosedDays:
    values = array("q", [value for day in days for value in day.values])
    quality = [day.quality if any(day.quality) else b"" for day in days]
    return ClosedDays([day.ref for day in days], [day.grid for day in days], values, quality, b"".join(day.present for day in days))


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Street]]:
    made = [_street(tmp_path / name) for name in ("one by one", "from the inbox", "past the inbox")]
    yield made
    for street in made:
        street.db.close()


def _street(folder: Path) -> Street:
    folder.mkdir()
    street = new_street(folder, zone=ZONE)
    with street.db.write() as conn:
        for number, (ref, period_s) in CHANNELS.items():
            conn.execute(insert(channel).values(channel_no=number, usage_point_no=1, quantity=10 + number, direction="import",
                                                unit=ref.unit, exponent=0, period_s=period_s))  # fmt: skip
        webhooks.add(conn, "billing", "https://billing.example.org/in", (webhooks.Topic.USAGE_CLOSED.value,), 0, "test")
    return street


def put(street: Street, days: Sequence[Column], rng: random.Random) -> None:
    """Into the inbox, each day in some pieces in any order, a piece now and then twice."""
    pieces = []
    for day in days:
        cuts = sorted({0, day.grid.n, *rng.sample(range(day.grid.n), rng.randrange(3))})
        pieces += [(day.ref, day.part(a, b)) for a, b in pairwise(cuts)]
    pieces += rng.sample(pieces, len(pieces) // 3)
    rng.shuffle(pieces)
    with street.db.write() as conn:
        for ref, piece in pieces:
            store_blocks(conn, [unpack(ref, piece)], NOW_MS)


def one_by_one(street: Street, names: Sequence[Name]) -> None:
    with street.db.write() as conn:
        for day, number in names:
            assert close_day(conn, day, number, NOW_MS)


def rows_of(street: Street) -> dict[str, list[Any]]:
    n = webhook_notice.c
    with street.db.read() as conn:
        assert inbox_size(conn) == 0
        held: dict[str, list[Any]] = {t.name: sorted(conn.execute(select(t)), key=tuple) for t in (interval_block, usage_day)}
        return held | {"waits": waiting_days(conn), "notices": sorted(map(tuple, conn.execute(select(n.topic, n.ref, n.body))))}


@pytest.mark.parametrize("seed", range(6))
def test_three_ways_give_the_same_rows(stores: list[Street], seed: int) -> None:
    rng = random.Random(seed)
    days = some_days(rng)
    names = [day.name for day in days]
    for street in stores[:2]:
        put(street, days, random.Random(seed))
    one_by_one(stores[0], names)
    with stores[1].db.write() as conn:
        assert close_together(conn, names, NOW_MS) == len(names)
    with stores[2].db.write() as conn:
        assert take_days(conn, together(days), NOW_MS) == []
    expected = rows_of(stores[0])
    assert len(expected["interval_block"]) == len(days) == len(expected["waits"]) == len(expected["notices"])
    assert rows_of(stores[1]) == expected
    assert rows_of(stores[2]) == expected


@pytest.mark.parametrize("seed", range(3))
def test_what_comes_later_gives_the_same_versions(stores: list[Street], seed: int) -> None:
    rng = random.Random(100 + seed)
    days = some_days(rng)
    later = [column(rng, day.ref.channel_no, day.grid.day) for day in days]
    put(stores[0], days, random.Random(seed))
    put(stores[1], days, random.Random(seed))
    one_by_one(stores[0], [day.name for day in days])
    close_days(stores[1].db, NOW_MS)
    with stores[2].db.write() as conn:
        take_days(conn, together(days), NOW_MS)
        raw = conn.execute(select(interval_block.c.blob).order_by(interval_block.c.day, interval_block.c.channel_no)).scalars().all()
    for street in stores:
        put(street, later, random.Random(seed))
        with street.db.write() as conn:
            close_together(conn, [day.name for day in days], NOW_MS)
    expected = rows_of(stores[0])
    assert {row.source for row in expected["interval_block"]} == {"raw", "late", "conflict"}
    assert rows_of(stores[1]) == rows_of(stores[2]) == expected
    with stores[2].db.read() as conn:
        b = interval_block.c
        assert conn.execute(select(b.blob).where(b.version == 0).order_by(b.day, b.channel_no)).scalars().all() == raw


def test_days_of_which_anything_is_held_are_left_alone(stores: list[Street]) -> None:
    rng, street = random.Random(7), stores[0]
    first = day_of(SPRING_MS, ZONE)
    days = [column(rng, 1, first + n) for n in range(4)]
    with street.db.write() as conn:
        take_days(conn, together(days[1:2]), NOW_MS)
        store_blocks(conn, [unpack(days[2].ref, days[2].part(5, 6))], NOW_MS)
        before = [tuple(row) for row in conn.execute(select(interval_block))]
        assert take_days(conn, together(days), NOW_MS + GRACE_MS) == [1, 2]
        assert held_days(conn, [day.name for day in days]) == {days[0].name, days[1].name, days[2].name, days[3].name}
        b = interval_block.c
        assert [tuple(row) for row in conn.execute(select(interval_block).where(b.day == first + 1))] == before
        assert conn.execute(select(b.day).order_by(b.day)).scalars().all() == [first, first + 1, first + 3]


def test_a_first_version_is_never_replaced(stores: list[Street]) -> None:
    days = [column(random.Random(3), 1, day_of(SPRING_MS, ZONE) + n) for n in range(2)]
    with stores[0].db.write() as conn:
        write_first(conn, together(days[:1]), NOW_MS)
    with pytest.raises(IntegrityError), stores[0].db.write() as conn:
        write_first(conn, together(days[1:] + days[:1]), NOW_MS)
    with stores[0].db.read() as conn:
        assert len(conn.execute(select(interval_block)).all()) == len(conn.execute(select(usage_day)).all()) == 1


def test_channels_far_apart_are_looked_up_one_by_one(stores: list[Street]) -> None:
    day = slots_of(20_000, "UTC", 900)
    far = [ChannelRef(number, "Wh", "UTC") for number in (1, 5_000, 900_000)]
    with stores[0].db.write() as conn:
        write_first(conn, ClosedDays(far, [day] * 3, array("q", range(288)), [b""] * 3), NOW_MS)
        held = held_days(conn, [(20_000, 5_000), (20_000, 5_001), (20_001, 5_000), (20_000, 900_000)])
        assert held == {(20_000, 5_000), (20_000, 900_000)}
        assert held_days(conn, []) == set()


def test_more_rows_than_a_statement_takes_are_closed_together(stores: list[Street]) -> None:
    """A year in which each interval came by itself."""
    street, first, blob = stores[0], day_of(SPRING_MS, ZONE) - 400, encode_block(array("q", [7]))
    grids = [slots_of(first + n, ZONE, 900) for n in range(360)]
    rows = [{"day": grid.day, "channel_no": 1, "meter_no": 1, "start_ms": grid.start_ms + n * 900_000, "period_s": 900, "n": 1,
             "blob": blob, "received_ms": NOW_MS} for grid in grids for n in range(grid.n)]  # fmt: skip
    assert len(rows) > 32_766
    with street.db.write() as conn:
        conn.execute(insert(interval_inbox), rows)
        assert close_together(conn, [(grid.day, 1) for grid in grids], NOW_MS) == len(grids)
    assert len(rows_of(street)["interval_block"]) == len(grids)
