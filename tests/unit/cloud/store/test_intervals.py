"""Interval store: inbox, closed days and what is read of both; duplicates, conflicts, late data, days of 92 and 100 slots."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from gridtally_cloud.store.blocks import blocks
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import day_of, midnight_ms, slots_of
from gridtally_cloud.store.inbox import Stored, check_block, store_block
from gridtally_cloud.store.intervals import ChannelRef, inbox_size, read_intervals
from gridtally_cloud.store.report import interval_counts
from gridtally_cloud.store.tables import channel, interval_block, usage_day
from gridtally_shared.contract.messages import ChannelBlock
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

QUARTER_MS = 900_000
DAY_MS = 86_400_000
REF = ChannelRef(1, "Wh", "UTC")


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    _add_channel(street)
    yield street
    street.db.close()


def _add_channel(street: Street) -> None:
    with street.db.write() as conn:
        conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=11, direction="import", unit="Wh",
                                            exponent=0, period_s=900))  # fmt: skip


def _store(street: Street, part: ChannelBlock, ref: ChannelRef = REF, now_ms: int = START_MS) -> Stored:
    with street.db.write() as conn:
        return store_block(conn, ref, part, now_ms)


def _values(street: Street, from_ms: int, to_ms: int) -> list[int | None]:
    with street.db.read() as conn:
        series = read_intervals(conn, 1, from_ms, to_ms)
    return [v if p else None for v, p in zip(series.values, series.present, strict=True)]


def _flags(*quality: int) -> bytes:
    return b"".join(int(q).to_bytes(2, "little") for q in quality)


def test_today_is_served_from_the_inbox(street: Street) -> None:
    _store(street, block(1, START_MS + 2 * QUARTER_MS, [7, 8]))
    assert _values(street, START_MS, START_MS + 5 * QUARTER_MS) == [None, None, 7, 8, None]


def test_a_complete_day_becomes_one_block_and_reads_the_same(street: Street) -> None:
    values = [random.Random(n).randrange(500) for n in range(96)]
    for n in random.Random(1).sample(range(96), 96):
        _store(street, block(1, START_MS + n * QUARTER_MS, [values[n]]))
    assert close_days(street.db, START_MS + DAY_MS - 1) == 0
    assert close_days(street.db, START_MS + DAY_MS) == 1
    assert _values(street, START_MS, START_MS + DAY_MS) == values
    with street.db.read() as conn:
        assert inbox_size(conn) == 0
        day = START_MS // DAY_MS
        assert [(row.version, row.n, row.source, row.start_ms) for row in blocks(conn, [1], [day])] == [(0, 96, "raw", START_MS)]
        total = conn.execute(select(usage_day)).one()
    assert (total.total, total.present, total.expected) == (sum(values), 96, 96)


def test_an_incomplete_day_closes_after_its_grace(street: Street) -> None:
    _store(street, block(1, START_MS, [1] * 95))
    assert close_days(street.db, START_MS + DAY_MS + GRACE_MS - 1) == 0
    assert close_days(street.db, START_MS + DAY_MS + GRACE_MS) == 1
    assert _values(street, START_MS, START_MS + DAY_MS) == [1] * 95 + [None]


@pytest.mark.covers_part("BYPL-6.3")
def test_late_data_fill_the_hole_as_a_new_version_and_raw_stays(street: Street) -> None:
    _store(street, block(1, START_MS, [1] * 95))
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    with street.db.read() as conn:
        raw = conn.execute(select(interval_block.c.blob)).scalar_one()
    assert _store(street, block(1, START_MS + 95 * QUARTER_MS, [9])) == Stored(new=1)
    assert _values(street, START_MS, START_MS + DAY_MS) == [1] * 95 + [9]
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    assert _values(street, START_MS, START_MS + DAY_MS) == [1] * 95 + [9]
    with street.db.read() as conn:
        rows = conn.execute(select(interval_block).order_by(interval_block.c.version)).all()
    assert [(r.version, r.source) for r in rows] == [(0, "raw"), (1, "late")]
    assert rows[0].blob == raw


def test_the_same_value_again_is_dropped_before_and_after_the_close(street: Street) -> None:
    part = block(1, START_MS, list(range(96)))
    assert _store(street, part) == Stored(new=96)
    assert _store(street, part) == Stored(duplicates=96)
    close_days(street.db, START_MS + DAY_MS)
    assert _store(street, part) == Stored(duplicates=96)
    with street.db.read() as conn:
        count = interval_counts(conn, START_MS, START_MS + DAY_MS)[0]
        assert inbox_size(conn) == 0
    assert (count.stored, count.expected, count.duplicates, count.missing) == (96, 96, 0, 0)


@pytest.mark.parametrize("closed", [False, True])
def test_another_value_is_kept_beside_the_first_and_not_read(street: Street, closed: bool) -> None:
    _store(street, block(1, START_MS, [5] * 96))
    if closed:
        close_days(street.db, START_MS + DAY_MS)
    assert _store(street, block(1, START_MS, [5, 6])) == Stored(duplicates=1, conflicts=1)
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    assert _values(street, START_MS, START_MS + DAY_MS) == [5] * 96
    with street.db.read() as conn:
        rows = blocks(conn, [1], [START_MS // DAY_MS])
        assert interval_counts(conn, START_MS, START_MS + DAY_MS)[0].conflicts == 1
    assert [(r.source, r.approved) for r in rows] == [("raw", True), ("conflict", False)]


def test_a_real_value_replaces_an_estimated_one_and_raw_keeps_it(street: Street) -> None:
    _store(street, block(1, START_MS, [5, 5], quality=_flags(Quality.ESTIMATED, Quality.OK)))
    assert _store(street, block(1, START_MS, [7])) == Stored(replaced=1)
    assert _values(street, START_MS, START_MS + 2 * QUARTER_MS) == [7, 5]
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    assert _values(street, START_MS, START_MS + 2 * QUARTER_MS) == [7, 5]
    with street.db.read() as conn:
        assert conn.execute(select(interval_block.c.source).order_by(interval_block.c.version)).scalars().all() == ["raw", "late"]


def test_a_missing_interval_keeps_its_reason_and_is_filled_later(street: Street) -> None:
    from array import array

    from gridtally_native import encode_block

    blob = encode_block(array("q", [4, 0]), b"\x01\x00")
    part = ChannelBlock(1, 11, START_MS, 900, 2, blob, _flags(0, Quality.MISSING | Quality.COMM_ERROR))
    _store(street, part)
    with street.db.read() as conn:
        series = read_intervals(conn, 1, START_MS, START_MS + 2 * QUARTER_MS)
    assert (series.present, series.quality[1]) == (b"\x01\x00", Quality.MISSING | Quality.COMM_ERROR)
    assert _store(street, block(1, START_MS + QUARTER_MS, [3])) == Stored(new=1)
    assert _values(street, START_MS, START_MS + 2 * QUARTER_MS) == [4, 3]


@pytest.mark.parametrize(("date_ms", "slots"), [(1_774_738_800_000, 92), (1_792_879_200_000, 100), (1_780_000_000_000, 96)])
def test_days_of_the_change_of_summer_time_have_92_and_100_slots(street: Street, date_ms: int, slots: int) -> None:
    zone = "Europe/Berlin"
    day = day_of(date_ms, zone)
    grid = slots_of(day, zone, 900)
    assert grid.n == slots
    assert midnight_ms(day + 1, zone) == grid.end_ms
    ref = ChannelRef(1, "Wh", zone)
    with street.db.write() as conn:
        conn.exec_driver_sql("UPDATE usage_point SET zone = 'Europe/Berlin'")
    assert _store(street, block(1, grid.start_ms, list(range(slots))), ref).new == slots
    assert close_days(street.db, grid.end_ms) == 1
    assert _values(street, grid.start_ms, grid.end_ms) == list(range(slots))


def test_a_block_over_midnight_lands_in_two_days(street: Street) -> None:
    start = START_MS + DAY_MS - 4 * QUARTER_MS
    _store(street, block(1, start, list(range(8))))
    assert _values(street, start, start + 8 * QUARTER_MS) == list(range(8))
    with street.db.read() as conn:
        totals = conn.execute(select(usage_day.c.total).order_by(usage_day.c.day)).scalars().all()
    assert totals == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (block(1, START_MS, [1], period_s=700), "700 s"),
        (block(1, START_MS + 1, [1]), "grid"),
        (block(1, START_MS + 2 * DAY_MS, [1]), "future"),
        (block(1, START_MS - 3 * DAY_MS, [1]), "before the installation"),
        (ChannelBlock(1, 11, START_MS, 900, 0, b""), "0 intervals"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_with_the_reason(part: ChannelBlock, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        check_block(part, START_MS + DAY_MS, START_MS - DAY_MS)


def test_bytes_that_are_no_block_are_refused(street: Street) -> None:
    for part in (ChannelBlock(1, 11, START_MS, 900, 1, b"\x00"), ChannelBlock(1, 11, START_MS, 900, 3, block(1, 0, [1]).values)):
        with street.db.write() as conn, pytest.raises(ContractError):
            store_block(conn, REF, part, START_MS)
