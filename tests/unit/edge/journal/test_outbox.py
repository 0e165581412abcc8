"""The outbox: numbers are never used twice, receipts only go forwards, a new stream carries what had no receipt."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_edge.journal.outbox import KEEP_RECEIPTED_MS, Outbox
from gridtally_edge.journal.sqlite import Migration, Store, migrate, migrate_in_child, open_reader, open_store, transaction
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import EntryKind, Event, Lane
from gridtally_shared.errors import ConfigError, ContractError

STORE = Store("outbox-test", (Migration("001-outbox", Outbox.schema),))
NOW_MS = 1_700_000_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    migrate(tmp_path / "store.db", STORE)
    connection = open_store(tmp_path / "store.db", STORE)
    yield connection
    connection.close()


def put(db: sqlite3.Connection, outbox: Outbox, count: int, lane: Lane = Lane.LIVE, at_ms: int = NOW_MS) -> list[int]:
    with transaction(db):
        return [outbox.append(EntryKind.EVENT, Event(1, 101, at_ms, f"event {i}"), lane, at_ms) for i in range(count)]


def test_each_lane_counts_for_itself(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)
    assert put(db, outbox, 3) == [1, 2, 3]
    assert put(db, outbox, 2, Lane.URGENT) == [1, 2]
    assert [(h.lane, h.next_seq, h.receipted) for h in outbox.heads()] == [(1, 3, 0), (2, 4, 0), (3, 1, 0)]


def test_a_number_is_not_used_again_after_the_queue_ran_empty_and_was_pruned(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)
    put(db, outbox, 3)
    outbox.receipt(outbox.stream_id, Lane.LIVE, 3, NOW_MS)
    assert outbox.prune(NOW_MS + KEEP_RECEIPTED_MS + 1) == 3
    assert put(db, Outbox(db), 1) == [4]


def test_a_rolled_back_sweep_leaves_neither_row_nor_number(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)

    def failing_sweep() -> None:
        with transaction(db):
            outbox.append(EntryKind.EVENT, Event(1, 101, NOW_MS), Lane.LIVE, NOW_MS)
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        failing_sweep()
    assert outbox.pending(Lane.LIVE, 0, 1000) == ()
    assert put(db, outbox, 1) == [1]


def test_pending_gives_at_least_one_and_as_many_as_fit(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)
    put(db, outbox, 5)
    assert [e.seq for e in outbox.pending(Lane.LIVE, 0, 1)] == [1]
    assert [e.seq for e in outbox.pending(Lane.LIVE, 2, 10_000)] == [3, 4, 5]
    assert decode(Event, outbox.pending(Lane.LIVE, 4, 1)[0].body).detail == "event 4"
    assert len(outbox.pending(Lane.LIVE, 0, 100)) == 2


def test_a_receipt_only_goes_forwards(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)
    put(db, outbox, 5)
    assert outbox.receipt(outbox.stream_id, Lane.LIVE, 4, NOW_MS)
    assert not outbox.receipt(outbox.stream_id, Lane.LIVE, 2, NOW_MS)
    assert outbox.heads()[1].receipted == 4
    assert outbox.depth() == 1


def test_receipts_for_another_stream_or_unknown_numbers_are_refused(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)
    put(db, outbox, 5)
    with pytest.raises(ContractError, match="no stream"):
        outbox.receipt(bytes(16), Lane.LIVE, 1, NOW_MS)
    with pytest.raises(ContractError, match="no stream"):
        outbox.receipt(outbox.stream_id, 9, 1, NOW_MS)
    with pytest.raises(ContractError, match="next number is 6"):
        outbox.receipt(outbox.stream_id, Lane.LIVE, 6, NOW_MS)
    assert outbox.heads()[1].receipted == 0


def test_a_new_stream_carries_over_exactly_what_had_no_receipt(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)
    put(db, outbox, 5)
    put(db, outbox, 2, Lane.URGENT)
    outbox.receipt(outbox.stream_id, Lane.LIVE, 3, NOW_MS)
    old = outbox.stream_id
    with transaction(db):
        new = outbox.renew_stream()
    assert new != old
    assert Outbox(db).stream_id == new
    assert [(h.stream_id, h.lane, h.next_seq, h.receipted) for h in outbox.heads()] == [
        (new, 1, 3, 0), (new, 2, 3, 0), (new, 3, 1, 0)]  # fmt: skip
    moved = [decode(Event, e.body).detail for e in outbox.pending(Lane.LIVE, 0, 10_000)]
    assert moved == ["event 3", "event 4"]
    with pytest.raises(ContractError):
        outbox.receipt(old, Lane.LIVE, 1, NOW_MS)


def test_what_nobody_receipted_outlives_everything(db: sqlite3.Connection) -> None:
    outbox = Outbox(db)
    put(db, outbox, 3)
    outbox.receipt(outbox.stream_id, Lane.LIVE, 1, NOW_MS)
    assert outbox.prune(NOW_MS + 20 * KEEP_RECEIPTED_MS) == 1
    assert outbox.depth() == 2


def test_the_store_is_durable_and_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with pytest.raises(ConfigError, match="gridtally-dcu init"):
        open_store(path, STORE)
    sqlite3.connect(path).close()
    with pytest.raises(ConfigError, match="gridtally-dcu init"):
        open_store(path, STORE)
    migrate(path, STORE)
    connection = open_store(path, STORE)
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    reader = open_reader(path, STORE)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM outbox_entry")
    reader.close()
    connection.close()


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    migrate(path, STORE)
    first = sqlite3.connect(path)
    stream = first.execute("SELECT stream_id FROM outbox_stream").fetchone()
    first.close()
    migrate(path, STORE)
    again = sqlite3.connect(path)
    assert again.execute("SELECT stream_id FROM outbox_stream").fetchone() == stream
    again.close()


def test_a_failing_child_names_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"could not be brought up to date.*no_such_module"):
        migrate_in_child(tmp_path / "store.db", "no_such_module:STORE")
