"""`gridtally-dcu read` on simulated lines: every question, every way to name a line, switching with its guards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.cli import main
from gridtally_edge.drivers.driver import LineDefaults
from gridtally_edge.oneshot import managed
from gridtally_edge.oneshot.asked import WHATS
from gridtally_edge.oneshot.where import where_of
from gridtally_edge.oneshot.who import PROTOCOLS, driver_for, settings_for
from gridtally_edge.simulators.house import Contactor
from gridtally_edge.simulators.running import RunningStreet, open_street
from gridtally_edge.simulators.street import Street, StreetLine, StreetMeter, StreetProtocol
from gridtally_shared.clock import SystemClock
from gridtally_shared.errors import ConfigError
from support.brokers import running
from support.edge_site import DCU, edge_site, run_dcu
from support.little_cloud import LittleCloud
from support.required import ROOT
from support.waiting import wait_until

SERIAL = "18273645"
"""Of no other test: agents of tests that run beside this one look after theirs."""
MANAGED = "10000001"
CODING = LineDefaults(9_600)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningStreet, Path]]:
    folder = tmp_path_factory.mktemp("street")
    lines = (StreetLine("dlms", StreetProtocol.DLMS, baud=115_200), StreetLine("modbus", StreetProtocol.MODBUS, "tcp://127.0.0.1:0"),
             StreetLine("mesh", StreetProtocol.MESH))  # fmt: skip
    meters = (StreetMeter("dlms", SERIAL, 17), StreetMeter("modbus", "20000001", 1), StreetMeter("mesh", "30000001", 1))
    with open_street(Street(lines, meters), folder, SystemClock()) as running_street:
        yield running_street, folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "gridtally" / managed.LOG_NAME


def ask(street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    line = ["--line", f"serial://{street[1] / 'dlms'}?baud=115200", "--protocol", "dlms-hdlc", "--server", "17", "--password", "ABCD0001"]
    assert main(["read", *line, *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["serial"] == SERIAL
    return found


# ---- what is asked --------------------------------------------------------------------------------------------


def test_the_json_has_the_keys_of_its_document_whatever_is_asked(
    street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "read.md").read_text()
    rows = {name for cell in re.findall(r"^\| (`.*?) \| (?:text|object|whole|list)", text, re.M) for name in re.findall(r"`(\w+)`", cell)}
    for what in WHATS:
        assert {*ask(street, capsys, "--what", what), "result", "switch_before"} == rows


def test_identity_is_the_name_plate(street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(street, capsys, "--what", "identity")
    assert (found["identity"]["serial"], found["identity"]["maker"]) == (SERIAL, "Gridtally")
    assert abs(found["clock_offset_ms"]) < 5_000


def test_instant_has_whole_numbers_with_obis_and_unit(street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(street, capsys)
    energy = next(v for v in found["values"] if v["quantity"] == "energy_import_wh")
    assert (energy["obis"], energy["unit"], energy["exponent"], energy["quality"]) == ("1.0.1.8.0.255", "Wh", 0, [])
    assert isinstance(energy["value"], int)
    assert found["switch"] == "closed"


def test_a_profile_is_bounded_by_from_and_to(street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(street, capsys, "--what", "profile", "--from", "2026-11-01", "--to", "2026-11-01T01:00:00Z")
    starts = sorted({v["at"] for v in found["values"] if v["quantity"] == "interval_import_wh"})
    assert starts == [f"2026-11-01T00:{m}:00Z" for m in ("00", "15", "30", "45")]


def test_an_object_is_read_with_its_attributes_by_name(street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = {row["attribute"]: row["value"] for row in ask(street, capsys, "--what", "object:1.0.1.8.0.255")["object"]}
    assert found["class"] == "3 register"
    assert {"value", "scaler_unit"} <= set(found)


def test_a_mesh_meter_and_a_modbus_meter_are_read_by_their_addresses(
    street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = json.loads((street[1] / "inventory.json").read_text())
    place = next(m for m in inventory["meters"] if m["serial"] == "30000001")["settings"]
    host = f"[{place['host']}]" if ":" in place["host"] else place["host"]
    line = f"{place.get('over') or 'udp'}://{host}:{place['port']}"
    assert main(["read", "--line", line, "--protocol", "dlms-wrapper", "--password", "ABCD0001", "--what", "identity", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["serial"] == "30000001"
    modbus = street[0].lines["modbus"].port.address()
    assert main(["read", "--line", modbus, "--protocol", "modbus-rtu", "--driver", "eastron-sdm230", "--server", "1"]) == 0
    assert "20000001" in capsys.readouterr().out


def words_for(inventory: dict[str, Any], serial: str) -> list[str]:
    """How a person would name this meter on the command line, from what the street says of itself."""
    entry = next(m for m in inventory["meters"] if m["serial"] == serial)
    line = next(x for x in inventory["lines"] if x["name"] == entry["line"])
    settings = dict(entry["settings"])
    where = line["device"]
    if "host" in settings:
        host = settings.pop("host")
        where = f"udp://{f'[{host}]' if ':' in host else host}:{settings.pop('port')}"
    if "node" in settings:
        where = f"{where}?baud={line['baud']}&codec={line['codec']}#{settings.pop('node')}"
    settings.pop("hops", None)
    if "software_parity" in settings:
        where = f"serial://{where}?parity=N"
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return ["read", "--line", where, "--driver", entry["driver"], *sets, "--wait", "20", "--json"]


@pytest.mark.parametrize("protocol", [p for p in StreetProtocol if p is not StreetProtocol.DLMS], ids=lambda p: p.value)
def test_a_meter_of_every_protocol_is_simulated_and_read(
    protocol: StreetProtocol, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a street file to the register of the same house, over real ports, whatever the protocol."""
    serial = "18273699"
    meters = (StreetMeter("line", serial, 1, contactor=Contactor.WORKS, medium="electricity"),)
    street = Street((StreetLine("line", protocol, every_ms=500),), meters)
    with open_street(street, tmp_path / "street", SystemClock()) as running_street:
        inventory = json.loads((tmp_path / "street" / "inventory.json").read_text())
        assert main(words_for(inventory, serial)) == 0
        found = json.loads(capsys.readouterr().out)
        truth = running_street.meter(serial).snapshot().energy_import_wh
    shown = {v["quantity"]: v["value"] for v in found["values"]}
    assert found["serial"] == serial
    assert abs(shown["energy_import_wh"] - truth) <= 100


