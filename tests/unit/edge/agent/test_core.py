"""The core with real stores, drivers and simulated meters, by a clock wound by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.core_events import Beat, Moment, SlowDown, StartPoll
from gridtally_edge.drivers.model import Reading
from gridtally_edge.journal.readings import MeterUpdate, SweepOutcome
from gridtally_edge.polling.gaps import Span
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.sync.mqtt import Arrived, LinkLost
from gridtally_native import decode_block
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.quality import Quality
from gridtally_shared.signing import KeySigner, sign1
from support.little_street import DCU, QUARTER_MS, START_MS, LittleStreet, little_street

IMPORT = 11


def entries(street: LittleStreet) -> dict[tuple[bytes, int, int], m.Entry]:
    """By their only key: one that was sent again for want of a receipt is there once."""
    return {(b.stream_id, b.lane, e.seq): e for b in street.batches() for e in b.entries}


def sent(street: LittleStreet, kind: m.EntryKind) -> list[object]:
    return [decode(m.ENTRY_TYPES[kind], e.body) for e in entries(street).values() if e.kind == kind]


def sent_intervals(street: LittleStreet, meter_no: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for message in sent(street, m.EntryKind.INTERVALS):
        for block in message.blocks:  # type: ignore[attr-defined]
            if (block.meter_no, block.quantity) == (meter_no, IMPORT):
                for i, value in enumerate(decode_block(block.values)[0]):
                    assert block.start_ms + i * QUARTER_MS not in found
                    found[block.start_ms + i * QUARTER_MS] = value
    return found


def truth(street: LittleStreet, key: str, span: Span) -> dict[int, int]:
    rows = street.houses[key].profile(span.from_ms + QUARTER_MS, span.to_ms)
    return {row.end_ms - QUARTER_MS: row.import_wh for row in rows}


def receipt_everything(street: LittleStreet, store_id: bytes = b"s" * 16) -> None:
    for batch in street.batches():
        now_ms = street.clock.now_ms()
        street.down("receipt", m.Receipt(store_id, batch.stream_id, batch.lane, batch.entries[-1].seq, now_ms, batch.sent_at_ms))


def test_unbound_meters_are_proposed_and_then_served(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.next_quarter()
        assert [(s.serial, s.line, s.address) for s in sent(street, m.EntryKind.METER_SEEN)] == [("10000001", "dlms", "1")]  # type: ignore[attr-defined]
        assert sent(street, m.EntryKind.READINGS) == []
        street.configure()
        street.next_quarter()
        values = [v for r in sent(street, m.EntryKind.READINGS) for v in r.values]  # type: ignore[attr-defined]
        assert {v.meter_no for v in values} == {1}
        assert sent(street, m.EntryKind.METER_STATUS)[0].answering  # type: ignore[attr-defined]


def test_the_profile_that_goes_up_is_the_meters_own(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=2) as street:
        street.connect()
        street.configure()
        street.next_quarter(6)
        for number, key in ((1, "dlms/1"), (2, "dlms/2")):
            found = sent_intervals(street, number)
            assert found == truth(street, key, Span(min(found), START_MS + 6 * QUARTER_MS))
            assert len(found) >= 6


@pytest.mark.covers("BYPL-1.2c")
def test_three_polls_the_second_fails_the_third_fetches_only_what_is_missing(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        mark = street.core.journal.states[1].mark_ms
        street.asked.clear()
        street.mute.add("dlms/1")
        street.next_quarter()
        street.mute.clear()
        street.next_quarter()
        answered = [request for _, request in street.asked if request.spans][-1]
        assert mark is not None
        assert answered.spans == (Span(mark, mark + 2 * QUARTER_MS),)
        found = sent_intervals(street, 1)
        assert found == truth(street, "dlms/1", Span(min(found), mark + 2 * QUARTER_MS))


@pytest.mark.covers("BYPL-6.1")
def test_seven_lost_blocks_in_two_holes_are_two_ranged_reads(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        mark = street.core.journal.states[1].mark_ms or 0
        holes = (Span(mark - 40 * QUARTER_MS, mark - 36 * QUARTER_MS), Span(mark - 20 * QUARTER_MS, mark - 17 * QUARTER_MS))
        for hole in holes:
            query = "DELETE FROM interval WHERE start_ms >= ? AND start_ms < ?"
            street.core.journal.outbox.connection.execute(query, (hole.from_ms, hole.to_ms))
        street.asked.clear()
        street.next_quarter(97)
        ranged = [span for _, request in street.asked for span in request.spans if span.to_ms <= mark]
        assert ranged == list(holes)
        stored = street.core.journal.stored_starts(1, IMPORT, Span(mark - 96 * QUARTER_MS, mark))
        assert len(stored) == 96


def test_after_a_long_silence_the_gap_travels_as_backlog_behind_the_live_readings(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        street.mute.add("dlms/1")
        street.next_quarter(150)
        street.mute.clear()
        street.published.clear()
        street.next_quarter()
        for _ in range(3):
            street.beat()
        lanes = {b.lane for b in street.batches() for e in b.entries if e.kind == m.EntryKind.INTERVALS}
        assert lanes == {m.Lane.BACKLOG}
        assert {b.lane for b in street.batches() for e in b.entries if e.kind == m.EntryKind.READINGS} == {m.Lane.LIVE}
        starts = sorted(street.core.journal.stored_starts(1, IMPORT, Span(0, 2**60)))
        assert starts == list(range(starts[0], starts[-1] + 1, QUARTER_MS))
        assert starts[-1] > START_MS + 150 * QUARTER_MS


def test_silence_is_an_event_and_so_is_its_end(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        street.mute.add("dlms/1")
        street.next_quarter(4)
        street.mute.clear()
        street.next_quarter()
        codes = [e.code for e in sent(street, m.EntryKind.EVENT)]  # type: ignore[attr-defined]
        assert codes.count(EVENTS["meter_silent"].code) == 1
        assert codes.count(EVENTS["meter_answers_again"].code) == 1
        assert [s.answering for s in sent(street, m.EntryKind.METER_STATUS)][:3] == [True, False, True]  # type: ignore[attr-defined]


def test_another_meter_at_the_address_is_an_urgent_event_and_nothing_is_booked_to_the_old_one(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        before = street.core.journal.states[1].samples
        stranger = HouseMeter(HouseSettings("77777777", seed=9), street.clock)
        street.slaves["dlms/1"] = DlmsSlave((DlmsUnit(stranger, 1),))
        street.next_quarter(2)
        events = [(key[1], decode(m.Event, e.body)) for key, e in entries(street).items() if e.kind == m.EntryKind.EVENT]
        mismatches = [(lane, e.meter_no) for lane, e in events if e.code == EVENTS["serial_mismatch"].code]
        assert mismatches == [(m.Lane.URGENT, 1)]
        assert street.core.journal.states[1].samples == before
        assert "77777777" in [s.serial for s in sent(street, m.EntryKind.METER_SEEN)]  # type: ignore[attr-defined]


def test_intervals_of_a_meter_without_profile_add_up_to_its_register(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0, modbus=1) as street:
        street.connect()
        street.configure()
        street.next_quarter(9)
        found = sent_intervals(street, 1)
        starts = sorted(found)
        assert starts == list(range(starts[0], starts[0] + len(starts) * QUARTER_MS, QUARTER_MS))
        assert len(starts) == 7
        at = street.houses["modbus/1"].profile(starts[0] + QUARTER_MS, starts[-1] + QUARTER_MS)
        assert sum(found.values()) == pytest.approx(sum(row.import_wh for row in at), abs=60)


def test_made_while_offline_it_is_backlog_and_arrives_after_the_reconnect(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.handle(LinkLost("cable"))
        street.next_quarter(3)
        assert street.batches() == []
        street.connect()
        assert {b.lane for b in street.batches()} == {m.Lane.BACKLOG}
        assert len([v for r in sent(street, m.EntryKind.READINGS) for v in r.values]) >= 30  # type: ignore[attr-defined]


def test_receipts_are_stored_and_a_restart_goes_on_where_it_stopped(tmp_path: Path) -> None:
    signer = KeySigner.from_seed(b"k" * 32)
    with little_street(tmp_path, signer=signer) as street:
        street.connect()
        street.configure()
        street.next_quarter(2)
        receipt_everything(street)
        street.wind(2_000)
        street.beat()
        assert street.core.journal.outbox.depth() == 0
        heads, states = street.core.uplink.heads(), street.core.journal.states
    with little_street(tmp_path, signer=signer) as again:
        assert again.core.config_version == 1
        assert again.core.uplink.heads() == heads
        assert again.core.journal.states == states
        again.connect()
        hello = next(message for name, message in again.published if name == "hello")
        assert (hello.streams, hello.config_version, hello.dcu) == (heads, 1, DCU)


def test_an_old_disk_image_starts_a_new_stream_and_nothing_new_is_lost(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.handle(LinkLost("cable"))
        street.next_quarter(2)
        outbox = street.core.journal.outbox
        old = outbox.stream_id
        waiting = outbox.pending(m.Lane.BACKLOG, 0, 10**6)
        street.connect(receipts={(old, m.Lane.BACKLOG): 500})
        assert outbox.stream_id != old
        hellos = [message for name, message in street.published if name == "hello"]
        assert {h.stream_id for h in hellos[-1].streams} >= {outbox.stream_id}
        street.down("welcome", m.Welcome(b"s" * 16, DCU, street.boot_id, street.clock.now_ms()))
        moved = [e for b in street.batches() for e in b.entries if b.stream_id == outbox.stream_id]
        assert [(e.kind, e.body) for e in moved] == [(e.kind, e.body) for e in waiting]


def test_a_cloud_restored_from_a_backup_is_refilled_from_its_own_head(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter(3)
        receipt_everything(street)
        street.wind(2_000)
        street.beat()
        stream = street.core.journal.outbox.stream_id
        everything = street.core.journal.outbox.pending(m.Lane.LIVE, 0, 10**6)
        street.handle(LinkLost("restart of the cloud"))
        street.published.clear()
        street.connect(receipts={(stream, m.Lane.LIVE): 2}, store_id=b"t" * 16)
        resent = [e for b in street.batches() for e in b.entries if (b.stream_id, b.lane) == (stream, m.Lane.LIVE)]
        assert resent == list(everything[2:])


def test_a_receipt_of_another_cloud_store_leads_to_a_new_hello(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        street.published.clear()
        receipt_everything(street)
        stream = street.core.journal.outbox.stream_id
        street.down("receipt", m.Receipt(b"x" * 16, stream, m.Lane.LIVE, 1, street.clock.now_ms()))
        assert [name for name, _ in street.published].count("hello") == 1
        assert street.published[0][0] == "hello"


def test_what_is_not_signed_by_the_cloud_or_not_for_this_boot_changes_nothing(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        config = m.DcuConfig(5, DCU, START_MS, (m.MeterConfig(9, "10000001"),))
        stranger = KeySigner.from_seed(b"x" * 32)
        topic = BY_NAME["config"].topic(DCU)
        street.handle(Arrived(topic, sign1(stranger, "config", encode(config))))
        street.handle(Arrived(topic, sign1(street.signer, "welcome", encode(config))))
        street.handle(Arrived(topic, sign1(street.signer, "config", encode(m.DcuConfig(5, "dcu-2", START_MS)))))
        street.handle(Arrived(topic, b"\xff\x00nonsense"))
        street.handle(Arrived("gt/1/dcu-2/down/receipt", b""))
        street.down("welcome", m.Welcome(b"s" * 16, DCU, bytes(16), START_MS))
        street.down("receipt", m.Receipt(b"s" * 16, street.core.journal.outbox.stream_id, m.Lane.LIVE, 10**6, START_MS))
        assert street.core.refused_messages == 7
        assert street.core.config_version == 0
        assert street.core.journal.config() is None


def test_virtual_time_slows_down_when_the_lines_can_not_keep_up(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=2) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        street.wind(QUARTER_MS)
        asked = street.core.handle(Beat(), Moment(street.clock.now_ms(), 1.0, 1000.0))
        assert [type(effect) for effect in asked].count(StartPoll) == 2
        on_time = street.core.handle(Beat(), Moment(street.clock.now_ms() + QUARTER_MS, 1.9, 1000.0))
        late = street.core.handle(Beat(), Moment(street.clock.now_ms() + QUARTER_MS + 1, 2.0, 1000.0))
        assert [effect for effect in on_time if isinstance(effect, SlowDown)] == []
        assert [effect for effect in late if isinstance(effect, SlowDown)] == [SlowDown(700.0)]
        assert street.core.slowed_to == 700.0


def test_the_configuration_only_moves_forwards(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure(version=3)
        street.configure(version=2)
        assert street.core.config_version == 3


def test_the_same_readings_again_are_nothing_new_and_a_changed_interval_is_a_version(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        journal = street.core.journal
        state = journal.states[1]
        first = journal.outbox.connection.execute(
            "SELECT start_ms, value FROM interval WHERE quantity = 11 ORDER BY start_ms LIMIT 1"
        ).fetchone()
        same = MeterUpdate(state, QUARTER_MS, intervals=(Reading(IMPORT, *first),))
        assert journal.commit_sweep((same,), m.Lane.LIVE, street.clock.now_ms()) == SweepOutcome()
        other = MeterUpdate(state, QUARTER_MS, intervals=(Reading(IMPORT, first[0], first[1] + 5),))
        assert journal.commit_sweep((other,), m.Lane.LIVE, street.clock.now_ms()).revised == 1
        assert journal.commit_sweep((other,), m.Lane.LIVE, street.clock.now_ms()) == SweepOutcome()
        rows = journal.outbox.connection.execute(
            "SELECT version, value, quality FROM interval WHERE quantity = 11 AND start_ms = ? ORDER BY version", first[:1]
        ).fetchall()
        assert rows == [(0, first[1], 0), (1, first[1] + 5, int(Quality.REVISED))]
