"""IEC 62056-21, wired M-Bus, wireless M-Bus and P1 on real pseudo terminals, from the street file to the readings."""

from __future__ import annotations

import json
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.cli import main
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.iec62056_21 import Iec62056Settings, hears
from gridtally_edge.drivers.model import MeterPort, Pushed
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.fitting import fit
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult, poll
from gridtally_edge.protocols.iec62056_21.characters import with_parity
from gridtally_edge.protocols.iec62056_21.messages import Mode
from gridtally_edge.protocols.iec62056_21.p1 import TelegramListener
from gridtally_edge.protocols.mbus.link import LinkTiming
from gridtally_edge.protocols.mbus.search import Probed, Search, Seen, probe_primary, probe_selection
from gridtally_edge.registry import MeterEntry
from gridtally_edge.simulators.bus import SimBus, Station
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.iec62056_21 import Iec62056Slave, mode_d_telegram
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.simulators.running import RunningStreet, open_street
from gridtally_edge.simulators.street import Street, StreetLine, StreetMeter, StreetProtocol, checked
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_edge.transports.meter_line import MeterLine
from gridtally_edge.transports.serial_bus import SerialLink
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault
from gridtally_shared.quantities import BY_CODE, BY_NAME
from support.waiting import wait_until

START_MS = 1_760_000_400_000
LINES = (
    StreetLine("optical", StreetProtocol.IEC62056_21, turnaround_ms=1),
    StreetLine("bus", StreetProtocol.MBUS, baud=2_400, turnaround_ms=1),
    StreetLine("air", StreetProtocol.WMBUS, every_ms=60),
    StreetLine("p1", StreetProtocol.P1, every_ms=60),
    StreetLine("sender", StreetProtocol.MODE_D, every_ms=60),
)
METERS = (
    StreetMeter("optical", "50000001", 1, password="00000000"),
    StreetMeter("optical", "50000002", 2, password="00000000"),
    StreetMeter("bus", "50000011", 11),
    StreetMeter("bus", "50100012", 12, medium="water"),
    StreetMeter("bus", "80000013", 13, medium="heat"),
    StreetMeter("air", "60000001", 1, medium="gas"),
    StreetMeter("air", "60000002", 2, cipher="mode7"),
    StreetMeter("air", "60000003", 3, cipher="session", medium="water"),
    StreetMeter("p1", "70000001", 1),
    StreetMeter("sender", "75000001", 1),
)


@pytest.fixture(scope="module")
def running_street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStreet]:
    directory = tmp_path_factory.mktemp("street")
    with open_street(checked(Street(LINES, METERS, utc_offset_min=60)), directory, ManualClock(START_MS)) as running:
        yield running


@pytest.fixture
def street(running_street: RunningStreet) -> Iterator[RunningStreet]:
    yield running_street
    running_street.obey("clear")


def inventory(street: RunningStreet, serial: str) -> dict[str, Any]:
    content = json.loads((Path(street.device("bus")).parent / "inventory.json").read_text())
    meter = next(m for m in content["meters"] if m["serial"] == serial)
    device = next(line["device"] for line in content["lines"] if line["name"] == meter["line"])
    return {**meter, "device": device}


def port_of(entry: dict[str, Any]) -> MeterPort:
    driver = driver_named(entry["driver"])
    return driver.make_port(settings_from(driver, entry["settings"]))


def opened(street: RunningStreet, name: str) -> MeterLine:
    line = line_for(LineSettings(name, street.device(name)))
    line.start()
    return line


def ask(line: MeterLine, entry: dict[str, Any], request: PollRequest | None = None) -> PollResult:
    conversation = poll(port_of(entry), request or PollRequest(clock=True), lambda: START_MS)
    return line.submit(conversation, Priority.ON_DEMAND, entry["serial"]).result(30)


def values(result: PollResult | Pushed) -> dict[str, int]:
    return {BY_CODE[r.quantity].name: r.value for r in result.readings}


