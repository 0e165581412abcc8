"""Receivers and listening lines: frames out of every stick's framing, in pieces and noise, and onto the agent's sink."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.drivers.wmbus import WmbusSettings, hears
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.wmbus.listener import REPEAT_S, RadioListener
from gridtally_edge.protocols.wmbus.receivers import KINDS, imst_configuration, imst_crc, receiver_of
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.iec62056_21 import p1_telegram
from gridtally_edge.simulators.mbus import ELECTRICITY, WATER
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.simulators.wmbus import SIMULATED_RSSI, Cipher, WmbusSender, framed
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_edge.transports.line import LineState
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown, RefusedCommand
from support.waiting import wait_until

START_MS = 1_760_000_000_000


@pytest.fixture
def house() -> Iterator[HouseMeter]:
    meter = HouseMeter(HouseSettings("70000001", 5), ManualClock(START_MS))
    yield meter
    meter.close()


@pytest.mark.parametrize("name", KINDS)
def test_a_receiver_gives_each_frame_once_however_its_octets_come(name: str, house: HouseMeter) -> None:
    sender = WmbusSender(house, WATER)
    frames = [sender.telegram() for _ in range(3)]
    noise = {"rtl-wmbus": b"started\nT1;0;1;x;1;1;1;0x00\n", "transparent": b"\x00\x07\xfe"}.get(name, b"\x00\x01\x02\xfe")
    stream = noise + b"".join(framed(name, frame) for frame in frames)
    for step in (1, 7, len(stream)):
        receiver, _ = receiver_of(name)
        caught = [c for n in range(0, len(stream), step) for c in receiver.feed(stream[n : n + step])]
        assert [c.frame for c in caught] == frames
        assert {c.quality for c in caught} == ({0} if name == "transparent" else {SIMULATED_RSSI})


@pytest.mark.parametrize("name", ["im871a", "amb8465"])
def test_a_frame_damaged_on_the_cable_is_dropped_and_the_next_is_heard(name: str, house: HouseMeter) -> None:
    sender = WmbusSender(house, WATER)
    first, second = sender.telegram(), sender.telegram()
    damaged = bytearray(framed(name, first))
    damaged[20] ^= 4
    receiver, _ = receiver_of(name)
    caught = receiver.feed(bytes(damaged) + framed(name, second) + framed(name, second))
    assert caught
    assert {c.frame for c in caught} == {second}
    assert receiver.spoiled


def test_the_documented_frames_of_the_imst_stick() -> None:
    assert imst_configuration("t1").hex(" ").upper() == "A5 01 03 05 00 02 03 10 01"
    assert imst_crc(b"123456789") == 0x906E
    with pytest.raises(ConfigError, match="write one of"):
        imst_configuration("z9")
    ping_answer = bytes.fromhex("A5 01 02 00")
    receiver, baud = receiver_of("im871a")
    assert (receiver.feed(ping_answer), baud) == ((), 57_600)


def test_a_line_of_rtl_wmbus_as_its_readme_shows_it() -> None:
    frame = "2e4493157856341233037a2a0020255923c95aaa26d1b2e7493b013ec4a6f6d3529b520edff0ea6defc99d6d69ebf3"
    line = f"T1;1;1;2019-04-04 20:18:26.000;97;148;12345678;0x{frame}\r\n".encode()
    receiver, _ = receiver_of("rtl-wmbus")
    caught = receiver.feed(line)
    assert [c.quality for c in caught] == [97]
    pushed = hears(WmbusSettings("12345678", bytes.fromhex("0102030405060708090A0B0C0D0E0F11")), caught[0].frame, 0)
    assert pushed is not None
    assert [r.value for r in pushed.readings] == [28_504_270]
    assert receiver.feed(line.replace(b"T1;1;", b"T1;0;")) == ()


def test_repeats_of_one_sending_are_told_once(house: HouseMeter) -> None:
    sender = WmbusSender(house, WATER)
    receiver, _ = receiver_of("transparent")
    listener = RadioListener(receiver)
    first, second = sender.telegram(), sender.telegram()
    assert [told.source for told in listener.feed(first, 0.0)] == ["GTY 70000001 01 07"]
    assert listener.feed(first, 1.0) == ()
    assert len(listener.feed(second, 2.0)) == 1
    assert len(listener.feed(second, 2.1 + REPEAT_S)) == 1
    assert (listener.repeats, listener.spoiled) == (1, 0)


def test_an_unknown_receiver_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError, match="im871a"):
        receiver_of("cul")


class Ear:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._lock = threading.Lock()

    def __call__(self, message: Heard | NodeChanged) -> None:
        assert isinstance(message, Heard)
        with self._lock:
            self.heard.append(message)


def test_a_stick_on_a_serial_port_reaches_the_driver(house: HouseMeter, tmp_path: Path) -> None:
    port, ear = PtyPort(tmp_path / "stick"), Ear()
    port.plug()
    device = f"wmbus://{port.address()}?receiver=im871a&mode=t1"
    line = line_for(LineSettings("air", device, reopen_first_s=0.05), ear)
    line.start()
    try:
        wait_until(lambda: port.receive(port.descriptors()[0]) == imst_configuration("t1"), 5)
        sender = WmbusSender(house, ELECTRICITY, Cipher.MODE_7)
        port.send(b"\x00noise" + framed("im871a", sender.telegram()))
        wait_until(lambda: len(ear.heard) == 1, 5)
        message = ear.heard[0]
        assert (message.line, message.source, message.quality) == ("air", "GTY 70000001 01 02", SIMULATED_RSSI)
        pushed = hears(WmbusSettings("70000001", sender.key), message.data, START_MS)
        assert pushed is not None
        assert pushed.readings
        port.unplug()
        wait_until(lambda: line.health().state is LineState.DOWN, 5)
        port.plug()
        wait_until(lambda: line.health().state is LineState.UP, 5)
        port.send(framed("im871a", sender.telegram()))
        wait_until(lambda: len(ear.heard) == 2, 5)
    finally:
        line.close()
        port.unplug()
    assert line.health().state is LineState.CLOSED


def test_text_of_a_program_comes_over_tcp(house: HouseMeter) -> None:
    listener, ear = socket.create_server(("127.0.0.1", 0)), Ear()
    line = line_for(LineSettings("air", f"wmbus://127.0.0.1:{listener.getsockname()[1]}?receiver=rtl-wmbus"), ear)
    line.start()
    try:
        program = listener.accept()[0]
        program.sendall(framed("rtl-wmbus", WmbusSender(house, WATER).telegram()))
        wait_until(lambda: len(ear.heard) == 1, 5)
        program.close()
        wait_until(lambda: line.health().state is LineState.DOWN, 5)
    finally:
        line.close()
        listener.close()


def test_a_pipe_and_a_growing_file_are_read_as_they_come(house: HouseMeter, tmp_path: Path) -> None:
    sender, pipe, growing = WmbusSender(house, WATER), tmp_path / "pipe", tmp_path / "growing"
    os.mkfifo(pipe)
    growing.write_bytes(framed("rtl-wmbus", sender.telegram()))
    for path, before in ((pipe, 0), (growing, 1)):
        ear = Ear()
        line = line_for(LineSettings("air", f"wmbus://{path}?receiver=rtl-wmbus"), ear)
        line.start()
        try:
            wait_until(lambda ear=ear, before=before: len(ear.heard) == before, 5)
            with open(path, "ab") as out:
                out.write(framed("rtl-wmbus", sender.telegram()))
            wait_until(lambda ear=ear, before=before: len(ear.heard) == before + 1, 5)
        finally:
            line.close()


def test_a_p1_port_gives_each_meter_its_own_message(house: HouseMeter, tmp_path: Path) -> None:
    port, ear = PtyPort(tmp_path / "p1"), Ear()
    port.plug()
    line = line_for(LineSettings("p1", f"p1://{port.address()}"), ear)
    line.start()
    try:
        telegram = p1_telegram(house)
        port.send(telegram[50:] + telegram.replace(b"1-0:1.8.1(0", b"1-0:1.8.1(9") + telegram)
        wait_until(lambda: len(ear.heard) == 2, 5)
        assert [message.source for message in ear.heard] == ["", "channel 1"]
    finally:
        line.close()
        port.unplug()


def a_question() -> Conversation[SwitchState]:
    yield from ()
    return SwitchState.OPEN


def test_a_listening_line_can_not_be_asked(tmp_path: Path) -> None:
    line = line_for(LineSettings("air", f"wmbus://{tmp_path / 'absent'}?receiver=rtl-wmbus"))
    with pytest.raises(RefusedCommand, match="only listens"):
        line.submit(a_question(), Priority.SWITCH, "m").result(1)
    assert line.health().state is LineState.DOWN
    line.close()


@pytest.mark.parametrize(
    "device",
    [
        "wmbus:///dev/ttyUSB0",
        "wmbus:///dev/ttyUSB0?receiver=cul",
        "wmbus://?receiver=im871a",
        "wmbus://host:1/path?receiver=im871a",
        "wmbus:///dev/x?receiver=amb8465&mode=t1",
        "wmbus:///dev/x?receiver=im871a&baud=fast",
        "wmbus:///dev/x?receiver=im871a&colour=red",
        "p1:///dev/x?mode=t1",
    ],
)
def test_a_device_name_that_can_not_be_says_how_to_write_it(device: str) -> None:
    with pytest.raises(ConfigError):
        line_for(LineSettings("air", device))


def test_a_port_that_is_away_is_opened_when_it_comes(house: HouseMeter, tmp_path: Path) -> None:
    port, ear = PtyPort(tmp_path / "late"), Ear()
    line = line_for(LineSettings("p1", f"p1:///dev/../{port.address()}", reopen_first_s=0.05), ear)
    try:
        line.start()
    except LinkDown:
        pytest.fail("a port that is away is no error")
    try:
        assert line.health().state is LineState.DOWN
        port.plug()
        wait_until(lambda: line.health().state is LineState.UP, 5)
        port.send(p1_telegram(house))
        wait_until(lambda: len(ear.heard) == 2, 5)
    finally:
        line.close()
        port.unplug()
