"""Questions in SQL: the view of unpacked blocks gives what the codec gives, on SQLite and (GRIDTALLY_STORE=postgresql) PostgreSQL."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from gridtally_cloud.store.blocks import COLUMNS, Block, packed_row
from gridtally_cloud.store.close import save_version
from gridtally_cloud.store.days import slots_of
from gridtally_cloud.store.db import Database, put_rows
from gridtally_cloud.store.intervals import ChannelRef, Slot, Slots, channel_ref
from gridtally_cloud.store.postgres import make_month
from gridtally_cloud.store.sql import ask
from gridtally_cloud.store.tables import channel, interval_block
from gridtally_native import decode_block, encode_block
from gridtally_shared.errors import ConfigError
from support.cloud_store import START_MS, new_street

DAY = START_MS // 86_400_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    street = new_street(tmp_path, 1)
    yield street.db
    street.db.close()


def _columns() -> list[tuple[array[int], bytes | None]]:
    """Values and masks that make the codec take each of its forms."""
    chance = random.Random(20261122)
    low, high = -(2**63), 2**63 - 1
    made: list[tuple[array[int], bytes | None]] = [
        (array("q", []), None), (array("q", [0]), None), (array("q", [low, high, 0, -1, 1, high, low]), None),
        (array("q", [0, 0, 0]), bytes(3)), (array("q", [5] * 300), None), (array("q", range(1_000_000, 1_000_096)), None),
    ]  # fmt: skip
    for spread in (3, 40, 900, 70_000, 2**40, 2**62):
        steady = array("q", [chance.randrange(spread) for _ in range(96)])
        spiky = array("q", [chance.randrange(spread) if chance.random() < 0.05 else -7 for _ in range(100)])
        mask = bytes(chance.random() < 0.9 for _ in range(100))
        made += [(steady, None), (spiky, mask), (array("q", [high - value for value in steady]), None)]
    return made


def test_the_view_gives_what_the_codec_gives_for_every_form_of_block(db: Database) -> None:
    blocks = {(DAY, number): encode_block(*column) for number, column in enumerate(_columns(), 1)}
    with db.write() as conn:
        make_month(conn, DAY)
        rows = [packed_row(Block(day, number, 0, START_MS, 900, block, b"", "raw", 0)) for (day, number), block in blocks.items()]
        put_rows(conn, interval_block, COLUMNS, rows)
    assert {block[0] & 0xE0 for block in blocks.values()} >= {0x00, 0x20, 0x40, 0x80}
    names, *rows_of = ask(db, "SELECT channel_no, start_ms, value, quality FROM interval_value ORDER BY channel_no, start_ms")
    assert list(names) == ["channel_no", "start_ms", "value", "quality"]
    expected = []
    for (_, number), block in blocks.items():
        values, present = decode_block(block)
        expected += [(number, START_MS + i * 900_000, values[i] if present[i] else None, 0) for i in range(len(values))]
    assert [tuple(row) for row in rows_of] == expected


def test_versions_that_stand_and_words_of_quality(db: Database) -> None:
    ref = _channel(db)
    grid = slots_of(DAY, "UTC", 900)
    first: Slots = {grid.start_ms + q * 900_000: Slot(q, 0) for q in range(95)}
    better = first | {grid.start_ms: Slot(1_000, 0x8001)}
    with db.write() as conn:
        save_version(conn, ref, grid, 0, first, "raw", True, 1)
        save_version(conn, ref, grid, 1, better, "late", True, 2)
        save_version(conn, ref, grid, 2, first, "conflict", False, 3)
    question = "SELECT version, value, quality FROM interval_value WHERE stands AND start_ms = %d"
    assert [tuple(row) for row in ask(db, question % grid.start_ms)][1:] == [(1, 1_000, 0x8001)]
    (_, row) = ask(db, "SELECT count(*), count(value), sum(value) FROM interval_value WHERE stands")
    assert tuple(map(int, row)) == (96, 95, sum(range(95)) + 1_000)
    (_, row) = ask(db, "SELECT count(*) FROM interval_value WHERE source LIKE 'con%'")
    assert tuple(row) == (96,)


def _channel(db: Database) -> ChannelRef:
    row = {"channel_no": 1, "usage_point_no": 1, "quantity": 1, "unit": "Wh", "direction": "import", "exponent": 0, "period_s": 900}
    with db.write() as conn:
        conn.execute(insert(channel).values(row))
        return channel_ref(conn, 1)[0]


@pytest.mark.parametrize("order", [
    "DELETE FROM channel", "INSERT INTO store_meta (name, value) VALUES ('a', '')", "CREATE TABLE mine (a integer)",
    "SELECT nothing_like_it FROM channel", "not a question", "SELECT 1; DELETE FROM channel",
])  # fmt: skip
def test_what_would_write_or_is_no_sql_is_refused(db: Database, order: str) -> None:
    _channel(db)
    with pytest.raises(ConfigError, match=r"Only questions are answered here"):
        list(ask(db, order))
    assert [tuple(row) for row in ask(db, "SELECT count(*) FROM channel")][1:] == [(1,)]
