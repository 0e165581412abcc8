"""What `read_intervals` lays together in columns is what stands interval by interval: versions, estimates, edits, the inbox, any span."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from gridtally_cloud.store.blocks import COLUMNS, Block, packed_row
from gridtally_cloud.store.db import put_rows
from gridtally_cloud.store.intervals import EDIT, ESTIMATE, days_slots, read_intervals, series
from gridtally_cloud.store.postgres import make_month
from gridtally_cloud.store.tables import channel, interval_block, interval_inbox
from gridtally_native import encode_block
from gridtally_shared.quality import Quality
from support.cloud_store import START_MS, Street, new_street

STEP_MS, DAY_MS = 900_000, 86_400_000
FIRST = START_MS // DAY_MS
WORDS = (0, 0, Quality.ESTIMATED, Quality.EDITED, Quality.EDITED | Quality.ESTIMATED, Quality.MISSING | Quality.COMM_ERROR)


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    with street.db.write() as conn:
        conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=11, direction="import", unit="Wh",
                                            exponent=0, period_s=900))  # fmt: skip
    yield street
    street.db.close()


def _columns(rng: random.Random, n: int) -> dict[str, Any]:
    present = bytes(rng.random() < 0.7 for _ in range(n))
    quality = b"".join(int(rng.choice(WORDS)).to_bytes(2, "little") for _ in range(n)) if rng.random() < 0.7 else b""
    return {"n": n, "period_s": 900, "blob": encode_block(array("q", [rng.randrange(900) for _ in range(n)]), present), "quality": quality}


def _fill(conn: Connection, rng: random.Random) -> None:
    for day in range(FIRST, FIRST + 4):
        for version in range(rng.randrange(4)):
            source, held = rng.choice(("raw", "late", "conflict", ESTIMATE, EDIT)), _columns(rng, 96)
            block = Block(day, 1, version, day * DAY_MS, 900, held["blob"], held["quality"], source, 0)
            put_rows(conn, interval_block, COLUMNS, [packed_row(block)])
        for _ in range(rng.randrange(4)):
            at = rng.randrange(96)
            row = _columns(rng, rng.randint(1, 96 - at)) | {"day": day, "start_ms": day * DAY_MS + at * STEP_MS}
            conn.execute(insert(interval_inbox).values(channel_no=1, meter_no=1, conflict=rng.random() < 0.2, received_ms=0, **row))


@pytest.mark.parametrize("seed", range(8))
def test_columns_and_single_intervals_read_the_same(street: Street, seed: int) -> None:
    rng = random.Random(seed)
    with street.db.write() as conn:
        for day in range(FIRST, FIRST + 4):
            make_month(conn, day)
        _fill(conn, rng)
        for _ in range(12):
            from_ms = START_MS + rng.randrange(-DAY_MS, 4 * DAY_MS)
            to_ms = from_ms + rng.choice((0, 1, STEP_MS, DAY_MS, 3 * DAY_MS, rng.randrange(5 * DAY_MS)))
            start = -(-from_ms // STEP_MS) * STEP_MS
            slots = days_slots(conn, 1, list(range(FIRST - 2, FIRST + 10)), estimates=True)
            assert read_intervals(conn, 1, from_ms, to_ms) == series(slots, start, 900, max(0, -(-(to_ms - start) // STEP_MS)))

