"""Ingest over bytes: idempotency, poison, presence, readings, events; any bytes at all do no harm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from gridtally_cloud.ingest import poison
from gridtally_cloud.ingest.retry import retry
from gridtally_cloud.ingest.service import ENTRY_HANDLERS, Ingest
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.tables import dcu, event, inbox_seen, meter, meter_seen, meter_status, reading, reading_latest, stream_head
from gridtally_cloud.store.tables import poison as poison_table
from gridtally_shared.contract.channels import BY_NAME, MAX_PAYLOAD_BYTES
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.marks import mark_of
from gridtally_shared.contract.messages import (
    Batch,
    Entry,
    EntryKind,
    Event,
    Gone,
    Hello,
    Intervals,
    MeterSeen,
    MeterStatus,
    NodeReport,
    Readings,
    Receipt,
    StreamHead,
    Value,
    Welcome,
)
from gridtally_shared.quality import Quality
from gridtally_shared.signing import KeySigner, verify1
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block, intervals_entry

SIGNER = KeySigner.from_seed(b"\x05" * 32)
STREAM = b"\x01" * 16
NOW_MS = START_MS + 3_600_000


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


@pytest.fixture
def ingest(street: Street) -> Ingest:
    return Ingest(street.db, SIGNER)


def _event(seq: int, **more: object) -> Entry:
    fields = {"meter_no": 1, "code": 101, "at_ms": START_MS + seq, "detail": ""} | more
    return Entry(seq, EntryKind.EVENT, encode(Event(**fields)))  # type: ignore[arg-type]


def _send(ingest: Ingest, street: Street, *entries: Entry, lane: int = 2, stream: bytes = STREAM) -> list[Receipt]:
    name = {1: "urgent", 2: "live", 3: "backlog"}[lane]
    batch = encode(Batch(stream, lane, entries, NOW_MS))
    answers = ingest.handle(BY_NAME[name].topic(street.dcu), batch, NOW_MS)
    assert {answer.channel for answer in answers} <= {"receipt"}
    return [decode(Receipt, answer.payload) for answer in answers]


def _count(street: Street, table: object) -> int:
    with street.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]


def test_every_kind_of_entry_has_a_handler() -> None:
    assert set(ENTRY_HANDLERS) == set(EntryKind)


def test_the_receipt_names_the_contiguous_number_only(ingest: Ingest, street: Street) -> None:
    assert [r.upto for r in _send(ingest, street, _event(1), _event(3))] == [1]
    assert _count(street, inbox_seen) == 1
    assert [r.upto for r in _send(ingest, street, _event(5))] == [1]
    assert [r.upto for r in _send(ingest, street, _event(2))] == [3]
    assert [r.upto for r in _send(ingest, street, _event(4))] == [5]
    assert _count(street, inbox_seen) == 0
    assert _count(street, event) == 5


def test_the_same_batch_again_stores_nothing_and_is_receipted(ingest: Ingest, street: Street) -> None:
    for _ in range(3):
        receipt = _send(ingest, street, _event(1), _event(2))[0]
    assert (receipt.upto, receipt.stream_id, receipt.echo_ms, receipt.server_ms) == (2, STREAM, NOW_MS, NOW_MS)
    assert _count(street, event) == 2


def test_lanes_and_streams_count_for_themselves(ingest: Ingest, street: Street) -> None:
    _send(ingest, street, _event(1, detail="live"))
    _send(ingest, street, _event(1, detail="urgent"), lane=1)
    _send(ingest, street, _event(1, detail="other store"), stream=b"\x02" * 16)
    assert _count(street, event) == 3


@pytest.mark.covers_part("BYPL-7.2")
def test_the_same_event_in_a_renewed_stream_is_one_row(ingest: Ingest, street: Street) -> None:
    _send(ingest, street, _event(1, at_ms=START_MS), lane=1)
    _send(ingest, street, _event(1, at_ms=START_MS), lane=1, stream=b"\x02" * 16)
    assert _count(street, event) == 1


def test_a_batch_that_can_not_be_read_gets_no_receipt_and_is_kept(ingest: Ingest, street: Street) -> None:
    topic = BY_NAME["live"].topic(street.dcu)
    for payload in (b"", b"\xa0", b"garbage", encode(Batch(b"short", 2, (), 0)), encode(Batch(STREAM, 1, (), 0)),
                    encode(Batch(STREAM, 2, (_event(0),), 0)), b"x" * (MAX_PAYLOAD_BYTES + 1)):  # fmt: skip
        assert ingest.handle(topic, payload, NOW_MS) == ()
        assert ingest.handle(topic, payload, NOW_MS + 1) == ()
    with street.db.read() as conn:
        rows = poison.waiting(conn)
    assert len(rows) == 7
    assert {row.times for row in rows} == {2}


def test_a_stranger_gets_no_receipt(ingest: Ingest, street: Street) -> None:
    payload = encode(Batch(STREAM, 2, (_event(1),), NOW_MS))
    assert ingest.handle(BY_NAME["live"].topic("dcu-unknown"), payload, NOW_MS) == ()
    with street.db.read() as conn:
        assert "enrol it first" in poison.waiting(conn)[0].reason
    assert _count(street, event) == 0


@pytest.mark.parametrize("topic", ["gt/1/x/up/nothing", "other", "gt/1/a/down/receipt", ""])
def test_a_topic_that_is_not_ours_is_passed_over(ingest: Ingest, topic: str) -> None:
    assert ingest.handle(topic, b"", NOW_MS) == ()


def test_an_unreadable_entry_does_not_stop_the_others(ingest: Ingest, street: Street) -> None:
    bad = (Entry(2, EntryKind.EVENT, b"\xa1\x00\x01"), Entry(3, 99, b""), _event(4, meter_no=77))
    assert [r.upto for r in _send(ingest, street, _event(1), *bad, _event(5))] == [5]
    assert _count(street, event) == 2
    with street.db.read() as conn:
        rows = poison.waiting(conn)
    assert sorted(row.seq or 0 for row in rows) == [2, 3, 4]


@pytest.mark.parametrize("bad", [
    Entry(2, 1 << 40, b"\xa0"),
    Entry(2, EntryKind.NODE, encode(NodeReport("plc", "\0", 77, START_MS))),
    _event(2, code=1 << 40),
    _event(2, detail="tilted\0"),
])  # fmt: skip
def test_numbers_and_texts_that_no_column_holds_stop_no_stream(ingest: Ingest, street: Street, bad: Entry) -> None:
    """PostgreSQL has no NUL in a text and no more than 32 bits in a column for codes; the reason is kept in one, and the kind."""
    assert [r.upto for r in _send(ingest, street, _event(1), bad, _event(3))] == [3]
    assert _count(street, event) + _count(street, poison_table) == 3


def test_one_bad_block_is_set_aside_and_the_rest_of_the_entry_stored(ingest: Ingest, street: Street) -> None:
    entry = intervals_entry(1, block(1, START_MS, [5]), block(99, START_MS, [6]), block(2, START_MS + 1, [7]), block(3, START_MS, [8]))
    assert [r.upto for r in _send(ingest, street, entry)] == [1]
    with street.db.read() as conn:
        assert list(read_intervals(conn, 1, START_MS, START_MS + 900_000).values) == [5]
        rows = poison.waiting(conn)
    assert sorted(row.reason for row in rows) == [
        "meter 2, quantity 11: the intervals are not on the UTC grid",
        f"meter 99 is not served by {street.dcu}",
    ]


@pytest.mark.parametrize("mark", [Quality.EDITED, Quality.VERIFIED, Quality.UNTRUSTWORTHY | Quality.ESTIMATED])
def test_a_mark_that_only_the_mdm_sets_is_taken_from_no_concentrator(ingest: Ingest, street: Street, mark: Quality) -> None:
    """A value so marked could never be replaced by a better one."""
    marked = replace(block(1, START_MS, [5, 6]), quality=int(Quality.ESTIMATED).to_bytes(2, "little") + int(mark).to_bytes(2, "little"))
    sample = Entry(2, EntryKind.READINGS, encode(Readings((Value(1, 1, START_MS, 7, mark), Value(1, 1, START_MS + 1, 8)))))
    _send(ingest, street, Entry(1, EntryKind.INTERVALS, encode(Intervals((marked, block(2, START_MS, [9]))))), sample)
    with street.db.read() as conn:
        assert list(read_intervals(conn, 1, START_MS, START_MS + 900_000).values) == [9], "the one channel there is"
        assert conn.execute(select(reading.c.value)).scalars().all() == [8]
        reasons = [row.reason for row in poison.waiting(conn)]
    assert len(reasons) == 2
    assert all("only the MDM" in reason for reason in reasons)


def test_what_was_set_aside_can_be_taken_in_after_a_repair(ingest: Ingest, street: Street) -> None:
    with street.db.write() as conn:
        conn.execute(update(meter).where(meter.c.meter_no == 1).values(dcu=None))
    _send(ingest, street, intervals_entry(1, block(1, START_MS, [5])), Entry(2, EntryKind.EVENT, b"\xff"))
    with street.db.write() as conn:
        assert retry(conn, NOW_MS, "test") == 0
        conn.execute(update(meter).where(meter.c.meter_no == 1).values(dcu=street.dcu))
        assert retry(conn, NOW_MS, "test") == 1
        assert list(read_intervals(conn, 1, START_MS, START_MS + 900_000).values) == [5]
        assert [row.seq for row in poison.waiting(conn)] == [2]


def test_readings_are_kept_once_and_the_latest_is_the_newest_by_time(ingest: Ingest, street: Street) -> None:
    def values(seq: int, *pairs: tuple[int, int]) -> Entry:
        return Entry(seq, EntryKind.READINGS, encode(Readings(tuple(Value(1, 1, START_MS + at, v) for at, v in pairs))))

    _send(ingest, street, values(1, (20, 120), (10, 110)))
    _send(ingest, street, values(2, (10, 110), (15, 115)))
    with street.db.read() as conn:
        latest = conn.execute(select(reading_latest)).one()
    assert (latest.at_ms, latest.value) == (START_MS + 20, 120)
    assert _count(street, reading) == 3


def test_an_older_status_does_not_overwrite_a_newer_one(ingest: Ingest, street: Street) -> None:
    for seq, (at_ms, answering) in enumerate([(20, True), (10, False)], start=1):
        body = encode(MeterStatus(1, START_MS + at_ms, answering, 1))
        _send(ingest, street, Entry(seq, EntryKind.METER_STATUS, body))
    with street.db.read() as conn:
        row = conn.execute(select(meter_status)).one()
    assert (row.at_ms, row.answering) == (START_MS + 20, True)


def test_a_meter_seen_becomes_one_proposal(ingest: Ingest, street: Street) -> None:
    for seq, at_ms in enumerate((20, 10, 30), start=1):
        body = encode(MeterSeen("NEW-1", "line-a", "sdm120", str(seq), START_MS + at_ms))
        _send(ingest, street, Entry(seq, EntryKind.METER_SEEN, body))
    with street.db.read() as conn:
        row = conn.execute(select(meter_seen)).one()
    assert (row.state, row.last_seen_ms, row.address) == ("proposed", START_MS + 30, "3")


# ---- presence -------------------------------------------------------------------------------------------------


def _hello(ingest: Ingest, street: Street, *heads: StreamHead, contract: int = 1, boot: bytes = b"\x07" * 16) -> Welcome | None:
    message = Hello(contract, street.dcu, boot, "1.0", NOW_MS, 0, 0, heads)
    answers = ingest.handle(BY_NAME["hello"].topic(street.dcu), encode(message), NOW_MS)
    if not answers:
        return None
    return decode(Welcome, verify1({SIGNER.key_id: SIGNER.public}, "welcome", answers[0].payload))


def test_hello_is_answered_with_time_heads_and_presence(ingest: Ingest, street: Street) -> None:
    _send(ingest, street, _event(1), _event(3))
    welcome = _hello(ingest, street, StreamHead(STREAM, 2, 9, 0))
    assert welcome is not None
    assert (welcome.at_ms, welcome.dcu, welcome.new_stream_ids) == (NOW_MS, street.dcu, ())
    assert welcome.streams == (StreamHead(STREAM, 2, 4, 1, mark_of(_event(1))),)
    _send(ingest, street, _event(2))  # the hole is filled
    filled = _hello(ingest, street, StreamHead(STREAM, 2, 9, 0))
    assert filled is not None
    assert filled.streams == (StreamHead(STREAM, 2, 4, 3, mark_of(_event(3))),)
    with street.db.read() as conn:
        row = conn.execute(select(dcu)).one()
    assert (row.online, row.state, row.agent_version) == (True, "active", "1.0")


def test_an_old_disk_image_is_told_to_start_a_new_stream_and_its_old_one_is_closed(ingest: Ingest, street: Street) -> None:
    _send(ingest, street, _event(1), _event(2), _event(3))
    for _ in range(2):
        welcome = _hello(ingest, street, StreamHead(STREAM, 2, 2, 0))
        assert welcome is not None
        assert welcome.new_stream_ids == (STREAM,)
    assert _send(ingest, street, _event(2, detail="of the old image")) == []
    assert _count(street, event) == 3
    with street.db.read() as conn:
        assert conn.execute(select(stream_head.c.retired)).scalars().all() == [True]


def test_a_second_hello_of_the_same_start_that_comes_late_closes_nothing(ingest: Ingest, street: Street) -> None:
    """Said before the batches, heard after them: no old image, and no stream whose batches would go unanswered."""
    _hello(ingest, street, StreamHead(STREAM, 2, 1, 0))
    _send(ingest, street, _event(1), _event(2))
    late = _hello(ingest, street, StreamHead(STREAM, 2, 1, 0))
    assert late is not None
    assert late.new_stream_ids == ()
    assert len(_send(ingest, street, _event(3))) == 1


def test_an_edge_ahead_of_a_restored_store_keeps_its_stream(ingest: Ingest, street: Street) -> None:
    welcome = _hello(ingest, street, StreamHead(STREAM, 2, 500, 400))
    assert welcome is not None
    assert (welcome.new_stream_ids, welcome.streams) == ((), ())


def test_an_unknown_contract_is_refused_and_shown(ingest: Ingest, street: Street) -> None:
    assert _hello(ingest, street, contract=7) is None
    with street.db.read() as conn:
        assert "contract 7" in poison.waiting(conn)[0].reason


def test_only_the_will_of_the_last_boot_ends_presence(ingest: Ingest, street: Street) -> None:
    _hello(ingest, street)
    for boot, online in ((b"\x01" * 16, True), (b"\x07" * 16, False)):
        ingest.handle(BY_NAME["gone"].topic(street.dcu), encode(Gone(boot)), NOW_MS)
        with street.db.read() as conn:
            assert conn.execute(select(dcu.c.online)).scalar_one() is online


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([int(k) for k in EntryKind]), st.binary(max_size=80), st.integers(1, 2**63 - 1))
def test_any_bytes_in_an_entry_are_stored_or_set_aside(ingest: Ingest, street: Street, kind: int, body: bytes, seq: int) -> None:
    assert len(_send(ingest, street, Entry(seq, kind, body))) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["hello", "gone", "urgent", "live", "backlog"]), st.binary(max_size=120))
def test_any_bytes_in_a_message_do_no_harm(ingest: Ingest, street: Street, channel: str, payload: bytes) -> None:
    ingest.handle(BY_NAME[channel].topic(street.dcu), payload, NOW_MS)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**40), 2**40), st.integers(-5, 2**31), st.binary(max_size=30))
def test_hostile_blocks_are_set_aside(ingest: Ingest, street: Street, start_ms: int, period_s: int, n: int, data: bytes) -> None:
    from gridtally_shared.contract.messages import ChannelBlock

    body = encode(Intervals((ChannelBlock(1, 11, start_ms, period_s, n, data),)))
    with street.db.read() as conn:
        head = conn.execute(select(func.coalesce(func.max(stream_head.c.highest), 0))).scalar_one()
    assert len(_send(ingest, street, Entry(head + 1, EntryKind.INTERVALS, body))) == 1
