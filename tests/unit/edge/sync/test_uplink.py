"""What goes up next: window, order of lanes, repeats, over real outboxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.sqlite import Migration, Store, migrate, open_store, transaction
from gridtally_edge.sync.uplink import HELLO_AGAIN_S, RECEIPT_FIRST_S, State, Uplink
from gridtally_shared.contract.channels import BATCH_TARGET_BYTES, MAX_IN_FLIGHT, MAX_PAYLOAD_BYTES
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.marks import mark_of
from gridtally_shared.contract.messages import Batch, EntryKind, Event, Lane, Receipt, StreamHead, Welcome
from gridtally_shared.errors import ContractError

STORE = Store("uplink-test", (Migration("001-outbox", Outbox.schema),))
NOW_MS = 1_790_000_000_000
CLOUD, BOOT = b"c" * 16, b"b" * 16


@pytest.fixture
def outboxes(tmp_path: Path) -> Iterator[tuple[Outbox, Outbox]]:
    paths = (tmp_path / "money.db", tmp_path / "readings.db")
    for path in paths:
        migrate(path, STORE)
    connections = [open_store(path, STORE) for path in paths]
    yield Outbox(connections[0]), Outbox(connections[1])
    for connection in connections:
        connection.close()


def put(outbox: Outbox, lane: Lane, count: int, text: str = "") -> None:
    with transaction(outbox.connection):
        for _ in range(count):
            outbox.append(EntryKind.EVENT, Event(1, 101, NOW_MS, text), lane, NOW_MS)


def welcome(*heads: StreamHead, store_id: bytes = CLOUD) -> Welcome:
    return Welcome(store_id, "dcu", BOOT, NOW_MS, heads)


def opened(outboxes: tuple[Outbox, Outbox], *heads: StreamHead) -> Uplink:
    uplink = Uplink(outboxes)
    uplink.connected()
    uplink.welcomed(welcome(*heads))
    return uplink


def seqs(batches: tuple[Batch, ...]) -> list[tuple[int, int, int]]:
    return [(b.lane, b.entries[0].seq, b.entries[-1].seq) for b in batches]


def test_nothing_but_hello_leaves_before_the_welcome(outboxes: tuple[Outbox, Outbox]) -> None:
    put(outboxes[1], Lane.LIVE, 3)
    uplink = Uplink(outboxes)
    assert not uplink.hello_is_due(0.0)
    uplink.connected()
    assert uplink.hello_is_due(0.0)
    assert not uplink.hello_is_due(HELLO_AGAIN_S - 0.1)
    assert uplink.hello_is_due(HELLO_AGAIN_S)
    assert uplink.next_batches(0.0, NOW_MS) == ()
    uplink.welcomed(welcome())
    assert seqs(uplink.next_batches(0.0, NOW_MS)) == [(Lane.LIVE, 1, 3)]


def test_urgent_goes_before_live_before_backlog_and_money_before_readings(outboxes: tuple[Outbox, Outbox]) -> None:
    money, readings = outboxes
    put(readings, Lane.BACKLOG, 1)
    put(readings, Lane.LIVE, 1)
    put(readings, Lane.URGENT, 1)
    put(money, Lane.URGENT, 1)
    batches = opened(outboxes).next_batches(0.0, NOW_MS)
    assert [(b.stream_id, b.lane) for b in batches] == [
        (money.stream_id, Lane.URGENT),
        (readings.stream_id, Lane.URGENT),
        (readings.stream_id, Lane.LIVE),
        (readings.stream_id, Lane.BACKLOG),
    ]


def test_the_window_holds_and_leaves_room_for_what_is_urgent(outboxes: tuple[Outbox, Outbox]) -> None:
    money, readings = outboxes
    put(readings, Lane.BACKLOG, 60, "x" * BATCH_TARGET_BYTES)
    uplink = opened(outboxes)
    assert len(uplink.next_batches(0.0, NOW_MS)) == MAX_IN_FLIGHT - 8
    put(readings, Lane.LIVE, 60, "x" * BATCH_TARGET_BYTES)
    assert len(uplink.next_batches(0.0, NOW_MS)) == 4
    put(money, Lane.URGENT, 60, "x" * BATCH_TARGET_BYTES)
    assert [b.lane for b in uplink.next_batches(0.0, NOW_MS)] == [Lane.URGENT] * 4
    assert uplink.in_flight() == MAX_IN_FLIGHT
    uplink.receipt(Receipt(CLOUD, money.stream_id, Lane.URGENT, 2, NOW_MS), 0.1)
    assert [b.lane for b in uplink.next_batches(0.1, NOW_MS)] == [Lane.URGENT] * 2


def test_batches_hold_many_entries_and_stay_below_the_limit(outboxes: tuple[Outbox, Outbox]) -> None:
    put(outboxes[1], Lane.BACKLOG, 4_000, "some detail of an event")
    batches = opened(outboxes).next_batches(0.0, NOW_MS)
    sizes = [len(encode(batch)) for batch in batches]
    assert max(sizes) <= MAX_PAYLOAD_BYTES // 2
    assert sum(len(batch.entries) for batch in batches) == 4_000
    assert len(batches) < 12


def test_without_a_receipt_it_is_sent_again_and_then_later_each_time(outboxes: tuple[Outbox, Outbox]) -> None:
    put(outboxes[1], Lane.LIVE, 2)
    uplink = opened(outboxes)
    uplink.next_batches(0.0, NOW_MS)
    assert uplink.next_batches(RECEIPT_FIRST_S - 0.1, NOW_MS) == ()
    assert seqs(uplink.next_batches(RECEIPT_FIRST_S, NOW_MS)) == [(Lane.LIVE, 1, 2)]
    assert uplink.next_batches(2 * RECEIPT_FIRST_S + 1, NOW_MS) == ()
    assert seqs(uplink.next_batches(3 * RECEIPT_FIRST_S, NOW_MS)) == [(Lane.LIVE, 1, 2)]
    assert uplink.resent == 2


def test_after_the_longest_silence_it_greets_again(outboxes: tuple[Outbox, Outbox]) -> None:
    put(outboxes[1], Lane.LIVE, 2)
    uplink = opened(outboxes)
    seconds = 0.0
    while uplink.state is State.OPEN:
        uplink.next_batches(seconds, NOW_MS)
        seconds += 1.0
        assert seconds < 200
    assert uplink.hello_is_due(seconds)
    assert uplink.next_batches(seconds, NOW_MS) == ()


def test_a_partial_receipt_repeats_only_the_rest(outboxes: tuple[Outbox, Outbox]) -> None:
    readings = outboxes[1]
    put(readings, Lane.LIVE, 5)
    uplink = opened(outboxes)
    uplink.next_batches(0.0, NOW_MS)
    uplink.receipt(Receipt(CLOUD, readings.stream_id, Lane.LIVE, 3, NOW_MS), 1.0)
    assert seqs(uplink.next_batches(1.0 + RECEIPT_FIRST_S, NOW_MS)) == [(Lane.LIVE, 4, 5)]


def test_after_a_reconnect_sending_begins_at_the_clouds_head(outboxes: tuple[Outbox, Outbox]) -> None:
    readings = outboxes[1]
    put(readings, Lane.LIVE, 5)
    uplink = opened(outboxes)
    uplink.next_batches(0.0, NOW_MS)
    uplink.disconnected()
    assert uplink.next_batches(0.1, NOW_MS) == ()
    uplink.connected()
    uplink.welcomed(welcome(StreamHead(readings.stream_id, Lane.LIVE, 3, 2)))
    assert seqs(uplink.next_batches(0.2, NOW_MS)) == [(Lane.LIVE, 3, 5)]
    assert uplink.unstored_receipts() == ((readings, Lane.LIVE, 2),)
    assert uplink.unstored_receipts() == ()


def test_receipts_of_foreign_streams_and_unknown_numbers_are_refused(outboxes: tuple[Outbox, Outbox]) -> None:
    readings = outboxes[1]
    put(readings, Lane.LIVE, 5)
    uplink = opened(outboxes)
    with pytest.raises(ContractError, match="not ours"):
        uplink.receipt(Receipt(CLOUD, b"?" * 16, Lane.LIVE, 1, NOW_MS), 0.0)
    with pytest.raises(ContractError, match="next number"):
        uplink.receipt(Receipt(CLOUD, readings.stream_id, Lane.LIVE, 6, NOW_MS), 0.0)
    assert uplink.unstored_receipts() == ()


def test_an_older_receipt_changes_nothing(outboxes: tuple[Outbox, Outbox]) -> None:
    readings = outboxes[1]
    put(readings, Lane.LIVE, 5)
    uplink = opened(outboxes)
    uplink.next_batches(0.0, NOW_MS)
    for upto in (4, 2):
        uplink.receipt(Receipt(CLOUD, readings.stream_id, Lane.LIVE, upto, NOW_MS), 0.0)
    assert uplink.unstored_receipts() == ((readings, Lane.LIVE, 4),)


def test_stores_behind_the_cloud_are_named_for_renewal(outboxes: tuple[Outbox, Outbox]) -> None:
    money, readings = outboxes
    put(readings, Lane.LIVE, 5)
    uplink = opened(outboxes)
    ahead, level = StreamHead(readings.stream_id, Lane.LIVE, 8, 7), StreamHead(readings.stream_id, Lane.LIVE, 6, 5)
    assert uplink.to_renew(welcome(ahead)) == (readings,)
    assert uplink.to_renew(welcome(level)) == ()
    unknown = StreamHead(readings.stream_id, Lane.LIVE, 6, 5, b"")
    mine = StreamHead(readings.stream_id, Lane.LIVE, 6, 5, mark_of(readings.pending(Lane.LIVE, 4, 1)[0]))
    another = StreamHead(readings.stream_id, Lane.LIVE, 6, 5, b"another!")
    assert [uplink.to_renew(welcome(head)) for head in (unknown, mine, another)] == [(), (), (readings,)]
    ordered = Welcome(CLOUD, "dcu", BOOT, NOW_MS, new_stream_ids=(money.stream_id,))
    assert uplink.to_renew(ordered) == (money,)
    uplink.renewed()
    assert uplink.state is State.GREETING
    assert uplink.hello_is_due(0.0)
