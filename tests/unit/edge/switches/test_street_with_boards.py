"""A simulated street with meters of several makers and relay boards, read and switched over real lines by the drivers."""

import contextlib
import json
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.fitting import fit
from gridtally_edge.polling.poll import Fault, PollRequest, poll
from gridtally_edge.prepay.events import RunSwitch, SwitchResult
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.registry import MeterEntry
from gridtally_edge.simulators.running import INVENTORY, open_street
from gridtally_edge.simulators.street import load_street
from gridtally_edge.transports import breaker, line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown
from gridtally_shared.quantities import BY_CODE
from support.waiting import wait_until

START_MS = 1_795_000_500_000
STREET = """
[[lines]]
name = "rs485"
protocol = "modbus"

[[meters]]
line = "rs485"
serial = "20000001"
address = 1
contactor = "none"
[[meters]]
line = "rs485"
serial = "20000002"
address = 2
profile = "abb-b23"
switch = "modbus-coil:unit=40,coil=2,feedback=2,identity_register=16,identity_value=77,settle_ms=5,timeout_ms=60"
[[meters]]
line = "rs485"
serial = "GAV0003"
address = 3
profile = "gavazzi-em340"
switch = "modbus-latching:unit=40,open_coil=4,close_coil=5,feedback=3,pulse_ms=20,feedback_on=closed,settle_ms=5"
[[meters]]
line = "rs485"
serial = "SEL-4"
address = 4
profile = "selec-em2m"
contactor = "none"
[[meters]]
line = "rs485"
serial = "W-5"
address = 5
profile = "pulse-water"
contactor = "none"
"""
SWITCHED = pytest.mark.parametrize("serial", ["20000002", "GAV0003"], ids=["relay", "latching"])


class Street:
    def __init__(self, running, inventory: Path) -> None:
        self.running = running
        content = json.loads(inventory.read_text())
        line = content["lines"][0]
        self.line = line_for(LineSettings("rs485", line["device"], Speed(line["baud"])))
        self.line.start()
        entries = [MeterEntry(m["line"], m["driver"], m["settings"], m["serial"], switch=m.get("switch", "")) for m in content["meters"]]
        self.fitted = {entry.serial: fit(entry) for entry in entries}

    def poll(self, serial: str, priority: Priority = Priority.PROFILE):
        conversation = poll(self.fitted[serial].port, PollRequest(serial), lambda: START_MS)
        return self.line.submit(conversation, priority, serial).result(20)

    def switch(self, serial: str, close: bool):
        order = RunSwitch(b"action", 1, serial, close, START_MS + 60_000)
        conversation = switch_conversation(self.fitted[serial].port, lambda: START_MS, order)
        return self.line.submit(conversation, Priority.SWITCH, serial).result(20)


@pytest.fixture(scope="module", params=["modbus", "modbus-tcp"])
def street(request, tmp_path_factory):
    """On an RS-485 line, and behind a Modbus TCP gateway."""
    tmp_path = tmp_path_factory.mktemp("street")
    (tmp_path / "street.toml").write_text(STREET.replace('"modbus"', f'"{request.param}"'))
    with open_street(load_street(tmp_path / "street.toml"), tmp_path / "run", ManualClock(START_MS)) as running:
        one = Street(running, tmp_path / "run" / INVENTORY)
        yield one
        one.line.close()


def test_meters_of_several_makers_and_utilities_are_read_on_one_line(street):
    for serial, fitted in street.fitted.items():
        result = street.poll(serial)
        assert (result.fault, result.serial) == (Fault.NONE, serial), result.trouble
        names = {BY_CODE[r.quantity].name for r in result.readings}
        assert ("water_volume_l" if fitted.entry.driver == "pulse-water" else "energy_import_wh") in names
        assert (result.switch is SwitchState.CLOSED) is bool(fitted.entry.switch)


@SWITCHED
def test_a_board_on_the_line_cuts_and_restores_the_right_house(street, serial):
    outcome = street.switch(serial, close=False)
    assert (outcome.result, outcome.serial, outcome.state_after) == (SwitchResult.DONE, serial, SwitchState.OPEN)
    meters = street.running.meters
    assert [s for s, meter in meters.items() if meter.switch() is SwitchState.OPEN] == [serial]
    assert street.poll(serial).switch is SwitchState.OPEN
    assert street.switch(serial, close=True).result is SwitchResult.DONE
    assert meters[serial].switch() is SwitchState.CLOSED


