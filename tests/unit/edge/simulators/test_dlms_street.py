"""DLMS meters of a street file: logins and keys as the standard has them, read and switched by their driver; oddities and
pushes through the control socket."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.is15959 import DRIVER
from gridtally_edge.drivers.model import MeterPort, SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.simulators.control import tell
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_edge.simulators.running import CONTROL, INVENTORY, RunningStreet, open_street
from gridtally_edge.simulators.street import load_street
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError
from support.waiting import wait_until

T = TypeVar("T")
START_MS = 1_795_000_500_000
STREET = """
[[lines]]
name = "dlms-1"
protocol = "dlms"
baud = 0
turnaround_ms = 0
[[meters]]
line = "dlms-1"
serial = "10000001"
address = 17
[[meters]]
line = "dlms-1"
serial = "10000002"
address = 18
[meters.dlms]
scheme = "is15959"
auth = "hls2"
secret = "0123456789ABCDEF"
ciphered = true
window = 7
frame_size = 2030
[[meters]]
line = "dlms-1"
serial = "10000003"
address = 19
[meters.dlms]
auth = "gmac"
ciphered = true
suite = 2
[[meters]]
line = "dlms-1"
serial = "10000004"
address = 20
[meters.dlms]
auth = "sha1"
secret = "a secret of ours"
quirks = "no-rlre trailing-bytes"
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("street")


@pytest.fixture(scope="module")
def street(directory: Path) -> Iterator[RunningStreet]:
    file = directory / "street.toml"
    file.write_text(STREET)
    with open_street(load_street(file), directory, ManualClock(START_MS)) as running:
        yield running


Ask = Callable[[str, Callable[[MeterPort], Conversation[T]]], T]


@pytest.fixture(scope="module")
def ask(street: RunningStreet, directory: Path) -> Iterator[Ask]:
    """What a DCU does with the inventory."""
    inventory = json.loads((directory / INVENTORY).read_text())
    (place,) = inventory["lines"]
    line = line_for(LineSettings(place["name"], place["device"], Speed(9_600)))
    line.start()
    settings = {meter["serial"]: meter["settings"] for meter in inventory["meters"]}

    def whole(port: MeterPort, talk: Callable[[MeterPort], Conversation[T]]) -> Conversation[T]:
        yield from port.open()
        result = yield from talk(port)
        yield from port.close()
        return result

    def ask(serial: str, talk: Callable[[MeterPort], Conversation[T]]) -> T:
        port = DRIVER.make_port(settings_from(DRIVER, settings[serial]))
        return line.submit(whole(port, talk), Priority.ON_DEMAND, serial).result(30)

    yield ask
    line.close()


@pytest.mark.parametrize("serial", ["10000001", "10000002", "10000003", "10000004"])
def test_the_driver_reads_and_switches_every_kind_of_meter(ask: Ask, street: RunningStreet, serial: str) -> None:
    def talk(port: MeterPort) -> Conversation[tuple[str, SwitchState]]:
        name = yield from port.read_serial()
        yield from port.open_switch()
        return name, (yield from port.read_switch())

    assert ask(serial, talk) == (serial, SwitchState.OPEN)
    assert street.meter(serial).switch() is SwitchState.OPEN


def test_an_oddity_comes_and_goes_through_the_socket(ask: Ask, street: RunningStreet, directory: Path) -> None:
    board = street.dlms("10000001").device.quirks
    assert tell(directory / CONTROL, "rej 10000001 times=2").startswith("ok")
    assert board.listed() == (Quirk.REJECT,)
    assert "10000001: rej" in tell(directory / CONTROL, "status")
    assert ask("10000001", lambda port: port.read_serial()) == "10000001"
    assert board.listed() == ()
    tell(directory / CONTROL, "empty-ua 10000001")
    tell(directory / CONTROL, "clear 10000001")
    assert board.listed() == ()


def test_a_push_goes_out_on_the_line(street: RunningStreet, directory: Path) -> None:
    reader = os.open(street.device("dlms-1"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    heard = bytearray()

    def frames() -> tuple[hdlc.Frame, ...]:
        with contextlib.suppress(BlockingIOError):
            heard.extend(os.read(reader, 4_096))
        return hdlc.frames_of(bytes(heard))

    try:
        assert tell(directory / CONTROL, "push 10000002 alert bits=83 repeats=1").startswith("ok")
        wait_until(lambda: len(frames()) == 2, 5)
    finally:
        os.close(reader)
    first, again = (hdlc.encode_frame(frame) for frame in hdlc.frames_of(bytes(heard)))
    assert first == again
    settings = settings_from(DRIVER, json.loads((directory / INVENTORY).read_text())["meters"][1]["settings"])
    assert DRIVER.hears is not None
    pushed = DRIVER.hears(settings, first, START_MS)
    assert pushed is not None
    assert (pushed.serial, [event.code for event in pushed.events]) == ("10000002", [251])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('auth = "gmac"', 'auth = "rot13"', "meters.dlms.auth"),
        ("suite = 2", "suite = 3", "meters.dlms.suite"),
        ("suite = 2", 'suite = 2\nkey = "00"', "meters.dlms.key"),
        ("suite = 2", 'title = "SHORT"', "meters.dlms.title"),
        ("suite = 2", "colour = 2", "meters.dlms.colour"),
        ('"no-rlre trailing-bytes"', '"no-rlre dancing"', "meters.dlms.quirks"),
    ],
)
def test_a_wrong_setting_says_what_to_write(tmp_path: Path, old: str, new: str, told: str) -> None:
    file = tmp_path / "street.toml"
    file.write_text(STREET.replace(old, new))
    with pytest.raises(ConfigError, match=told), open_street(load_street(file), tmp_path, ManualClock(START_MS)):
        raise AssertionError("the street must not start")


WRONG = ("push 10000001 loud", "push 10000001 alert bits=x", "push 10000001 alert colour=1", "rej 10000001 2", "rej", "push 4711 alert")


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_is_refused(street: RunningStreet, command: str) -> None:
    with pytest.raises(ConfigError):
        street.obey(command)
