"""Conversations of IEC 62056-21 in every mode, against the simulated meter and against hand-written octets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.iec62056_21 import DRIVER, Iec62056Port
from gridtally_edge.drivers.model import Capability
from gridtally_edge.drivers.p1 import P1Settings, hears
from gridtally_edge.protocols.conversation import Conversation, Exchange
from gridtally_edge.protocols.iec62056_21.characters import framed
from gridtally_edge.protocols.iec62056_21.messages import BREAK, Identification, Mode, find_telegram
from gridtally_edge.protocols.iec62056_21.session import (
    SignOn,
    enter_programming,
    hand_over,
    identify,
    leave,
    read_out,
    read_partial_blocks,
    read_register,
    speed_character,
    write_register,
)
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.iec62056_21 import Iec62056Slave, State, p1_telegram
from gridtally_edge.transports.settings import Speed
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault
from gridtally_shared.quantities import BY_CODE
from support.mbus_bus import converse

START_MS = 1_760_000_400_000


@pytest.fixture
def house() -> Iterator[HouseMeter]:
    meter = HouseMeter(HouseSettings("50000001", 11), ManualClock(START_MS))
    yield meter
    meter.close()


def port_for(**values: object) -> Iec62056Port:
    port = DRIVER.make_port(settings_from(DRIVER, values))
    assert isinstance(port, Iec62056Port)
    return port


@pytest.mark.parametrize("mode", [Mode.A, Mode.B, Mode.C, Mode.E])
@pytest.mark.parametrize("parity", [False, True])
def test_every_mode_reads_what_the_home_shows(house: HouseMeter, mode: Mode, parity: bool) -> None:
    slave, port, now = Iec62056Slave(house, mode=mode, parity=parity), port_for(), house.snapshot()
    sent: list[bytes] = []
    assert converse(port.read_serial(), [slave], sent) == "50000001"
    values = {BY_CODE[r.quantity].name: r.value for r in converse(port.read_instant(lambda: 9), [slave], sent)}
    assert values["energy_import_wh"] == now.energy_import_wh
    assert values["energy_export_wh"] == now.energy_export_wh
    assert values["power_w"] == now.power_w
    assert values["voltage_mv"] == now.voltage_mv
    assert converse(port.read_clock(), [slave], sent) == START_MS // 1_000 * 1_000
    assert converse(port.read_name_plate(), [slave], sent).maker == "GTY"
    assert sent.count(b"/?!\r\n") == 1, "one readout serves the whole poll"


def exchanges(conversation: Conversation[object], answers: list[bytes]) -> list[Exchange]:
    """What a conversation asks for, given what it is told."""
    asked = [next(conversation)]
    for answer in answers:
        try:
            asked.append(conversation.send(answer))
        except StopIteration:
            break
    return asked


READOUT = framed(b"\x021.8.0(000123.4*kWh)\r\n!\r\n")


@pytest.mark.parametrize(
    ("hello", "request_", "speed"),
    [
        (b"/ABCx METER\r\n", b"", None),
        (b"/ABCD METER\r\n", b"", Speed(4_800, 7, "E", 1)),
        (b"/ABC5 METER\r\n", b"\x06050\r\n", Speed(9_600, 7, "E", 1)),
        (b"/ABC6 METER\r\n", b"\x06050\r\n", Speed(9_600, 7, "E", 1)),
        (b"/ABC2 METER\r\n", b"\x06020\r\n", Speed(1_200, 7, "E", 1)),
    ],
)
def test_the_line_changes_its_coding_as_the_mode_asks(hello: bytes, request_: bytes, speed: Speed | None) -> None:
    asked = exchanges(read_out(SignOn(max_baud=9_600)), [b"", hello, READOUT])
    assert (asked[0].request, asked[0].speed, asked[0].timeout_ms) == (b"", Speed(300, 7, "E", 1), 0)
    assert (asked[1].request, asked[1].speed) == (b"/?!\r\n", None)
    assert (asked[2].request, asked[2].speed, asked[2].retries) == (request_, speed, 0)


def test_a_line_of_fixed_speed_is_left_as_it_is() -> None:
    asked = exchanges(read_out(SignOn(max_baud=300, initial_baud=0)), [b"/ABC5 METER\r\n", READOUT])
    assert [(e.request, e.speed) for e in asked] == [(b"/?!\r\n", None), (b"\x06000\r\n", None)]


def test_a_damaged_readout_is_asked_again_once_and_then_a_fault() -> None:
    damaged = READOUT.replace(b"123", b"124")
    asked = exchanges(read_out(SignOn()), [b"", b"/ABC5 X\r\n", damaged, READOUT])
    assert asked[3].request == b"\x15"
    with pytest.raises(MeterFault, match="block check"):
        exchanges(read_out(SignOn()), [b"", b"/ABC5 X\r\n", damaged, damaged])


def test_a_long_readout_comes_in_pieces() -> None:
    lines = [f"1.8.0*{n:02}({n}*kWh)\r\n".encode() for n in range(99)]
    whole = framed(b"\x02" + b"".join(lines) + b"!\r\n")
    conversation = read_out(SignOn())
    next(conversation)
    conversation.send(b"")
    exchange, rest, pieces = conversation.send(b"/ABC5 X\r\n"), whole, 0
    telegram = None
    while telegram is None:
        found = exchange.find_answer(rest[:50])
        assert found is not None
        answer, rest, pieces = rest[found.start : found.end], rest[found.end :], pieces + 1
        try:
            exchange = conversation.send(answer)
        except StopIteration as stop:
            telegram = stop.value
    assert len(telegram.data_sets) == 99
    assert pieces > 30


def test_the_device_address_chooses_one_meter_of_a_bus(house: HouseMeter) -> None:
    other = HouseMeter(HouseSettings("50000002", 12), ManualClock(START_MS))
    bus = [Iec62056Slave(house, "50000001"), Iec62056Slave(other, "50000002")]
    assert converse(port_for(address="50000002").read_serial(), bus) == "50000002"
    assert converse(port_for(address="50000001").read_serial(), bus) == "50000001"
    with pytest.raises(LinkDown):
        converse(port_for(address="50000003").read_serial(), bus)
    other.close()


def test_the_programming_mode_reads_writes_and_ends_with_a_break(house: HouseMeter) -> None:
    slave, how = Iec62056Slave(house), SignOn()
    sent: list[bytes] = []
    assert isinstance(converse(enter_programming(how, "00000000"), [slave], sent), Identification)
    assert b"\x01P1\x02(00000000)\x03a" in sent
    converse(write_register(how, "C003", "2201010000"), [slave], sent)
    assert converse(read_register(how, "C003"), [slave])[0].first.value == "2201010000"
    assert converse(read_register(how, "0.0.0", "R1"), [slave])[0].first.value == "50000001"
    with pytest.raises(MeterFault, match="does not give"):
        converse(read_register(how, "9.9.9"), [slave])
    with pytest.raises(LinkDown):
        converse(identify(how), [slave])
    converse(leave(SignOn()), [slave], sent)
    assert sent[-1] == BREAK
    assert slave.state is State.IDLE
    converse(identify(how), [slave])


def test_a_wrong_password_is_for_a_person_and_writing_without_one_is_refused(house: HouseMeter) -> None:
    slave = Iec62056Slave(house)
    with pytest.raises(ConfigError, match="ask whoever runs the meter") as refused:
        converse(enter_programming(SignOn(), "12345678"), [slave])
    assert "12345678" not in str(refused.value)
    converse(leave(SignOn()), [slave])
    converse(enter_programming(SignOn()), [slave])
    with pytest.raises(MeterFault, match="does not take"):
        converse(write_register(SignOn(), "C003", "1"), [slave])


def test_a_meter_of_mode_a_has_no_programming_mode(house: HouseMeter) -> None:
    with pytest.raises(MeterFault, match="no programming mode"):
        converse(enter_programming(SignOn()), [Iec62056Slave(house, mode=Mode.A)])


@pytest.mark.parametrize("block", [False, True])
def test_the_load_profile_in_text_adds_up_to_the_register(house: HouseMeter, block: bool) -> None:
    slave, port = Iec62056Slave(house), port_for(profile=True, password="00000000")
    assert Capability.LOAD_PROFILE in port.capabilities
    end_ms = START_MS // 900_000 * 900_000
    from_ms = end_ms - 86_400_000
    wanted = {row.end_ms - 900_000: row.import_wh for row in house.profile(from_ms + 1, end_ms)}
    if block:
        converse(enter_programming(SignOn()), [slave])
        sets = converse(read_partial_blocks(SignOn(), "P.01"), [slave])
        assert sum(len(s.cells) - 8 for s in sets) >= 2 * 96
        return
    readings = converse(port.read_intervals(from_ms, end_ms), [slave])
    imported = {r.at_ms: r.value for r in readings if BY_CODE[r.quantity].name == "interval_import_wh"}
    assert len(imported) == 96
    assert imported == wanted
    sent: list[bytes] = []
    converse(port.close(), [slave], sent)
    assert sent == [BREAK]


def test_no_break_for_a_meter_that_was_only_read_out(house: HouseMeter) -> None:
    slave, port = Iec62056Slave(house), port_for()
    converse(port.read_serial(), [slave])
    sent: list[bytes] = []
    converse(port.close(), [slave], sent)
    assert sent == []


class Echoing:
    """Stands for an HDLC meter: says what it heard."""

    def receive(self, data: bytes) -> bytes:
        return b"inner " + data


def test_mode_e_hands_the_line_over(house: HouseMeter) -> None:
    slave = Iec62056Slave(house, mode=Mode.E, parity=True, inner=Echoing())
    sent: list[bytes] = []
    converse(hand_over(SignOn()), [slave], sent)
    assert sent[-1] == b"\x06252\r\n"
    assert slave.receive(b"\x7e\xa0") == b"inner \x7e\xa0"
    asked = exchanges(hand_over(SignOn()), [b"", b"/GTY5\\2X\r\n"])
    assert asked[2].speed == Speed(9_600, 8, "N", 1)
    with pytest.raises(MeterFault, match="no HDLC"):
        converse(hand_over(SignOn()), [Iec62056Slave(house)])


def test_a_proposal_is_taken_down_to_what_the_line_can() -> None:
    meter = Identification("ABC", "6", "X")
    assert [speed_character(meter, baud) for baud in (300, 2_400, 5_000, 115_200, 10)] == ["0", "3", "4", "6", "0"]


@pytest.mark.parametrize("values", [{"address": "a/b"}, {"initial_baud": 50}, {"max_baud": 1}])
def test_settings_that_can_not_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        port_for(**values)


def test_a_simulated_p1_port_says_what_the_home_says(house: HouseMeter) -> None:
    telegram, now = p1_telegram(house), house.snapshot()
    found = find_telegram(b"noise" + telegram)
    assert found is not None
    pushed, gas = hears(P1Settings(), telegram, 5), hears(P1Settings(1), telegram, 5)
    assert pushed is not None
    assert gas is not None
    values = {BY_CODE[r.quantity].name: r.value for r in pushed.readings}
    assert (pushed.serial, values["energy_import_wh"], values["power_w"]) == (house.serial, now.energy_import_wh, now.power_w)
    assert (gas.serial, gas.readings[0].value) == ("G50000001", now.energy_import_wh * 95 // 1_000)
