"""A foreign client (gurux-dlms, GPL, in its own process) reads our simulated meter over TCP."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter
from gridtally_shared.clock import ManualClock
from support.dlms_wire import PASSWORD, START_MS, house

QUARTER_MS = 900_000
FIRST_MS = (START_MS // QUARTER_MS - 40) * QUARTER_MS
LAST_MS = START_MS // QUARTER_MS * QUARTER_MS


@pytest.fixture
def meter() -> HouseMeter:
    return house("GT0017", ManualClock(START_MS))


@pytest.fixture
def port(meter: HouseMeter) -> Iterator[int]:
    """The meter on a TCP port of the loopback; one client."""
    slave = DlmsSlave([DlmsUnit(meter, 17, max_pdu=300)])
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        thread = threading.Thread(target=_serve, args=(server, slave), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(60)


def _serve(server: socket.socket, slave: DlmsSlave) -> None:
    connection, _ = server.accept()
    with connection:
        connection.settimeout(60)
        while octets := connection.recv(4096):
            connection.sendall(slave.receive(octets))


def test_a_foreign_client_reads_and_switches_the_simulated_meter(port: int, meter: HouseMeter) -> None:
    if importlib.util.find_spec("gurux_dlms") is None:
        socket.create_connection(("127.0.0.1", port)).close()
        pytest.skip("the foreign DLMS client is not installed: pip install gurux-dlms")
    energy_wh = meter.snapshot().energy_import_wh
    rows = meter.profile(FIRST_MS, LAST_MS)
    moments = [datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat() for at_ms in (FIRST_MS, LAST_MS)]
    script = Path(__file__).with_name("gurux_reader.py")
    run = subprocess.run(
        [sys.executable, str(script), str(port), "17", PASSWORD, *moments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["serial"] == "GT0017"
    assert seen["clock"] * 1_000 == START_MS
    assert seen["energy_wh"] == energy_wh
    assert seen["columns"][0] == "0.0.1.0.0.255"
    assert [row[2] for row in seen["by_range"]] == [str(row.import_wh) for row in rows]
    assert len(seen["by_entry"]) == 3
    assert seen["closed"] is False
    assert meter.switch() is SwitchState.OPEN
