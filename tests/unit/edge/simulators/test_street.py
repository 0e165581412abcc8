"""A whole street: described as data, run by its command, spoilt through its socket, read with the real drivers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.model import DiagnosticState, MeterPort, SwitchState
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.simulators import run
from gridtally_edge.simulators.control import tell
from gridtally_edge.simulators.house import HouseMeter
from gridtally_edge.simulators.house_checks import FAULT_WORDS, HouseFault
from gridtally_edge.simulators.running import CONTROL, INVENTORY, RunningStreet, open_street
from gridtally_edge.simulators.street import StreetProtocol, default_street, load_street
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.line import Line
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import MS_PER_HOUR, ManualClock
from gridtally_shared.errors import ConfigError, LinkDown
from gridtally_shared.quantities import BY_NAME, ENERGY_IMPORT
from support.waiting import wait_until

START_MS = 1_795_000_500_000
ROOT = Path(__file__).resolve().parents[4]
TOML = """
seed = 5
[[lines]]
name = "a"
protocol = "modbus"
port = "tcp://127.0.0.1:0"
baud = 19200
[[meters]]
line = "a"
serial = "20000001"
address = 1
contactor = "none"
"""


class Reader:
    """What a DCU does with an inventory: lines, drivers, ports."""

    def __init__(self, inventory: Path) -> None:
        content = json.loads(inventory.read_text())
        self.meters = {meter["serial"]: meter for meter in content["meters"]}
        self.lines: dict[str, Line] = {}
        for line in content["lines"]:
            self.lines[line["name"]] = line_for(LineSettings(line["name"], line["device"], Speed(line["baud"])))
            self.lines[line["name"]].start()

    def submit(self, serial: str, talk: Callable[[MeterPort], Conversation]) -> Future:
        meter = self.meters[serial]
        driver = driver_named(meter["driver"])
        port = driver.make_port(settings_from(driver, meter["settings"]))
        return self.lines[meter["line"]].submit(session(port, talk), Priority.ON_DEMAND, serial)

    def close(self) -> None:
        for line in self.lines.values():
            line.close()


def session(port: MeterPort, talk: Callable[[MeterPort], Conversation]) -> Conversation:
    yield from port.open()
    result = yield from talk(port)
    yield from port.close()
    return result


def identify(port: MeterPort) -> Conversation:
    serial = yield from port.read_serial()
    readings = yield from port.read_instant(lambda: START_MS)
    return serial, {reading.quantity: reading.value for reading in readings}


def disconnect(port: MeterPort) -> Conversation:
    yield from port.open_switch()
    return (yield from port.read_switch())


@pytest.fixture
def street(tmp_path):
    clock = ManualClock(START_MS)
    with open_street(default_street(3, 3), tmp_path, clock) as running:
        yield running, clock


@pytest.fixture
def reader(street, tmp_path):
    found = Reader(tmp_path / INVENTORY)
    yield found
    found.close()


def test_every_meter_of_the_street_is_read_by_its_driver(street, reader):
    running, _ = street
    futures = {serial: reader.submit(serial, identify) for serial in reader.meters}
    for serial, future in futures.items():
        told, values = future.result(60)
        snapshot = running.meters[serial].snapshot()
        assert told == serial
        assert values[ENERGY_IMPORT.code] == pytest.approx(snapshot.energy_import_wh, abs=1)
        assert values[BY_NAME["voltage_mv"].code] == pytest.approx(snapshot.voltage_mv, abs=10)


@pytest.mark.covers("C3-A3.5")
def test_a_healthy_a_dead_and_a_stuck_meter_give_three_results(street, reader):
    running, clock = street
    running.obey("mute 10000002")
    running.obey("jam 10000003")
    healthy, dead, stuck = (reader.submit(f"1000000{n}", disconnect) for n in (1, 2, 3))
    assert healthy.result(60) is SwitchState.OPEN
    with pytest.raises(LinkDown, match="10000002"):
        dead.result(60)
    assert stuck.result(60) is SwitchState.CLOSED
    before = {serial: meter.snapshot().energy_import_wh for serial, meter in running.meters.items()}
    clock.advance(MS_PER_HOUR)
    used = {serial: meter.snapshot().energy_import_wh - before[serial] for serial, meter in running.meters.items()}
    assert used["10000001"] == 0
    assert used["10000002"] > 0
    assert used["10000003"] > 0


@pytest.mark.parametrize("fault", ["lead", "trail", "split", "flip times=1", "mute times=1"])
def test_both_protocols_come_through_a_fault_of_the_line(street, reader, fault):
    running, _ = street
    kind, *options = fault.split()
    for line in ("dlms-1", "modbus-1"):
        running.obey(" ".join((kind, f"line:{line}", *options)))
    for serial in ("10000001", "20000001"):
        assert reader.submit(serial, identify).result(60)[0] == serial


def test_the_socket_obeys_and_refuses_in_words(street, tmp_path):
    running, _ = street
    where = tmp_path / CONTROL
    assert tell(where, "status") == "ok no faults"
    assert tell(where, "late 20000002 ms=800 times=2") == "ok late 20000002"
    assert "late 20000002" in tell(where, "status")
    assert tell(where, "clear 20000002") == "ok cleared"
    assert tell(where, "echo line:modbus-1") == "ok echo line:modbus-1"
    assert running.lines["modbus-1"].faults.echo(b"?") == b"?"
    assert tell(where, "clear") == "ok cleared"
    assert tell(where, "event 10000001 251 by hand").startswith("ok")
    assert running.meters["10000001"].events()[-1].code == 251
    for wrong in ("dance", "mute", "mute 5", "mute line:x", "mute * how=1", "flip * bit=x", "jam", "event 10000001"):
        assert tell(where, wrong).startswith("error"), wrong
    assert running.lines["dlms-1"].faults.listed() == ()


FOUND_IN_USE = (HouseFault.BACKFEED, HouseFault.TIME_SYNC, HouseFault.PUSH, HouseFault.CLOCK)


def failed_checks(house: HouseMeter) -> list[str]:
    house.run_diagnostics()
    return [found.check for found in house.diagnostics() if found.state is DiagnosticState.FAILED]


def test_every_fault_of_a_house_is_put_in_and_lifted_over_the_socket(street, tmp_path):
    running, clock = street
    where, house = tmp_path / CONTROL, running.meters["10000001"]
    for fault in HouseFault:
        assert tell(where, f"house 10000001 {fault.value} on") == f"ok 10000001: {FAULT_WORDS[fault]}"
        assert tell(where, "status") == f"ok 10000001: {FAULT_WORDS[fault]}"
        assert failed_checks(house) == ([] if fault in FOUND_IN_USE else [fault.value])
        assert tell(where, f"house 10000001 {fault.value} off") == f"ok 10000001: {fault.value} is well again"
        clock.advance(1_000)
        assert failed_checks(house) == []
        assert tell(where, "status") == "ok no faults"


def test_what_is_no_fault_of_a_house_is_answered_with_those_that_are(street, tmp_path):
    where = tmp_path / CONTROL
    known = ", ".join(fault.value for fault in HouseFault)
    assert known in tell(where, "house 10000001 help")
    assert "house" in tell(where, "help").split("write one of ")[1].split(", ")
    assert "write on or off" in tell(where, "house 10000001 metrology")
    assert "write on or off" in tell(where, "house 10000001 metrology maybe")
    assert "write size=N" in tell(where, "house 10000001 consistency on size=x")
    assert "write one of 10000001" in tell(where, "house 5 metrology on")
    assert tell(where, "house 10000001 time_sync on size=1").startswith("ok")
    assert street[0].meters["10000001"].set_clock(START_MS + 5_000) is False
    assert street[0].meters["10000001"].set_clock(START_MS + 5_000) is True
    assert tell(where, "house 20000001 memory on").startswith("ok")
    assert tell(where, "clear") == "ok cleared"
    assert tell(where, "status") == "ok no faults"


def test_a_street_goes_on_where_it_stopped(tmp_path):
    clock = ManualClock(START_MS)
    with open_street(default_street(2, 1), tmp_path, clock) as running:
        running.meters["10000001"].operate_switch(False)
        before = {serial: meter.snapshot() for serial, meter in running.meters.items()}
    with open_street(default_street(2, 1), tmp_path, clock) as running:
        assert {serial: meter.snapshot() for serial, meter in running.meters.items()} == before
        assert running.meters["10000001"].switch() is SwitchState.OPEN


def test_the_default_street_is_twelve_and_twelve():
    street = default_street()
    assert [sum(m.line == line.name for m in street.meters) for line in street.lines] == [12, 12]
    assert [line.protocol for line in street.lines] == [StreetProtocol.DLMS, StreetProtocol.MODBUS]


def test_a_street_is_read_from_toml_and_json(tmp_path):
    (tmp_path / "street.toml").write_text(TOML)
    rows = {"lines": [{"name": "a", "protocol": "modbus", "port": "tcp://127.0.0.1:0", "baud": 19200}], "seed": 5}
    rows["meters"] = [{"line": "a", "serial": "20000001", "address": 1, "contactor": "none"}]
    (tmp_path / "street.json").write_text(json.dumps(rows))
    assert load_street(tmp_path / "street.toml") == load_street(tmp_path / "street.json")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('protocol = "modbus"', 'protocol = "telex"', "write one of dlms, modbus"),
        ("baud = 19200", 'baud = "fast"', "type int"),
        ("baud = 19200", "bauds = 19200", "no such key"),
        ('line = "a"', 'line = "b"', "write one of the lines"),
        ('serial = "20000001"\n', "", "is needed"),
        ("[[meters]]", "[[meter]]", r"needs at least one \[\[meters\]\]"),
        ("seed = 5", "seed = ", "not valid toml"),
    ],
)
def test_a_wrong_street_says_what_to_write(tmp_path, old, new, told):
    path = tmp_path / "street.toml"
    path.write_text(TOML.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        load_street(path)


def test_twins_are_refused(tmp_path):
    path = tmp_path / "street.toml"
    path.write_text(TOML + TOML[TOML.index("[[meters]]") :])
    with pytest.raises(ConfigError, match="is there twice"):
        load_street(path)


def test_a_directory_that_is_too_long_for_a_socket_is_told(tmp_path):
    deep = tmp_path / ("d" * 100)
    with pytest.raises(ConfigError, match="shorter directory"), open_street(default_street(0, 1), deep, ManualClock(START_MS)):
        raise AssertionError("it must not open")


def test_the_command_runs_a_street_until_it_is_told_to_stop(tmp_path, capsys):
    path = os.pathsep.join(str(ROOT / part) for part in ("shared", "native", "edge"))
    code = "import sys; from gridtally_edge.simulators.run import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--directory", str(tmp_path), "--dlms", "1", "--modbus", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as process:
        wait_until(lambda: (tmp_path / INVENTORY).exists(), 30)
        assert run.main(["--directory", str(tmp_path), "--tell", "mute 20000001 times=1"]) == 0
        assert run.main(["--directory", str(tmp_path), "--tell", "mute 7"]) == ConfigError.exit_code
        reader = Reader(tmp_path / INVENTORY)
        assert reader.submit("20000001", identify).result(60)[0] == "20000001"
        reader.close()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "modbus-1" in output
    assert not (tmp_path / "modbus-1").is_symlink()
    assert run.main(["--directory", str(tmp_path), "--tell", "status"]) == ConfigError.exit_code
    assert "no street runs here" in capsys.readouterr().err


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        run.main(["--help"])
    assert "example: gridtally-dcu simulate" in capsys.readouterr().out


def test_an_unknown_target_is_refused(street):
    running, _ = street
    assert isinstance(running, RunningStreet)
    with pytest.raises(ConfigError, match="20000001"):
        running.obey("mute 30000000")