# ---- how a line and a meter are named -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "protocol", "device", "place"),
    [
        ("/dev/ttyUSB0", "mbus", "/dev/ttyUSB0", {}),
        ("serial:///dev/ttyUSB0?baud=2400&parity=E", "mbus", "/dev/ttyUSB0", {}),
        ("tcp://10.0.0.1:4001", "dlms-hdlc", "tcp://10.0.0.1:4001", {}),
        ("tcp://10.0.0.1", "modbus-tcp", "modbus-tcp://10.0.0.1:502", {}),
        ("tcp://[::1]:4059", "dlms-wrapper", "ip://", {"host": "::1", "port": 4059, "over": "tcp"}),
        ("udp://10.0.0.1", "dlms-wrapper", "ip://", {"host": "10.0.0.1", "port": 4059, "over": "udp"}),
        ("modem:///dev/ttyUSB1?codec=at#00124B01", "dlms-hdlc", "modem:///dev/ttyUSB1", {"node": "00124B01"}),
    ],
)
def test_every_kind_of_line_has_a_word(line: str, protocol: str, device: str, place: dict[str, Any]) -> None:
    where = where_of(line, protocol, CODING)
    assert (where.settings.device, where.place) == (device, place)


def test_the_coding_of_a_serial_line_is_in_its_word() -> None:
    speed = where_of("serial:///dev/x?baud=2400&parity=E&stop_bits=1", "mbus", CODING).settings.speed
    assert (speed.baud, speed.parity) == (2_400, "E")


@pytest.mark.parametrize(
    "line",
    ["carrier://pigeon", "tcp://:5", "tcp://host:port", "serial:///dev/x?colour=red", "serial:///dev/x?baud=fast", "serial://?baud=1",
     "modem:///dev/ttyUSB0", "serial:///dev/x?echo=maybe"],
)  # fmt: skip
def test_a_word_that_is_no_line_is_refused_with_what_to_write(line: str) -> None:
    with pytest.raises(ConfigError, match=r"write|known are"):
        where_of(line, "dlms-hdlc", CODING)