@SWITCHED
def test_a_jammed_contactor_is_told_as_stuck(street, serial):
    street.running.obey(f"jam {serial}")
    assert street.switch(serial, close=False).result is SwitchResult.STUCK
    street.running.obey(f"free {serial}")
    assert street.switch(serial, close=False).result in (SwitchResult.DONE, SwitchResult.ALREADY)
    assert street.switch(serial, close=True).result is SwitchResult.DONE


SWITCHED_SERIALS = ("20000002", "GAV0003")


def test_a_mute_board_leaves_every_reading_of_every_poll_and_an_unknown_state(street):
    street.running.obey("mute board-40")
    before = street.line.health().statistics.timeouts
    for _ in range(3):
        for serial in SWITCHED_SERIALS:
            result = street.poll(serial)
            assert (result.fault, result.trouble, result.switch) == (Fault.NONE, "", SwitchState.UNKNOWN)
            assert result.readings
    assert street.line.health().silent == ("board-40",), "the meters are not to blame"
    assert street.line.health().statistics.timeouts - before == 3, "its tries once: then it is left alone for a moment"
    outcome = street.switch("20000002", close=False)
    assert outcome.result is SwitchResult.UNKNOWN
    assert street.line.health().statistics.timeouts - before > 3, "an order asks it all the same"
    assert street.poll("20000002").readings, "nor does an order in vain cost the meter anything"
    assert street.line.health().silent == ("board-40",)
    street.running.obey("clear")
    for serial in SWITCHED_SERIALS:
        assert street.poll(serial, Priority.ON_DEMAND).switch is SwitchState.CLOSED, "a person's read sees it at once"
    assert street.line.health().silent == ()
    assert street.poll("20000002").switch is SwitchState.CLOSED


def test_a_board_that_is_back_is_seen_by_the_polls_alone(street, monkeypatch):
    monkeypatch.setattr(breaker, "FIRST_S", 0.3)
    street.running.obey("mute board-40")
    assert street.poll("20000002").switch is SwitchState.UNKNOWN
    street.running.obey("clear")
    wait_until(lambda: street.poll("20000002").switch is SwitchState.CLOSED, 10)
    assert street.line.health().silent == ()


def first_answer(street, serial: str):
    """Of a meter that comes back."""

    def answer():
        with contextlib.suppress(LinkDown):
            result = street.poll(serial)
            return result if result.fault is Fault.NONE else None

    return wait_until(answer, 10)


def test_a_meter_that_was_silent_does_not_hide_its_board(street, monkeypatch):
    monkeypatch.setattr(breaker, "FIRST_S", 0.3)
    street.running.obey("mute 20000002")
    assert street.poll("20000002").fault is Fault.SILENT
    assert street.poll("GAV0003").switch is SwitchState.CLOSED, "the board serves its other house"
    assert street.line.health().silent == ("20000002",)
    street.running.obey("clear")
    assert first_answer(street, "20000002").switch is SwitchState.CLOSED


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('profile = "abb-b23"', 'profile = "abb-b99"', "meters.profile = 'abb-b99': write one of abb-b23"),
        ("modbus-coil:unit=40", "gpio:chip=/dev/gpiochip0", "a street simulates Modbus boards"),
        ('protocol = "modbus"', 'protocol = "dlms"', "rs485 is no Modbus line"),
        ('serial = "20000002"', 'serial = "B23"', "keeps a number of 4 octets"),
    ],
)
def test_a_street_that_can_not_be_is_refused(tmp_path, old, new, says):
    text = STREET.replace(old, new, 1)
    if "gpio" in new:
        text = text.replace("coil=2,feedback=2,identity_register=16,identity_value=77,settle_ms=5,timeout_ms=60", "coil=2")
    (tmp_path / "street.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        open_street(load_street(tmp_path / "street.toml"), tmp_path / "run", ManualClock(START_MS)).__enter__()
