"""The Eastron port against the simulated slave, without a line in between."""

import struct
from collections.abc import Callable
from fractions import Fraction

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.modbus_decode import BlockDecoder
from gridtally_edge.drivers.modbus_port import ModbusPort
from gridtally_edge.drivers.modbus_profile import built_in
from gridtally_edge.drivers.modbus_table import Register, block_of
from gridtally_edge.drivers.model import Face, Reading, SwitchState
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.modbus import Kind, WordOrder, encode_value, with_crc
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, MeterFault, RefusedCommand
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, BY_NAME

NOON_MS = 1_795_000_000_000
SINGLE_PHASE = built_in("eastron-sdm120").table
SDM120, SDM230, SDM630 = (driver_named(f"eastron-{model}") for model in ("sdm120", "sdm230", "sdm630"))


def reading_of(register: Register, words: tuple[int, ...], at_ms: int = 0) -> Reading:
    octets = struct.pack(f">{len(words)}H", *words)
    return BlockDecoder(block_of((register,))).readings(octets, at_ms)[0]


def carry_out(conversation: Conversation, answer: Callable[[bytes], bytes]) -> tuple[object, int]:
    """The conversation's result and how many requests it took; `answer` is the meter."""
    requests, exchange = 0, next(conversation)
    while True:
        requests += 1
        octets = answer(exchange.request)
        found = exchange.find_answer(octets)
        assert found is not None, exchange.request.hex()
        try:
            exchange = conversation.send(octets[found.start : found.end])
        except StopIteration as stop:
            return stop.value, requests


@pytest.fixture
def meter():
    house = HouseMeter(HouseSettings("20000007", 7), ManualClock(NOON_MS))
    yield house
    house.close()


@pytest.mark.parametrize("driver", [SDM120, SDM230, SDM630], ids=lambda d: d.name)
def test_values_are_those_of_the_house_rounded_once(driver, meter):
    port = driver.make_port(settings_from(driver, {"unit": 9}))
    readings, requests = carry_out(port.read_instant(lambda: NOON_MS + 5), ModbusSlave(9, meter).receive)
    snapshot = meter.snapshot()
    got = {BY_CODE[r.quantity].name: r.value for r in readings}
    assert requests == (3 if driver is SDM630 else 2)  # its distortion stands apart
    assert {r.at_ms for r in readings} == {NOON_MS + 5}
    assert {r.quality for r in readings} == {0}
    assert abs(got["energy_import_wh"] - snapshot.energy_import_wh) <= 1
    assert got["voltage_mv"] == pytest.approx(snapshot.voltage_mv, abs=1)
    assert got["current_ma"] == snapshot.current_ma
    assert got["power_w"] == snapshot.power_w
    assert got["power_factor_milli"] == snapshot.power_factor_milli


def test_identity_is_the_serial_number_in_the_meter(meter):
    port = SDM230.make_port(settings_from(SDM230, {"unit": 1}))
    assert carry_out(port.read_serial(), ModbusSlave(1, meter).receive)[0] == "20000007"


def test_a_meter_that_refuses_merged_reads_is_read_one_by_one_and_stays_so(meter):
    slave = ModbusSlave(1, meter)

    def strict(request: bytes) -> bytes:
        count = int.from_bytes(request[4:6], "big")
        return slave.receive(request) if count == 2 else with_crc(bytes((1, request[1] | 0x80, 2)))

    port = ModbusPort(SINGLE_PHASE, 1)
    readings, first = carry_out(port.read_instant(lambda: 0), strict)
    _, second = carry_out(port.read_instant(lambda: 0), strict)
    registers = len(SINGLE_PHASE.registers)
    assert len(readings) == registers
    assert (first, second) == (registers + len(SINGLE_PHASE.blocks()), registers)


def test_another_refusal_ends_the_poll_in_words():
    port = ModbusPort(SINGLE_PHASE, 1)
    with pytest.raises(MeterFault, match="server device failure"):
        carry_out(port.read_instant(lambda: 0), lambda request: with_crc(bytes((1, 0x84, 4))))


@pytest.mark.parametrize("octets", ["7fc00000", "7f800000", "ff800000", "c3663334"], ids=["NaN", "inf", "-inf", "-230 V"])
def test_a_value_that_cannot_be_is_marked_and_not_a_number(octets):
    words = struct.unpack(">2H", bytes.fromhex(octets))
    reading = reading_of(Register("voltage_mv", 0, "V", 0, 1_000), words, 5)
    assert (reading.value, reading.quality) == (0, Quality.METER_INVALID)


def test_scale_and_integer_types_reach_our_exponent_exactly():
    row = Register("energy_import_wh", 0, "kWh", 0, 1e9, Kind.U64, scale=Fraction(1, 100))
    assert reading_of(row, encode_value(123_456_789, Kind.U64)).value == 1_234_567_890
    low_first = Register("voltage_mv", 0, "V", 0, 1e6, Kind.S32, order=WordOrder.LITTLE, scale=Fraction(1, 10))
    assert reading_of(low_first, encode_value(2_301, Kind.S32, WordOrder.LITTLE)).value == 230_100


def test_what_the_meter_has_not_is_refused():
    port = ModbusPort(SINGLE_PHASE, 1)
    assert port.capabilities == frozenset()
    for conversation in (port.read_intervals(0, 1), port.read_events(0), port.read_clock(), port.open_switch()):
        with pytest.raises(RefusedCommand, match="unsupported"):
            next(conversation)
    with pytest.raises(RefusedCommand):
        next(port.write_face(Face(1, 2)))
    with pytest.raises(StopIteration) as stop:
        next(port.read_switch())
    assert stop.value.value is SwitchState.NOT_FITTED


@pytest.mark.parametrize("values", [{"unit": 0}, {"unit": 248}, {"unit": 1, "timeout_ms": 1}, {"unit": "1"}, {}])
def test_settings_that_cannot_be_are_refused_with_a_remedy(values):
    with pytest.raises(ConfigError):
        SDM230.make_port(settings_from(SDM230, values))


def test_energy_rows_use_quantities_we_know():
    assert all(row.quantity in BY_NAME for row in SINGLE_PHASE.registers)
