"""The agent is killed (SIGKILL) at random moments, again and again, while it polls and sends: nothing is lost, nothing is
doubled, no number is used for two things."""

from __future__ import annotations

import json
import random
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gridtally_edge.polling.forming import Samples, form_intervals
from gridtally_edge.registry import Registry
from support.brokers import Broker
from support.edge_site import DCU, EdgeSite, edge_site, run_dcu
from support.little_cloud import LittleCloud
from support.waiting import wait_until

KILLS = 10
SEED = 20260101
INTERVAL_MS = 900_000
IMPORT, REGISTER = 11, 1


def polled_meters(site: EdgeSite) -> int:
    return sum(1 for row in site.status().get("meters", ()) if row["contact_ms"])


def has_intervals(site: EdgeSite) -> bool:
    rows = site.status().get("meters", ())
    return len(rows) == 4 and all(row["intervals"] for row in rows)


def is_all_sent(site: EdgeSite) -> bool:
    uplink = site.status().get("uplink", {})
    return uplink.get("state") == "open" and uplink.get("waiting") == 0


def starts_of(site: EdgeSite, meter_no: int) -> list[int]:
    query = f"SELECT start_ms FROM interval WHERE meter_no = {meter_no} AND quantity = {IMPORT} ORDER BY start_ms"
    return [row[0] for row in site.rows("readings.db", query)]


def kill_at_random(site: EdgeSite, chance: random.Random) -> None:
    """Some die while starting, most in the middle of sweeps, commits and batches."""
    site.start_agent()
    if chance.random() < 0.8:
        wait_until(lambda: polled_meters(site) > 0, 30, f"the agent polls:\n{site.log[-2000:]}")
    threading.Event().wait(chance.uniform(0.0, 1.2))
    site.stop_agent(signal.SIGKILL)


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)  # it is the agent that dies: one kind is enough
def test_killed_again_and_again_nothing_is_lost_doubled_or_renumbered(tmp_path: Path, broker: Broker) -> None:
    chance = random.Random(SEED)
    cloud = LittleCloud(broker.port, DCU)
    try:
        with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=2, modbus=2, factor=450.0) as site:
            cloud.now_ms = site.clock.now_ms
            cloud.config = site.cloud_config()
            for _ in range(KILLS):
                kill_at_random(site, chance)
            site.start_agent()
            wait_until(lambda: has_intervals(site) and is_all_sent(site), 60, f"all arrives:\n{site.log[-2000:]}")
            assert site.stop_agent() == 0
            check_cloud_has_all(site, cloud)
            check_profiles(site)
            check_formed(site)
    finally:
        cloud.close()


def check_cloud_has_all(site: EdgeSite, cloud: LittleCloud) -> None:
    assert cloud.reused == []
    for store in ("readings.db", "money.db"):
        stream = site.rows(store, "SELECT stream_id FROM outbox_stream")[0][0]
        for lane, next_seq in site.rows(store, "SELECT lane, next_seq FROM outbox_lane"):
            assert cloud.heads().get((stream, lane), 0) >= cloud_head_wanted(site, store, lane, next_seq)
    stored = site.rows("readings.db", "SELECT meter_no, quantity, start_ms, value FROM interval")
    arrived = cloud.intervals()
    assert all(len(values) == 1 for values in arrived.values())
    late = max(row[2] for row in stored) - 2 * INTERVAL_MS
    assert {row for row in stored if row[2] < late} <= {(*key, values[0][0]) for key, values in arrived.items()}
    assert set(arrived) <= {row[:3] for row in stored}


def cloud_head_wanted(site: EdgeSite, store: str, lane: int, next_seq: int) -> int:
    """Everything but what the last moments before the stop may have added."""
    receipted = site.rows(store, f"SELECT receipted FROM outbox_lane WHERE lane = {lane}")[0][0]
    assert next_seq - 1 - receipted <= 20
    return int(receipted)


def check_profiles(site: EdgeSite) -> None:
    """Without a gap, and what the meters themselves still say."""
    for meter_no in (1, 2):
        starts = starts_of(site, meter_no)
        assert starts == list(range(starts[0], starts[-1] + INTERVAL_MS, INTERVAL_MS))
    query = f"SELECT start_ms, value FROM interval WHERE meter_no = 1 AND quantity = {IMPORT}"
    stored = dict(site.rows("readings.db", query))
    first = Registry(site.data / "registry.json").meters()[0]
    words = [f"--set={key}={value}" for key, value in first.settings.items()]
    device, clock = site.folder / "street" / first.line, site.folder / "clock.json"
    since = datetime.fromtimestamp(max(stored) / 1000, UTC) - timedelta(hours=12)
    wanted = ("--what", "profile", "--from", since.isoformat(), "--virtual-clock", str(clock), "--json")
    asked = run_dcu("read", "--line", str(device), "--driver", first.driver, *words, *wanted)
    assert asked.returncode == 0, asked.stderr
    rows = [r for r in json.loads(asked.stdout)["values"] if r["quantity"] == "interval_import_wh" and r["at_ms"] in stored]
    assert len(rows) >= 20
    assert [(r["at_ms"], r["value"]) for r in rows] == [(r["at_ms"], stored[r["at_ms"]]) for r in rows]


def check_formed(site: EdgeSite) -> None:
    """Intervals made at the edge over many lives are those that all samples together make at once."""
    for meter_no in (3, 4):
        starts = starts_of(site, meter_no)
        assert starts == list(range(starts[0], starts[-1] + INTERVAL_MS, INTERVAL_MS))
        samples = site.rows(
            "readings.db", f"SELECT at_ms, value FROM sample WHERE meter_no = {meter_no} AND quantity = {REGISTER} ORDER BY at_ms"
        )
        at_once = form_intervals(
            Samples(REGISTER, [s[0] for s in samples], [s[1] for s in samples]), starts[0], starts[-1] + INTERVAL_MS, INTERVAL_MS
        )
        values = site.rows(
            "readings.db",
            f"SELECT value FROM interval WHERE meter_no = {meter_no} AND quantity = {IMPORT} AND version = 0 ORDER BY start_ms",
        )
        assert [v[0] for v in values] == [r.value for r in at_once]
