"""Simulated Modbus meters read by a foreign client, and the wire they hang on."""

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient

from gridtally_edge.protocols.modbus import with_crc
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.faults import Fault, FaultBoard, FaultKind, flip_bit
from gridtally_edge.simulators.house import Contactor, HouseMeter, HouseSettings
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_edge.simulators.ports import PtyPort, TcpPort
from gridtally_edge.transports.settings import Speed
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError
from support.waiting import wait_until

START_MS = 1_795_000_500_000
VOLTS_OF_3 = with_crc(bytes.fromhex("030400000002"))


def house(number: int) -> HouseMeter:
    settings = HouseSettings(str(20_000_000 + number), number, contactor=Contactor.NONE)
    return HouseMeter(settings, ManualClock(START_MS))


@pytest.fixture(scope="module")
def meters():
    found = {unit: house(unit) for unit in (1, 2, 3)}
    for meter in found.values():
        meter.snapshot()
    return found


@pytest.fixture
def line(meters, tmp_path):
    stations = [Station(ModbusSlave(unit, meter), lambda answer: str(answer[0])) for unit, meter in meters.items()]
    bus = SimBus("line", PtyPort(tmp_path / "line"), stations)
    bus.start()
    yield bus
    bus.close()


@pytest.fixture
def client(line):
    """pymodbus, a Modbus implementation that shares no code with ours."""
    with ModbusSerialClient(line.port.address(), baudrate=115_200, timeout=5, retries=0) as foreign:
        yield foreign


def floats(foreign: ModbusSerialClient, registers: list[int]) -> list[float]:
    value = foreign.convert_from_registers(registers, foreign.DATATYPE.FLOAT32, word_order="big")
    return value if isinstance(value, list) else [value]


def test_a_foreign_client_reads_every_meter(client, meters):
    for unit, meter in meters.items():
        snapshot = meter.snapshot()
        first = floats(client, client.read_input_registers(0, count=32, device_id=unit).registers)
        energy = floats(client, client.read_input_registers(0x46, count=6, device_id=unit).registers)
        assert first[0] == pytest.approx(snapshot.voltage_mv / 1e3, rel=1e-6)
        assert first[3] == pytest.approx(snapshot.current_ma / 1e3, rel=1e-6)
        assert first[6] == snapshot.power_w
        assert first[15] == pytest.approx(snapshot.power_factor_milli / 1e3, rel=1e-6)
        assert energy[0] == pytest.approx(snapshot.frequency_mhz / 1e3, rel=1e-6)
        assert energy[1] * 1_000 == pytest.approx(snapshot.energy_import_wh, rel=1e-6)
        assert energy[2] == 0


def test_a_foreign_client_reads_the_serial_number(client):
    registers = client.read_holding_registers(0xFC00, count=2, device_id=2).registers
    assert client.convert_from_registers(registers, client.DATATYPE.UINT32, word_order="big") == 20_000_002


@pytest.mark.parametrize(
    ("address", "count", "code"),
    [(0x2000, 2, 2), (0x0001, 2, 2), (0x0108, 4, 2), (0, 82, 3)],
    ids=["no such cell", "odd address", "across the end", "too many"],
)
def test_what_the_meter_does_not_serve_is_refused(client, address, count, code):
    answer = client.read_input_registers(address, count=count, device_id=1)
    assert answer.isError()
    assert answer.exception_code == code


def test_writing_is_refused_as_an_illegal_function(client):
    assert client.write_register(0, 1, device_id=1).exception_code == 1


def test_a_cell_the_meter_does_not_measure_reads_nought(client):
    assert floats(client, client.read_input_registers(2, count=4, device_id=1).registers) == [0.0, 0.0]


def test_a_slave_answers_only_for_itself(meters):
    slave = ModbusSlave(1, meters[1])
    assert slave.receive(VOLTS_OF_3) == b""
    assert slave.receive(with_crc(bytes.fromhex("000400000002"))) == b"", "a broadcast"
    assert slave.receive(ModbusSlave(3, meters[3]).receive(VOLTS_OF_3)) == b"", "another meter's answer"


def test_a_slave_finds_its_request_in_pieces_noise_and_after_half_a_request(meters):
    slave = ModbusSlave(3, meters[3])
    whole = slave.receive(VOLTS_OF_3)
    assert whole[:3] == b"\x03\x04\x04"
    pieces = [slave.receive(bytes((b,))) for b in VOLTS_OF_3]
    assert pieces == [b""] * 7 + [whole]
    assert slave.receive(b"\x00\xff\x03" + VOLTS_OF_3 + b"\x00") == whole
    assert slave.receive(VOLTS_OF_3[:5]) == b""
    assert slave.receive(VOLTS_OF_3) == whole


def test_a_request_with_any_one_bit_turned_gets_no_answer(meters):
    for bit in range(8 * len(VOLTS_OF_3)):
        assert ModbusSlave(3, meters[3]).receive(flip_bit(VOLTS_OF_3, bit)) == b""


