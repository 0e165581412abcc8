"""The worker process is killed with SIGKILL at random moments under load; nothing is lost and nothing is doubled.

The broker is a real one and the other end sends again until it has a receipt, as an edge must. Afterwards the store is
compared with what was sent, value by value.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.ingest import poison
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.report import interval_counts
from gridtally_cloud.store.tables import event
from gridtally_shared.clock import SharedClock
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Entry, EntryKind, Event
from support.brokers import Broker, running
from support.cloud_store import START_MS, new_street
from support.edge_peer import EdgePeer, block, intervals_entry
from support.required import ROOT
from support.waiting import wait_until

KILLS = 30
QUARTER_MS = 900_000
METERS = 3
SENT_PER_ROUND = 25


@pytest.fixture
def mosquitto() -> Iterator[Broker]:
    with running("mosquitto") as started:
        yield started


def _config(folder: Path, broker: Broker) -> Path:
    path = folder / "mdm.toml"
    path.write_text(
        f'data_dir = "."\nvirtual_clock_file = "clock.json"\nlog_level = "error"\n'
        f'[broker]\nhost = "{broker.host}"\nport = {broker.port}\n',
        encoding="utf-8",
    )
    return path


@contextlib.contextmanager
def _running_worker(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that does not outlive a failed assertion."""
    worker = _worker(config)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def _worker(config: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(str(ROOT / part) for part in ("shared", "native", "cloud"))
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "gridtally_cloud.cli", "--config", str(config), "worker"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _event(seq: int, at_ms: int) -> Entry:
    return Entry(seq, EntryKind.EVENT, encode(Event(1, 101, at_ms, f"event {seq}")))


def wh_of(quarter: int, meter_no: int) -> int:
    """Told apart by meter and time, and never more than the service allows: VEE would have an estimate in its place."""
    return quarter % 300 * 10 + meter_no


class Load:
    """What was sent, to compare with what is stored."""

    def __init__(self, peer: EdgePeer) -> None:
        self.peer = peer
        self.quarters = 0
        self.events = 0

    def add(self) -> None:
        start, value = START_MS + self.quarters * QUARTER_MS, self.quarters
        blocks = [block(m, start, [wh_of(value, m)]) for m in range(1, METERS + 1)]
        self.peer.add(lambda seq: intervals_entry(seq, *blocks))
        self.peer.add(lambda seq: _event(seq, start))
        self.quarters += 1
        self.events += 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.covers_part("C3-FR12")
def test_kill_9_of_the_worker_loses_and_doubles_nothing(tmp_path: Path, mosquitto: Broker) -> None:
    random.seed(20261121)
    street = new_street(tmp_path, METERS)
    SharedClock.create(tmp_path / "clock.json", START_MS + 40 * 86_400_000, 1.0)
    config = _config(tmp_path, mosquitto)
    peer = EdgePeer(street.dcu, mosquitto.port).start()
    load, killed_in_work = Load(peer), 0
    for _ in range(KILLS):
        for _ in range(SENT_PER_ROUND):
            load.add()
        before = peer.receipted
        with _running_worker(config) as worker:
            wait_until(lambda: _sent_and_receipted(peer, before), 60, "the first receipt of this worker")  # noqa: B023
            kill_beyond = random.randrange(before + 1, peer.next_seq - 1)
            wait_until(lambda: _sent_and_receipted(peer, kill_beyond), 60, "some receipts")  # noqa: B023
            killed_in_work += bool(peer.waiting)
            worker.send_signal(signal.SIGKILL)
    load.add()  # the last worker has something to answer: before that it may not be ready to be told to end
    with _running_worker(config) as worker:
        wait_until(lambda: _sent_and_receipted(peer, peer.next_seq - 2), 90, "all receipts")
        worker.terminate()
        assert worker.wait(timeout=20) == 0
    peer.stop()
    assert killed_in_work >= KILLS // 2
    with street.db.read() as conn:
        for m in range(1, METERS + 1):
            series = read_intervals(conn, m, START_MS, START_MS + load.quarters * QUARTER_MS)
            assert all(series.present)
            assert list(series.values) == [wh_of(q, m) for q in range(load.quarters)]
        counts = interval_counts(conn, START_MS, START_MS + load.quarters * QUARTER_MS)
        assert [(c.stored, c.duplicates, c.conflicts) for c in counts] == [(load.quarters, 0, 0)] * METERS
        details = list(conn.execute(select(event.c.detail)).scalars())
        assert len(details) == len(set(details)) == load.events
        assert poison.waiting(conn) == ()
    street.db.close()


def _sent_and_receipted(peer: EdgePeer, beyond: int) -> bool:
    """Send what waits, a few entries a batch, and see whether a receipt reached beyond a number."""
    peer.send_when_quiet(START_MS, limit=random.choice((1, 3, 8, 20)), again_s=0.3)
    return peer.receipted > beyond
