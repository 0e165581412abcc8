"""`gridtally-dcu scan` on every other kind of line it claims: M-Bus with a collision, a coordinator, radio, P1 and a mesh."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.cli import main
from gridtally_edge.scan.command import refuse_held
from gridtally_edge.simulators.network_street import node_of
from gridtally_edge.simulators.running import RunningStreet, open_street
from gridtally_edge.simulators.street import Street, StreetLine, StreetMeter, StreetProtocol, checked
from gridtally_shared.clock import SystemClock
from gridtally_shared.errors import ConfigError
from support.edge_site import edge_site, free_port, loopback, run_dcu
from support.waiting import wait_until

LINES = (
    StreetLine("bus", StreetProtocol.MBUS, baud=2_400, turnaround_ms=1),
    StreetLine("air", StreetProtocol.WMBUS, every_ms=150),
    StreetLine("p1", StreetProtocol.P1, every_ms=150),
    StreetLine("plc", StreetProtocol.COORDINATOR),
    StreetLine("mesh", StreetProtocol.MESH),
)
METERS = (
    StreetMeter("bus", "61000011", 11),
    StreetMeter("bus", "62000012", 12, medium="water"),
    StreetMeter("bus", "80000013", 13, medium="heat"),
    StreetMeter("air", "60000001", 1, medium="gas", cipher="plain"),
    StreetMeter("air", "60000002", 2),
    StreetMeter("p1", "70000001", 1),
    StreetMeter("plc", "40000001", 1),
    StreetMeter("plc", "40000002", 2, hops=2),
    StreetMeter("mesh", "30000001", 1),
)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStreet]:
    with open_street(checked(Street(LINES, METERS, utc_offset_min=60)), tmp_path_factory.mktemp("street"), SystemClock()) as running:
        yield running


def scanned(capsys: pytest.CaptureFixture[str], line: str, protocol: str, seconds: int = 1) -> list[dict[str, Any]]:
    main(["scan", "--line", line, "--protocol", protocol, "--seconds", str(seconds), "--json"])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_meters_on_m_bus_that_answer_at_once_are_told_apart(
    street: RunningStreet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["scan", "--line", f"serial://{street.device('bus')}?baud=2400", "--protocol", "mbus", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [row["serial"] for row in found] == ["61000011", "62000012", "80000013"]
    assert {row["driver"] for row in found} == {"mbus"}
    assert "21/21, 3 found" in printed.err


def test_a_coordinator_tells_its_nodes(street: RunningStreet, capsys: pytest.CaptureFixture[str]) -> None:
    found = scanned(capsys, f"modem://{street.device('plc').partition('://')[2] or street.device('plc')}", "modem", 2)
    assert {row["address"] for row in found if row["settings"]} == {node_of("40000001"), node_of("40000002")}
    assert all("hops" in row["note"] for row in found if row["settings"])


def test_radio_meters_are_heard_and_a_ciphered_one_is_named_by_its_sender(
    street: RunningStreet, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scanned(capsys, street.device("air"), "wmbus")
    assert ("60000001", "wmbus") in {(row["serial"], row["driver"]) for row in found}
    (sealed,) = [row for row in found if not row["serial"]]
    assert "60000002" in sealed["address"]
    assert "ciphered" in sealed["note"]


def test_a_meter_behind_a_p1_port_is_heard(street: RunningStreet, capsys: pytest.CaptureFixture[str]) -> None:
    found = scanned(capsys, street.device("p1"), "p1")
    assert ("70000001", "p1") in {(row["serial"], row["driver"]) for row in found}


def test_meters_of_a_mesh_are_known_by_their_pushes(street: RunningStreet, capsys: pytest.CaptureFixture[str]) -> None:
    host, port = loopback(), free_port()
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    over = threading.Event()

    def talk() -> None:
        while not over.wait(0.2):
            street.obey(f"push 30000001 instant to={place}")

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        found = scanned(capsys, f"udp://{place}", "dlms-wrapper")
    finally:
        over.set()
        talker.join()
    assert [row["serial"] for row in found] == ["30000001"]


def test_a_line_that_an_agent_holds_is_not_scanned(tmp_path: Path) -> None:
    with edge_site(tmp_path, free_port(), bytes(32), dlms=0, modbus=1, factor=1.0) as site:
        site.start_agent()
        wait_until(lambda: bool(site.status()), 20, "the agent runs")
        device = str(site.folder / "street" / site.street.lines[0].name)
        done = run_dcu("scan", "--line", f"serial://{device}?baud=9600", "--protocol", "modbus-rtu", "--addresses", "1-2")
        assert done.returncode == 3
        assert "holds it; stop it for the time of the scan" in done.stderr
        wait_until(lambda: is_refused(str(Path(device).resolve())), 20, "the agent has opened its line")


def is_refused(device: str) -> bool:
    try:
        refuse_held(device)
    except ConfigError:
        return True
    return False