def test_a_bus_of_ascii_meters_changes_its_coding_for_each_of_them(
    street: RunningStreet, monkeypatch: pytest.MonkeyPatch
) -> None:
    codings: list[Speed] = []
    set_speed = SerialLink.set_speed

    def noted(link: SerialLink, speed: Speed) -> None:
        codings.append(speed)
        set_speed(link, speed)

    monkeypatch.setattr(SerialLink, "set_speed", noted)
    line = opened(street, "optical")
    try:
        slow, fast = Speed(300), Speed(9_600)
        for serial in ("50000001", "50000002"):
            result = ask(line, inventory(street, serial))
            assert (result.fault, result.serial) == (Fault.NONE, serial)
            assert values(result)["energy_import_wh"] == street.meters[serial].snapshot().energy_import_wh
            assert result.clock_offset_ms is not None
            assert abs(result.clock_offset_ms) < 1_000
        assert codings == [slow, fast, slow, fast]
        coding = termios.tcgetattr(line_descriptor(line))
        assert coding[4] == termios.B9600
    finally:
        line.close()


def line_descriptor(line: MeterLine) -> int:
    descriptor: int = line._link.fileno()  # type: ignore[attr-defined]
    return descriptor


def test_a_load_profile_of_an_ascii_meter_and_then_its_neighbour(street: RunningStreet) -> None:
    end_ms = START_MS // 900_000 * 900_000
    span = Span(end_ms - 4 * 900_000, end_ms)
    line = opened(street, "optical")
    try:
        result = ask(line, inventory(street, "50000001"), PollRequest(spans=(span,)))
        assert (result.fault, result.trouble) == (Fault.NONE, "")
        imported = [r.value for r in result.intervals if BY_CODE[r.quantity].name == "interval_import_wh"]
        rows = street.meters["50000001"].profile(span.from_ms + 1, span.to_ms)
        assert imported == [row.import_wh for row in rows]
        assert ask(line, inventory(street, "50000002")).serial == "50000002"
    finally:
        line.close()


def test_m_bus_meters_are_read_by_primary_address(street: RunningStreet) -> None:
    line = opened(street, "bus")
    try:
        for serial, quantity in (("50000011", "energy_import_wh"), ("50100012", "water_volume_l"), ("80000013", "heat_energy_wh")):
            result = ask(line, inventory(street, serial))
            assert (result.fault, result.serial) == (Fault.NONE, serial)
            assert values(result)[quantity] > 0
        own = street.meters["50000011"].snapshot()
        assert values(ask(line, inventory(street, "50000011")))["energy_import_wh"] == own.energy_import_wh
    finally:
        line.close()


FAULTS = ("lead line:{0} hex=ff00", "trail line:{0} hex=00ff", "split line:{0}", "echo line:{0}", "echo-part line:{0}")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.partition(" ")[0])
@pytest.mark.parametrize(("name", "serial"), [("bus", "50000011"), ("optical", "50000001")])
def test_what_lines_do_to_octets_does_no_harm(street: RunningStreet, name: str, serial: str, fault: str) -> None:
    street.obey(fault.format(name))
    line = opened(street, name)
    try:
        result = ask(line, inventory(street, serial))
        assert (result.fault, result.trouble) == (Fault.NONE, "")
        assert values(result)["energy_import_wh"] == street.meters[serial].snapshot().energy_import_wh
    finally:
        line.close()


@pytest.mark.parametrize(("name", "serial"), [("bus", "50000011"), ("optical", "50000001")])
def test_a_flipped_bit_in_every_answer_gives_no_value(
    street: RunningStreet, name: str, serial: str
) -> None:
    line = opened(street, name)
    try:
        street.obey(f"flip {serial} bit=333")
        spoilt = ask(line, inventory(street, serial))
        assert spoilt.fault is not Fault.NONE
        assert spoilt.readings == ()
    finally:
        line.close()


