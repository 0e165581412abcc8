"""Several workers on one PostgreSQL: they share the work, and one that is killed in the middle of it loses and doubles nothing.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.store import work
from gridtally_cloud.store.intervals import hold_points, read_intervals
from gridtally_cloud.store.report import interval_counts
from gridtally_cloud.store.tables import interval_block, interval_inbox, usage_day, vee_run
from gridtally_cloud.store.work import work_item
from gridtally_shared.clock import SharedClock
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Batch
from gridtally_shared.signing import KeySigner
from support.brokers import Broker, running
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import EdgePeer, block, intervals_entry
from support.required import ROOT
from support.stores import ON_POSTGRES
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="several workers share a PostgreSQL: GRIDTALLY_STORE=postgresql")

DAY_MS, QUARTER_MS, DAYS, METERS = 86_400_000, 900_000, 2, 24
NOW_MS = START_MS + 3 * DAY_MS
HELD_POINT = 3
SIGNER = KeySigner.from_seed(b"\x05" * 32)


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path, METERS)
    yield street
    street.db.close()


def _batch(lane: int, stream: bytes) -> bytes:
    """Whole days of every meter."""
    entries = [
        intervals_entry(day + 1, *(block(m, START_MS + day * DAY_MS, [_wh(m, q) for q in range(96)]) for m in range(1, METERS + 1)))
        for day in range(DAYS)
    ]
    return encode(Batch(stream, lane, tuple(entries), NOW_MS))


def _wh(meter_no: int, quarter: int) -> int:
    return quarter % 90 * 10 + meter_no


def test_one_message_in_two_workers_and_two_lanes_at_once_is_taken_in_once(street: Street) -> None:
    """The same batch twice, and the same values in another lane: whoever comes second finds what the first has put there."""
    live, backlog = BY_NAME["live"], BY_NAME["backlog"]
    assert live.lane is not None
    assert backlog.lane is not None
    sent = [(live, _batch(live.lane, b"\x01" * 16))] * 2 + [(backlog, _batch(backlog.lane, b"\x01" * 16))] * 2
    threads = [
        threading.Thread(target=Ingest(street.db, SIGNER).handle, args=(channel.topic(street.dcu), payload, NOW_MS))
        for channel, payload in sent
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with street.db.read() as conn:
        assert conn.execute(select(func.count(), func.sum(interval_inbox.c.n))).one() == (METERS * DAYS, METERS * DAYS * 96)
        totals = conn.execute(select(usage_day.c.channel_no, usage_day.c.total, usage_day.c.present)).all()
    meter_of = _meters(street)
    assert {(meter_of[t.channel_no], t.total, t.present) for t in totals} == {
        (m, sum(_wh(m, q) for q in range(96)), 96) for m in range(1, METERS + 1)
    }


def _meters(street: Street) -> dict[int, int]:
    """Meter by channel."""
    with street.db.read() as conn:
        return {c.channel_no: c.meter_no for c in interval_counts(conn, START_MS, START_MS + DAY_MS)}


def test_a_worker_that_stands_in_its_work_holds_up_no_other_even_after_its_lease(street: Street) -> None:
    """The second has seen the same work; the first one's rows are passed over, and nothing is waited for."""
    began, go_on, at_work = threading.Event(), threading.Event(), list[list[int]]()

    def slowly(_conn: Connection, points: Sequence[int]) -> None:
        at_work.append(list(points))
        if 1 in points:
            began.set()
            assert go_on.wait(30)

    def work_on(name: str, now_ms: int) -> None:
        work.share_lots(street.db, "close", [[1, 2], [3, 4]], slowly, now_ms, work.Hand(name))

    first = threading.Thread(target=work_on, args=("first", NOW_MS))
    second = threading.Thread(target=work_on, args=("second", NOW_MS + 2 * work.LEASE_REAL_MS))
    first.start()
    assert began.wait(30)
    second.start()
    second.join(timeout=10)
    passed = not second.is_alive()
    go_on.set()
    first.join()
    second.join()
    assert passed
    assert at_work[:2] == [[1, 2], [3, 4]]
    assert at_work.count([1, 2]) == 1


@pytest.fixture
def mosquitto() -> Iterator[Broker]:
    with running("mosquitto") as started:
        yield started


def _worker(folder: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(str(ROOT / part) for part in ("shared", "native", "cloud"))
    command = [sys.executable, "-m", "gridtally_cloud.cli", "--config", str(folder / "mdm.toml"), "worker"]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL)