@given(noise=st.lists(st.binary(max_size=40), max_size=8))
@settings(deadline=None)
def test_noise_never_breaks_a_slave(meters, noise):
    slave = ModbusSlave(3, meters[3])
    for data in noise:
        slave.receive(data)
    slave.receive(bytes(8))
    assert slave.receive(VOLTS_OF_3)[:3] == b"\x03\x04\x04"


@pytest.mark.parametrize(("unit", "serial"), [(0, "1"), (248, "1"), (1, "ABC"), (1, str(1 << 32))])
def test_a_slave_that_cannot_be_is_refused(unit, serial):
    with pytest.raises(ConfigError):
        ModbusSlave(unit, HouseMeter(HouseSettings(serial, 1), ManualClock(START_MS)))


def test_a_paced_line_takes_the_time_of_a_real_one(meters, tmp_path):
    """40 registers at 9600 baud: 93 characters and the silence before the answer, plus the turn-around."""
    speed, turnaround_s = Speed(9_600), 0.020
    stations = [Station(ModbusSlave(1, meters[1]), lambda answer: "1")]
    bus = SimBus("line", PtyPort(tmp_path / "line"), stations, Timing(speed, paced=True, turnaround_ms=20, burst=1))
    bus.start()
    reader = os.open(bus.port.address(), os.O_RDWR | os.O_NOCTTY)
    try:
        began_s, received = time.monotonic(), b""
        os.write(reader, with_crc(bytes.fromhex("010400000028")))
        while len(received) < 85:
            received += os.read(reader, 200)
        took_s = time.monotonic() - began_s
    finally:
        os.close(reader)
        bus.close()
    floor_s = 93 * speed.character_s + speed.silence_s + turnaround_s
    assert floor_s <= took_s < 1.5 * floor_s


def test_a_pulled_line_ends_the_reader_and_comes_back_under_its_name(line, tmp_path):
    reader = os.open(line.port.address(), os.O_RDWR | os.O_NOCTTY)
    line.unplug()
    assert not os.path.lexists(line.port.address())
    with pytest.raises(OSError):
        os.write(reader, b"?")
    os.close(reader)
    line.plug()
    reader = os.open(line.port.address(), os.O_RDWR | os.O_NOCTTY)
    os.write(reader, VOLTS_OF_3)
    assert os.read(reader, 3) == b"\x03\x04\x04"
    os.close(reader)


def test_a_file_in_the_way_of_a_line_is_not_overwritten(tmp_path):
    (tmp_path / "line").write_text("precious")
    with pytest.raises(ConfigError, match="in the way"):
        PtyPort(tmp_path / "line").plug()
    assert (tmp_path / "line").read_text() == "precious"


def test_a_taken_tcp_port_is_told():
    first = TcpPort()
    first.plug()
    number = int(first.address().rpartition(":")[2])
    with pytest.raises(ConfigError, match="choose another"):
        TcpPort("127.0.0.1", number).plug()
    first.unplug()


def shaped(*faults: Fault, answer: bytes = b"answer") -> list[bytes]:
    board = FaultBoard()
    for fault in faults:
        board.add(fault)
    return [piece.data for piece in board.shape("1", answer)]


def test_faults_shape_an_answer():
    assert shaped() == [b"answer"]
    assert shaped(Fault(FaultKind.MUTE)) == []
    assert shaped(Fault(FaultKind.FLIP, bit=8)) == [b"aoswer"]
    assert shaped(Fault(FaultKind.LEAD, noise=b"<")) == [b"<", b"answer"]
    assert shaped(Fault(FaultKind.TRAIL, noise=b">")) == [b"answer", b">"]
    assert shaped(Fault(FaultKind.SPLIT)) == [b"a", b"n", b"s", b"w", b"e", b"r"]
    assert shaped(Fault(FaultKind.LATE)) == [b"answer"]


def test_several_faults_act_together():
    both = shaped(Fault(FaultKind.TRAIL, noise=b">"), Fault(FaultKind.LEAD, noise=b"<"), Fault(FaultKind.FLIP, bit=8))
    assert both == [b"<", b"aoswer", b">"]


def test_a_fault_ends_after_its_times_and_aims_at_its_meter():
    board = FaultBoard()
    board.add(Fault(FaultKind.MUTE, meter="1", times=2))
    answers = [board.shape(meter, b"x") for meter in ("1", "2", "1", "1")]
    assert [bool(pieces) for pieces in answers] == [False, True, False, True]
    board.add(Fault(FaultKind.MUTE, meter="1"))
    board.add(Fault(FaultKind.MUTE, meter="2"))
    board.clear("1")
    assert [fault.meter for fault in board.listed()] == ["2"]
    board.clear()
    assert board.listed() == ()


def test_a_second_reader_over_tcp_takes_the_line_over(meters):
    import socket

    bus = SimBus("line", TcpPort(), [Station(ModbusSlave(3, meters[3]), lambda answer: "3")])
    bus.start()
    where = ("127.0.0.1", int(bus.port.address().rpartition(":")[2]))
    with socket.create_connection(where, 5) as first, socket.create_connection(where, 5) as second:
        wait_until(lambda: first.recv(1) == b"", 5)
        second.sendall(VOLTS_OF_3)
        assert second.recv(3) == b"\x03\x04\x04"
    bus.close()
