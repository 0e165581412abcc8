"""Days of which nothing came are closed, judged and estimated; what comes later wins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.inquiry.received import report
from gridtally_cloud.inquiry.silent import HEARD_DAYS, close_silent
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import day_of
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef, read_intervals
from gridtally_cloud.store.tables import channel, interval_block, meter, usage_day
from gridtally_cloud.store.totals import COMPLETE
from gridtally_cloud.vee import run as vee
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import INTERVAL_IMPORT
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

REF = ChannelRef(1, "Wh", "UTC")
FIRST = day_of(START_MS, "UTC")
DAYS, SILENT = 16, (9, 10)
NOW_MS = START_MS + DAYS * MS_PER_DAY + GRACE_MS + MS_PER_DAY // 2
VALUES = [100 + n for n in range(96)]


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """One meter; nothing came of two of its days."""
    street = new_street(tmp_path, meters=1, installed_ms=START_MS)
    with street.db.write() as conn:
        conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=INTERVAL_IMPORT.code, direction="import", unit="Wh",
                                            exponent=0, period_s=900))  # fmt: skip
        for number in range(DAYS):
            if number not in SILENT:
                store_block(conn, REF, block(1, START_MS + number * MS_PER_DAY, VALUES), NOW_MS)
    close_days(street.db, NOW_MS)
    vee.run_pending(street.db, NOW_MS)
    yield street
    street.db.close()


def counted(street: Street) -> list[tuple[int, int, int]]:
    """(received, estimated, missing) of the silent days."""
    with street.db.read() as conn:
        lines = report(conn, FIRST + SILENT[0], FIRST + SILENT[-1], NOW_MS, 1)
    return [(line.counted.received, line.counted.estimated, line.counted.missing) for line in lines]


def test_a_day_of_which_nothing_came_is_estimated_and_what_comes_later_wins(street: Street) -> None:
    assert counted(street) == [(0, 0, 96)] * 2
    assert (close_silent(street.db, NOW_MS), close_silent(street.db, NOW_MS)) == (2, 0)
    outcomes = vee.run_pending(street.db, NOW_MS)
    assert {(o.status, o.estimates) for o in outcomes if o.day in (FIRST + n for n in SILENT)} == {("estimated", 96)}
    assert counted(street) == [(0, 96, 0)] * 2
    with street.db.read() as conn:
        stands = read_intervals(conn, 1, START_MS + SILENT[0] * MS_PER_DAY, START_MS + (SILENT[0] + 1) * MS_PER_DAY)
        u = usage_day.c
        total, present, complete = conn.execute(select(u.total, u.present, COMPLETE).where(u.day == FIRST + SILENT[0])).one()
    assert list(stands.values) == VALUES, "like days"
    assert set(stands.quality) == {Quality.ESTIMATED}
    assert (total, present, complete) == (sum(VALUES), 0, False)

    with street.db.write() as conn:
        store_block(conn, REF, block(1, START_MS + SILENT[0] * MS_PER_DAY, [v + 3 for v in VALUES]), NOW_MS)
    close_days(street.db, NOW_MS)
    vee.run_pending(street.db, NOW_MS)
    assert counted(street)[0][:2] == (96, 0)
    with street.db.read() as conn:
        b = interval_block.c
        sources = conn.execute(select(b.source).where(b.day == FIRST + SILENT[0]).order_by(b.version)).scalars().all()
    assert sources[:3] == ["silent", "estimate", "late"]


@pytest.mark.parametrize(
    ("now_ms", "installed", "removed"),
    [
        (START_MS + SILENT[0] * MS_PER_DAY + GRACE_MS, 0, None),
        (NOW_MS, SILENT[-1] + 1, None),
        (NOW_MS, 0, SILENT[0]),
        (NOW_MS + (HEARD_DAYS + DAYS) * MS_PER_DAY, 0, None),
    ],
    ids=["not over", "before the meter", "after the meter", "silent for good"],
)
def test_a_day_that_is_not_missed_stays_open(street: Street, now_ms: int, installed: int, removed: int | None) -> None:
    times = {"installed_ms": START_MS + installed * MS_PER_DAY, "removed_ms": None if removed is None else START_MS + removed * MS_PER_DAY}
    with street.db.write() as conn:
        conn.execute(update(meter).values(**times))
    assert close_silent(street.db, now_ms) == 0