def test_a_scan_of_an_m_bus_line_finds_every_meter(street: RunningStreet) -> None:
    timing = LinkTiming(timeout_ms=200, retries=0)
    line = opened(street, "bus")

    def probed(key: str, conversation: Any) -> Probed:
        try:
            found: Probed = line.submit(conversation, Priority.DISCOVERY, key).result(10)
        except LinkDown:
            return Probed(Seen.NOBODY)
        return found

    try:
        search = Search()
        while (digits := search.next_digits()) is not None:
            search.tell(probed(digits, probe_selection(digits, timing)))
        assert {identity.number for identity in search.found} == {"50000011", "50100012", "80000013"}
        there = [n for n in range(10, 15) if probed(f"p{n}", probe_primary(n, timing)).seen is Seen.ONE]
        assert there == [11, 12, 13]
    finally:
        line.close()


def test_a_dlms_meter_behind_an_optical_head_signs_on_and_speaks_hdlc(tmp_path: Path) -> None:
    clock = ManualClock(START_MS)
    house = HouseMeter(HouseSettings("80000001", 3), clock)
    slave = Iec62056Slave(house, mode=Mode.E, parity=True, inner=DlmsSlave([DlmsUnit(house, 17, password=b"ABCD0001")]))
    bus = SimBus("optical", PtyPort(tmp_path / "optical"), [Station(slave, lambda _: "80000001")])
    bus.start()
    line = line_for(LineSettings("optical", bus.port.address()))
    line.start()
    entry = {
        "serial": "80000001",
        "driver": "is15959-mode-e",
        "settings": {"physical_address": 17, "password": "ABCD0001", "software_parity": True},
    }
    try:
        for _ in range(2):
            result = ask(line, entry)
            assert (result.fault, result.trouble, result.serial) == (Fault.NONE, "", "80000001")
            assert values(result)["energy_import_wh"] == house.snapshot().energy_import_wh
            assert slave.baud == 9_600
    finally:
        line.close()
        bus.close()
        house.close()


class Ear:
    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def __call__(self, message: Heard | NodeChanged) -> None:
        assert isinstance(message, Heard)
        self.heard.append(message)


def heard_by(entry: dict[str, Any], ear: Ear) -> list[Pushed]:
    driver = driver_named(entry["driver"])
    settings = settings_from(driver, entry["settings"])
    assert driver.hears is not None
    told = (driver.hears(settings, message.data, START_MS) for message in tuple(ear.heard) if entry["serial"] in message.source)
    return [pushed for pushed in told if pushed]


def test_radio_meters_of_a_street_reach_their_drivers(street: RunningStreet) -> None:
    ear, device = Ear(), street.device("air")
    assert device.startswith("wmbus:///")
    line = line_for(LineSettings("air", device), ear)
    line.start()
    try:
        for serial, quantity in (("60000001", "gas_volume_l"), ("60000002", "energy_import_wh"), ("60000003", "water_volume_l")):
            entry = inventory(street, serial)
            wait_until(lambda entry=entry: bool(heard_by(entry, ear)), 10)
            assert values(heard_by(entry, ear)[0])[quantity] > 0
    finally:
        line.close()


@pytest.mark.covers_part("ETSI-3.1")
def test_one_concentrator_hears_and_asks_four_utilities_and_keeps_their_units(street: RunningStreet) -> None:
    ear, bus = Ear(), opened(street, "bus")
    air = line_for(LineSettings("air", street.device("air")), ear)
    air.start()
    try:
        asked = {serial: values(ask(bus, inventory(street, serial))) for serial in ("50000011", "50100012", "80000013")}
        gas = inventory(street, "60000001")
        wait_until(lambda: bool(heard_by(gas, ear)), 10)
    finally:
        bus.close()
        air.close()
    told = {**asked, "60000001": values(heard_by(gas, ear)[0])}
    units = {serial: {BY_NAME[name].unit for name in readings} for serial, readings in told.items()}
    assert units["50100012"] == units["60000001"] == {"m3"}
    assert {"energy_import_wh", "energy_export_wh", "power_w"} <= set(told["50000011"])
    assert set(told["50100012"]) == {"water_volume_l"}
    assert set(told["80000013"]) == {"heat_energy_wh", "heat_volume_l"}
    assert set(told["60000001"]) == {"gas_volume_l"}


