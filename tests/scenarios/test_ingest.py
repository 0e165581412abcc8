"""From an edge's batch on a real broker to committed rows, the receipt and the signed answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.commands import service as commands
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.ingest import poison
from gridtally_cloud.mqtt import BrokerSettings
from gridtally_cloud.prepay.capture import pay_at_desk
from gridtally_cloud.prepay.settings import payments_from
from gridtally_cloud.prepay.wallet import balance
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.report import interval_counts
from gridtally_cloud.store.tables import outbox_down
from gridtally_cloud.worker import Worker
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import (
    Batch,
    Command,
    CommandReceipt,
    CommandType,
    DcuConfig,
    Entry,
    EntryKind,
    Instrument,
    JournalRange,
    Welcome,
)
from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool, move
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.signing import KeySigner, verify1
from support.brokers import Broker
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import EdgePeer, block, intervals_entry
from support.waiting import wait_until

pytestmark = pytest.mark.broker
NOW_MS = START_MS + 6 * 3_600_000


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


@pytest.fixture
def signer() -> KeySigner:
    return KeySigner.from_seed(b"\x05" * 32)


@pytest.fixture
def worker(street: Street, signer: KeySigner, broker: Broker) -> Iterator[Worker]:
    settings = BrokerSettings(broker.host, broker.port, "mdm-test", "workers")
    worker = Worker(street.db, ManualClock(NOW_MS), signer, settings)
    worker.start()
    assert worker.link.wait_up(10)
    yield worker
    worker.stop()


@pytest.fixture
def peer(worker: Worker, street: Street, broker: Broker) -> Iterator[EdgePeer]:
    peer = EdgePeer(street.dcu, broker.port).start()
    yield peer
    peer.stop()


def test_a_batch_is_committed_and_receipted(peer: EdgePeer, street: Street) -> None:
    for quarter in range(8):
        start = START_MS + quarter * 900_000
        peer.add(lambda seq, start=start: intervals_entry(seq, *(block(m, start, [100 + m]) for m in street.meters)))
    peer.send_waiting(NOW_MS)
    wait_until(lambda: peer.receipted == 8, 10, "receipt up to 8")
    with street.db.read() as conn:
        series = read_intervals(conn, 1, START_MS, START_MS + 8 * 900_000)
    assert list(series.values) == [101] * 8
    assert all(series.present)


def test_what_cannot_be_read_is_set_aside_and_the_stream_goes_on(peer: EdgePeer, street: Street) -> None:
    peer.publish("live", b"\xff\x00 not cbor")
    peer.add(lambda seq: Entry(seq, EntryKind.INTERVALS, b"\x81\x01"))
    peer.add(lambda seq: intervals_entry(seq, block(1, START_MS, [5])))
    peer.send_waiting(NOW_MS)
    wait_until(lambda: peer.receipted == 2, 10, "receipt up to 2")
    with street.db.read() as conn:
        rows = poison.waiting(conn)
        assert list(read_intervals(conn, 1, START_MS, START_MS + 900_000).values) == [5]
    assert sorted(row.channel for row in rows) == ["entry", "live"]
    assert all(row.reason for row in rows)


def test_hello_is_welcomed_with_signed_heads_and_the_configuration(peer: EdgePeer, street: Street, signer: KeySigner) -> None:
    peer.add(lambda seq: intervals_entry(seq, block(1, START_MS, [5])))
    peer.send_waiting(NOW_MS)
    wait_until(lambda: peer.receipted == 1, 10)
    peer.hello(NOW_MS)
    payload = wait_until(lambda: peer.got("welcome"), 10, "a welcome")[0]
    keys = {signer.key_id: signer.public}
    welcome = decode(Welcome, verify1(keys, "welcome", payload))
    assert [(h.stream_id, h.lane, h.receipted) for h in welcome.streams] == [(peer.stream_id, int(peer.lane), 1)]
    envelope = wait_until(lambda: peer.got("config"), 10, "a configuration")[0]
    config = decode(DcuConfig, verify1(keys, "config", envelope))
    assert [m.serial for m in config.meters] == ["M-1", "M-2", "M-3"]
    assert [a.account_no for a in config.accounts] == [1, 2, 3]
    assert [t.tariff_id for t in config.tariffs] == ["home"]


def test_an_edge_behind_the_receipts_gets_a_new_stream(peer: EdgePeer, signer: KeySigner) -> None:
    for quarter in range(3):
        peer.add(lambda seq, quarter=quarter: intervals_entry(seq, block(1, START_MS + quarter * 900_000, [quarter])))
    peer.send_waiting(NOW_MS)
    wait_until(lambda: peer.receipted == 3, 10)
    peer.next_seq = 2
    peer.hello(NOW_MS)
    payload = wait_until(lambda: peer.got("welcome"), 10)[0]
    welcome = decode(Welcome, verify1({signer.key_id: signer.public}, "welcome", payload))
    assert welcome.new_stream_ids == (peer.stream_id,)


def test_a_command_goes_down_signed_and_its_end_comes_back(peer: EdgePeer, street: Street, signer: KeySigner) -> None:
    request = CommandRequest(1, CommandType.READ_INSTANT, "staff:ada", "customer on the phone")
    with street.db.write() as conn:
        issued = commands.issue(conn, signer, request, NOW_MS)
    envelope = wait_until(lambda: peer.got("command"), 10, "the command")[0]
    command = decode(Command, verify1({signer.key_id: signer.public}, "command", envelope))
    assert command.cmd_id == issued.cmd_id
    receipt = CommandReceipt(command.cmd_id, 1, CommandState.DONE, NOW_MS + 5, "", b"\xa1\x01\x02")
    peer.add(lambda seq: Entry(seq, EntryKind.COMMAND_RECEIPT, encode(receipt)))
    peer.send_waiting(NOW_MS)
    wait_until(lambda: peer.receipted == 1, 10)
    with street.db.read() as conn:
        told = commands.notices(conn, "staff:ada")
    assert [(n.cmd_id, n.state) for n in told] == [(issued.cmd_id, CommandState.DONE)]


def test_batches_twice_and_in_any_order_leave_one_of_each(peer: EdgePeer, street: Street) -> None:
    entries = [intervals_entry(n, block(1, START_MS + (n - 1) * 900_000, [n])) for n in range(1, 7)]
    for order in ([5, 6], [1, 3], [3, 5], [2, 4], [1, 2, 3, 4, 5, 6]):
        peer.publish("live", encode(Batch(peer.stream_id, int(peer.lane), tuple(entries[n - 1] for n in order), NOW_MS)))
    wait_until(lambda: peer.receipted == 6, 10)
    with street.db.read() as conn:
        assert list(read_intervals(conn, 1, START_MS, START_MS + 6 * 900_000).values) == [1, 2, 3, 4, 5, 6]
        assert poison.waiting(conn) == ()


def test_the_broker_may_die_and_forget_everything(peer: EdgePeer, street: Street, broker: Broker, worker: Worker) -> None:
    """What was sent into the dead broker goes again; nothing relies on its memory."""
    quarters = 12
    for quarter in range(quarters):
        peer.add(lambda seq, quarter=quarter: intervals_entry(seq, block(1, START_MS + quarter * 900_000, [quarter])))
    wait_until(lambda: peer.send_when_quiet(NOW_MS, 3, 0.5) or peer.receipted >= 3, 20, "the first receipts")
    broker.kill()
    wait_until(lambda: not worker.link.is_up, 40, "the worker notices")
    broker.start()
    wait_until(lambda: peer.send_when_quiet(NOW_MS, 3, 0.5) or peer.receipted == quarters, 60, "all receipts")
    with street.db.read() as conn:
        series = read_intervals(conn, 1, START_MS, START_MS + quarters * 900_000)
        assert interval_counts(conn, START_MS, START_MS + quarters * 900_000)[0].duplicates == 0
    assert list(series.values) == list(range(quarters))


def test_an_instrument_goes_again_until_the_mirror_shows_it(peer: EdgePeer, street: Street, signer: KeySigner) -> None:
    with street.db.write() as conn:
        paid = pay_at_desk(conn, payments_from(signer, "", ()), 1, 10_000_000_000, "R-1", NOW_MS, "test")
    assert paid.instrument is not None
    envelope = wait_until(lambda: peer.got("instrument"), 10, "the instrument")[0]
    instrument = decode(Instrument, verify1({signer.key_id: signer.public}, "instrument", envelope))
    assert (instrument.account_no, instrument.gseq, instrument.amount_nano) == (1, 1, 10_000_000_000)
    opened = LedgerEntry(1, 1, 1, GENESIS, Kind.OPEN, NOW_MS, meter_no=1, register_after_wh=0, day_after=1)
    credit = LedgerEntry(1, 1, 2, opened.entry_hash, Kind.CREDIT, NOW_MS, move(Pool.RECEIVED, Pool.PAID, instrument.amount_nano),
                         gseq=1, cause=instrument.payment_ref)  # fmt: skip
    journal = JournalRange(1, 1, 1, (opened.to_bytes(), credit.to_bytes()))
    peer.add(lambda seq: Entry(seq, EntryKind.JOURNAL, encode(journal)))
    peer.send_waiting(NOW_MS)
    wait_until(lambda: peer.receipted == 1, 10)
    with street.db.read() as conn:
        assert [row.done_ms for row in conn.execute(select(outbox_down).where(outbox_down.c.channel == "instrument"))] == [NOW_MS]
        assert balance(conn, 1).balance_nano == 10_000_000_000