def test_every_protocol_has_a_driver_or_asks_for_one() -> None:
    for protocol, name in PROTOCOLS.items():
        if name:
            assert driver_for(protocol, None).name == name
        else:
            with pytest.raises(ConfigError, match="name the model"):
                driver_for(protocol, None)


def test_a_driver_of_another_protocol_and_an_option_it_lacks_are_refused() -> None:
    with pytest.raises(ConfigError, match="it speaks"):
        driver_for("mbus", "eastron-sdm230")
    with pytest.raises(ConfigError, match="has no such setting"):
        settings_for(driver_for("modbus-rtu", "eastron-sdm230"), {"auth": "gmac"}, [])


def test_shared_options_become_the_drivers_own_settings() -> None:
    options = {"server": "17", "client": "48", "auth": "low", "password": "x", "key": "00" * 16}
    made = settings_for(driver_for("dlms-hdlc", None), options, ["window=3"])
    assert made == {"physical_address": 17, "client_address": 48, "auth": "lls", "password": "x", "key": "00" * 16, "window": 3}


# ---- switching ------------------------------------------------------------------------------------------------


def test_a_switch_from_a_shell_is_asked_for_read_back_and_written_down(
    street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    cut = ask(street, capsys, "--disconnect", "--yes")
    assert (cut["result"], cut["switch_before"], cut["switch"]) == ("done", "closed", "open")
    back = ask(street, capsys, "--reconnect", "--yes")
    assert (back["result"], back["switch"]) == ("done", "closed")
    rows = [json.loads(line) for line in home.read_text().splitlines()]
    assert [(r["serial"], r["act"], r["result"]) for r in rows] == [
        (SERIAL, "open", "ordered"), (SERIAL, "open", "done"), (SERIAL, "close", "ordered"), (SERIAL, "close", "done")
    ]  # fmt: skip


def test_without_a_person_and_without_yes_nothing_is_switched(
    street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    words = ["read", "--line", str(street[1] / "dlms"), "--protocol", "dlms-hdlc", "--server", "17", "--password", "ABCD0001"]
    assert main([*words, "--disconnect"]) == ConfigError.exit_code
    assert "--yes" in capsys.readouterr().err
    assert not home.exists()
    assert ask(street, capsys)["switch"] == "closed"


def test_a_log_that_can_not_be_written_stops_the_switch_action(
    street: tuple[RunningStreet, Path], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    home.parent.parent.write_text("a file where a folder should be")
    words = ["read", "--line", str(street[1] / "dlms"), "--protocol", "dlms-hdlc", "--server", "17", "--password", "ABCD0001"]
    assert main([*words, "--disconnect", "--yes"]) == ConfigError.exit_code
    capsys.readouterr()
    home.parent.parent.unlink()
    assert ask(street, capsys)["switch"] == "closed"


@pytest.mark.slow
def test_a_meter_of_a_running_agent_is_not_switched_from_a_shell(tmp_path: Path) -> None:
    """On another road to a meter of the same serial, so that the port is not what stops it."""
    other = Street((StreetLine("other", StreetProtocol.DLMS),), (StreetMeter("other", MANAGED, 17),))
    with running("embedded") as broker:
        cloud = LittleCloud(broker.port, DCU)
        try:
            with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=1, modbus=0) as site:
                site.start_agent()
                wait_until(lambda: MANAGED in site.log or MANAGED in str(site.status()), 30, "the agent has met its meter")
                with open_street(other, tmp_path / "other-street", SystemClock()):
                    words = ("--line", str(tmp_path / "other-street" / "other"), "--protocol", "dlms-hdlc", "--server", "17")
                    done = run_dcu("read", *words, "--password", "ABCD0001", "--disconnect", "--yes")
                assert (done.returncode, "looked after by the agent" in done.stderr) == (7, True), done.stderr
                assert site.stop_agent() == 0
        finally:
            cloud.close()