def test_the_p1_port_of_a_street_gives_electricity_and_gas(street: RunningStreet) -> None:
    ear = Ear()
    line = line_for(LineSettings("p1", street.device("p1")), ear)
    line.start()
    try:
        wait_until(lambda: {message.source for message in ear.heard} == {"", "channel 1"}, 10)
    finally:
        line.close()


def test_a_meter_in_mode_d_is_read_from_the_shell(street: RunningStreet, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--line", street.device("sender"), "--protocol", "iec62056-21", "--what", "instant", "--wait", "10", "--json")
    assert main(["read", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["serial"] == "75000001"
    assert {"energy_import_wh", "energy_export_wh", "power_w", "voltage_mv"} <= {row["quantity"] for row in found["values"]}


def test_a_meter_in_mode_d_is_one_that_is_only_listened_to(street: RunningStreet) -> None:
    entry = inventory(street, "75000001")
    fitted = fit(MeterEntry("sender", entry["driver"], entry["settings"]))
    assert fitted.on_line.listens_only
    ear = Ear()
    line = line_for(LineSettings("sender", entry["device"]), ear)
    line.start()
    try:
        wait_until(lambda: bool(ear.heard), 10)
    finally:
        line.close()
    hears = fitted.on_line.hears
    assert hears is not None
    pushed = hears(ear.heard[0].data, START_MS)
    assert pushed is not None
    assert (pushed.serial, {reading.at_ms for reading in pushed.readings}) == ("75000001", {START_MS})


def test_a_meter_in_mode_d_is_found_by_listening(street: RunningStreet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "--line", street.device("sender"), "--protocol", "iec62056-21", "--seconds", "1", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["serial"], found["driver"], found["settings"]) == ("75000001", "iec62056-21", {"sends": True})


def test_a_telegram_with_a_wrong_character_gives_no_value() -> None:
    """Mode D has no check but the parity of its characters."""
    home = HouseMeter(HouseSettings("75000003", seed=1), ManualClock(START_MS))
    whole = mode_d_telegram(home)
    home.close()
    place = whole.index(with_parity(b"1.8.0(")) + 8
    spoilt = whole[:place] + bytes((whole[place] ^ 0x04,)) + whole[place + 1 :]
    listener = TelegramListener()
    assert listener.feed(spoilt, 0.0) == ()
    assert listener.spoiled == 1
    assert len(listener.feed(whole, 1.0)) == 1


def test_a_telegram_of_another_kind_is_not_taken_by_a_meter_that_is_asked() -> None:
    home = HouseMeter(HouseSettings("75000002", seed=1), ManualClock(START_MS))
    assert hears(Iec62056Settings(), mode_d_telegram(home), START_MS) is None
    with pytest.raises(MeterFault):
        hears(Iec62056Settings(sends=True), mode_d_telegram(home)[:-40], START_MS)
    home.close()


@pytest.mark.parametrize(
    ("line", "meter"),
    [
        (LINES[1], StreetMeter("bus", "123", 1)),
        (LINES[1], StreetMeter("bus", "50000011", 251)),
        (LINES[2], StreetMeter("air", "60000001", 1, cipher="rot13")),
        (LINES[2], StreetMeter("air", "60000001", 1, medium="beer")),
        (StreetLine("air", StreetProtocol.WMBUS, receiver="crystal"), StreetMeter("air", "60000001", 1)),
    ],
)
def test_a_street_that_can_not_be_is_refused(line: StreetLine, meter: StreetMeter, tmp_path: Path) -> None:
    with pytest.raises(ConfigError), open_street(Street((line,), (meter,)), tmp_path, ManualClock(START_MS)):
        pass