@pytest.mark.timeout(180)
def test_workers_share_the_nights_work_and_one_killed_in_it_loses_and_doubles_nothing(
    street: Street, tmp_path: Path, mosquitto: Broker
) -> None:
    SharedClock.create(tmp_path / "clock.json", NOW_MS, 1.0)
    (tmp_path / "mdm.toml").write_text(
        f'data_dir = "."\nvirtual_clock_file = "clock.json"\nlog_level = "error"\n[store]\nurl = "{street.db.url}"\n'
        f'[broker]\nhost = "{mosquitto.host}"\nport = {mosquitto.port}\n', encoding="utf-8")  # fmt: skip
    live = BY_NAME["live"]
    assert live.lane is not None
    Ingest(street.db, SIGNER).handle(live.topic(street.dcu), _batch(live.lane, b"\x02" * 16), NOW_MS)
    channel_of = {meter: channel for channel, meter in _meters(street).items()}
    arguments = {"from": "2026-02-02", "to": "2026-02-03", "folder": str(tmp_path / "out"), "format": "csv"}
    with street.db.write() as conn:
        run_no = work.start_run(conn, "export", range(1, METERS + 1), arguments, "test", NOW_MS)
    peer = EdgePeer(street.dcu, mosquitto.port).start()
    for q in range(20):
        peer.add(lambda seq, q=q: intervals_entry(seq, block(METERS, START_MS + DAYS * DAY_MS + q * QUARTER_MS, [_wh(METERS, q)])))  # type: ignore[misc]
    workers = [_worker(tmp_path), _worker(tmp_path)]
    try:
        with street.db.write() as conn:  # one of the workers stands before this usage point with its leases in hand
            hold_points(conn, [channel_of[HELD_POINT]])
            victim = wait_until(lambda: _stuck(street), 60, "a worker with leases, the other done with the rest")
            dead = next(w for w in workers if w.pid == victim)
            dead.kill()
            dead.wait()
        wait_until(lambda: _all_done(street, run_no, peer), 90, "everything done by the other worker")
        other = next(w for w in workers if w is not dead)
        other.terminate()
        assert other.wait(timeout=30) == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        peer.stop()
    with street.db.read() as conn:
        versions = conn.execute(select(interval_block.c.version, interval_block.c.source, func.count()).group_by("version", "source")).all()
        assert [tuple(v) for v in versions] == [(0, "raw", METERS * DAYS)]
        assert set(conn.execute(select(vee_run.c.status)).scalars()) == {"validated"}
        for meter_no, channel_no in channel_of.items():
            held = read_intervals(conn, channel_no, START_MS, START_MS + DAYS * DAY_MS)
            assert list(held.values) == [_wh(meter_no, q) for _ in range(DAYS) for q in range(96)]
        counts = interval_counts(conn, START_MS + DAYS * DAY_MS, START_MS + DAYS * DAY_MS + 20 * QUARTER_MS)
        assert [(c.stored, c.duplicates) for c in counts if c.meter_no == METERS] == [(20, 0)]
        (run,) = work.runs(conn)
        assert (run.done, run.refused, run.failed, run.ended_ms is not None) == (METERS, 0, 0, True)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {f"{m}.csv" for m in range(1, METERS + 1)}


def _stuck(street: Street) -> int:
    """The process that holds the lease of the held usage point, once nothing but its leases is left to close and judge."""
    w = work_item.c
    with street.db.read() as conn:
        leases = conn.execute(select(w.usage_point_no, w.owner).where(w.kind == "close", w.run_no == work.IN_THE_DATA)).all()
        judged = conn.execute(select(func.count()).select_from(vee_run).where(vee_run.c.status == "validated")).scalar_one()
    holders = {lease.owner for lease in leases if lease.usage_point_no == HELD_POINT and lease.owner}
    if len(holders) != 1 or judged < (METERS - len(leases)) * DAYS or not judged:
        return 0
    return int(holders.pop().rsplit(":", 1)[1])


def _all_done(street: Street, run_no: int, peer: EdgePeer) -> bool:
    peer.send_when_quiet(NOW_MS, 5, 1.0)
    with street.db.read() as conn:
        judged = conn.execute(select(func.count()).select_from(vee_run).where(vee_run.c.status == "validated")).scalar_one()
        ended = next(run.ended_ms for run in work.runs(conn) if run.run_no == run_no)
        left = conn.execute(select(func.count()).select_from(work_item).where(work_item.c.run_no == work.IN_THE_DATA)).scalar_one()
    return judged == METERS * DAYS and ended is not None and left == 0 and not peer.waiting
