"""The real agent process on real ptys with real brokers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gridtally_shared.contract.messages import EntryKind
from support.brokers import Broker, running
from support.edge_site import DCU, EdgeSite, dcu_environment, edge_site, run_dcu
from support.little_cloud import LittleCloud
from support.waiting import wait_until

HEAVY = ("numpy", "pandas", "flask", "sqlite_utils", "sqlalchemy", "asyncio", "pymodbus", "cryptography.x509", "rich")

RUN_AND_LIST = """
import json, sys, threading
from pathlib import Path
from gridtally_edge.agent import Agent
from gridtally_edge.config import load_config
config = load_config(Path(sys.argv[1]))
agent = Agent(config)
def stop_when_read():
    while not (config.status_file.exists() and json.loads(config.status_file.read_text())["samples"]):
        threading.Event().wait(0.1)
    agent.stop()
threading.Thread(target=stop_when_read, daemon=True).start()
agent.run()
print(json.dumps(sorted(sys.modules)))
"""


def has_read(site: EdgeSite, intervals: int) -> bool:
    status = site.status()
    return bool(status) and all(row["intervals"] >= intervals for row in status["meters"])


@pytest.mark.broker
def test_readings_of_every_meter_arrive_and_the_agent_ends_cleanly(tmp_path: Path, broker: Broker) -> None:
    cloud = LittleCloud(broker.port, DCU)
    try:
        with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=2, modbus=2) as site:
            cloud.now_ms, cloud.config = site.clock.now_ms, site.cloud_config()
            site.start_agent()
            wait_until(lambda: has_read(site, 2), 60, "four meters are read")
            wait_until(lambda: len({key[0] for key in cloud.intervals()}) == 4, 30, "intervals of four meters arrive")
            assert {v.meter_no for r in cloud.of_kind(EntryKind.READINGS) for v in r.values} == {1, 2, 3, 4}  # type: ignore[attr-defined]
            shown = run_dcu("status", "--config", str(site.config_file))
            assert shown.returncode == 0, shown.stderr
            assert "uplink     open" in shown.stdout
            assert shown.stdout.count("last contact") == 4
            assert site.stop_agent() == 0
            wait_until(lambda: cloud.gone == 1, 10, "the will is said at a clean end")
            assert [line for line in site.log.splitlines() if json.loads(line)["level"] == "error"] == []
            assert cloud.hellos[0].clock_state == 0
    finally:
        cloud.close()


@pytest.mark.broker
def test_the_broker_dies_for_a_while_and_nothing_is_lost(tmp_path: Path, broker: Broker) -> None:
    cloud = LittleCloud(broker.port, DCU)
    try:
        with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=1, modbus=1) as site:
            cloud.now_ms, cloud.config = site.clock.now_ms, site.cloud_config()
            site.start_agent()
            wait_until(lambda: has_read(site, 2), 60, "the meters are read")
            broker.kill()
            wait_until(lambda: site.status()["uplink"]["state"] == "offline", 30, "the agent notices")
            before = site.status()["samples"]
            wait_until(lambda: site.status()["samples"] > before, 30, "metering goes on")
            broker.start()
            wait_until(lambda: site.status()["uplink"]["state"] == "open", 60, "the uplink is back")
            wait_until(lambda: site.status()["uplink"]["waiting"] < 5, 30, "the backlog is receipted")
            assert site.stop_agent() == 0
            stored = {row[:3] for row in site.rows("readings.db", "SELECT meter_no, quantity, start_ms FROM interval")}
            arrived = cloud.intervals()
            last_ms = max(row[2] for row in stored)
            assert {row for row in stored if row[2] < last_ms - 2 * 900_000} <= set(arrived)
            assert all(len(values) == 1 for values in arrived.values())
            assert cloud.reused == []
    finally:
        cloud.close()


def test_the_running_agent_has_imported_nothing_heavy(tmp_path: Path) -> None:
    with running("mosquitto") as broker:
        cloud = LittleCloud(broker.port, DCU)
        try:
            with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=1, modbus=1) as site:
                cloud.now_ms, cloud.config = site.clock.now_ms, site.cloud_config()
                command = [sys.executable, "-c", RUN_AND_LIST, str(site.config_file)]
                done = subprocess.run(command, env=dcu_environment(), capture_output=True, text=True, timeout=60, check=True)
                modules = set(json.loads(done.stdout.splitlines()[-1]))
                assert "gridtally_edge.agent" in modules
                assert [name for name in HEAVY if name in modules] == []
                assert (site.data / "readings.db").exists()
        finally:
            cloud.close()


def test_a_port_held_by_another_program_is_said_plainly(tmp_path: Path) -> None:
    with running("mosquitto") as broker:
        cloud = LittleCloud(broker.port, DCU)
        try:
            with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=0, modbus=1) as site:
                site.start_agent()
                wait_until(lambda: site.status().get("lines", [{}])[0].get("state") == "up", 30, "the agent holds the line")
                device = str(tmp_path / "street" / "modbus-1")
                second = run_dcu("read", "--line", device, "--driver", "eastron-sdm230", "--set", "unit=1")
                assert second.returncode == 4
                assert "holds the port" in second.stderr
                assert "Traceback" not in second.stderr
                assert site.stop_agent() == 0
        finally:
            cloud.close()
