"""A meter's first contact brings a day of its memory: what is from before its installation is passed over, the rest is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.ingest import poison
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.store.intervals import read_intervals
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Batch, ChannelBlock
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block, intervals_entry

QUARTER_MS, DAY_MS = 900_000, 86_400_000
INSTALLED_MS = START_MS + 60_000


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path, installed_ms=INSTALLED_MS)
    yield street
    street.db.close()


def send(street: Street, *blocks: ChannelBlock) -> list[str]:
    """Send one entry; the reasons of what was set aside."""
    now_ms = START_MS + DAY_MS
    batch = encode(Batch(b"\x01" * 16, 2, (intervals_entry(1, *blocks),), now_ms))
    Ingest(street.db, KeySigner.from_seed(b"\x05" * 32)).handle(BY_NAME["live"].topic(street.dcu), batch, now_ms)
    with street.db.read() as conn:
        return [row.reason for row in poison.waiting(conn)]


def stored(street: Street) -> list[int | None]:
    with street.db.read() as conn:
        series = read_intervals(conn, 1, START_MS - DAY_MS, START_MS + DAY_MS)
    return [value if there else None for value, there in zip(series.values, series.present, strict=True)]


def test_a_block_over_the_installation_keeps_what_follows_it(street: Street) -> None:
    assert send(street, block(1, START_MS - 8 * QUARTER_MS, list(range(12)))) == []
    assert stored(street) == [None] * 96 + [8, 9, 10, 11] + [None] * 92


def test_a_day_from_before_the_installation_is_passed_over_without_a_word(street: Street) -> None:
    assert send(street, block(1, START_MS - DAY_MS, list(range(96)))) == []
    assert stored(street) == [None] * 192


def test_what_is_older_than_a_first_contact_brings_is_set_aside(street: Street) -> None:
    [reason] = send(street, block(1, START_MS - 2 * DAY_MS, [1] * 192))
    assert "before the installation" in reason
