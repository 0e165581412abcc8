"""Every row of protocols.md section 7 (RS-485 practice) on a pty with that fault, in the order of the table, and so in one file."""

import fcntl
import itertools
import os
import subprocess
import sys
import termios
import time
import tty
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import serial.serialposix

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found, GaveWay, GivesWay
from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Control, Frame
from gridtally_edge.protocols.dlms.hdlc_link import HdlcLink
from gridtally_edge.protocols.modbus import Function, ReadRequest, read_registers, with_crc
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.faults import Fault, FaultKind
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.status import line_status
from gridtally_edge.transports import rs485, talker, turns
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.line import LineState
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.port_names import STABLE_FOLDERS, advice_on_name, holder_of, stable_name
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import MAX_GAP_S, Echo, LineSettings, Rs485, Speed
from gridtally_shared.errors import LinkDown, MeterFault
from support.waiting import wait_until

from .conftest import FAST, TIMEOUT_MS, ScriptedSlave

PATIENCE_S = 20


def result(future: Future):
    return future.result(PATIENCE_S)


# ---- "adapter echoes what we send" -------------------------------------------------------------------------------


@pytest.mark.parametrize("echo", list(Echo), ids=lambda e: f"echo {e.value}")
def test_an_adapter_echoes_the_whole_request(bench, echo):
    there = bench(echo=echo)
    there.far.faults.add(Fault(FaultKind.ECHO))
    assert [result(there.ask(1, address=n)) for n in (7, 8)] == [(7, 7), (8, 8)]
    assert there.line.health().statistics.echo_bytes == (0 if echo is Echo.OFF else 16)


@pytest.mark.parametrize("heard", [1, 3, 7])
def test_an_adapter_echoes_part_of_the_request(bench, heard):
    there = bench()
    there.far.faults.add(Fault(FaultKind.ECHO_PART, tail=heard))
    assert [result(there.ask(1, address=n)) for n in (7, 8)] == [(7, 7), (8, 8)]
    assert there.line.health().statistics.echo_bytes in (0 if heard < 3 else 2 * heard, 0)


def test_an_echo_alone_confirms_nothing(bench):
    """Writing a coil is answered with the request's own octets; with a mute meter only the adapter says them."""
    there = bench()
    there.far.faults.add(Fault(FaultKind.ECHO))
    there.slaves[1].receive = lambda data: b""
    write = with_crc(bytes.fromhex("01050000ff00"))

    def order() -> Conversation[bytes]:
        return (yield Exchange(write, lambda r: Found(0, 8) if r[:8] == write else None, 8, 100, 0, repeatable=False))

    with pytest.raises(LinkDown):
        result(there.line.submit(order(), Priority.SWITCH, "unit 1"))
    assert there.line.health().statistics.answers == 0


# ---- "RTS direction" ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(Rs485), ids=lambda m: f"rs485 {m.value}")
def test_a_port_without_rs485_control_works_and_tells_what_it_can_not_do(bench, mode):
    """A pty refuses both ioctls, as many USB adapters do."""
    there = bench(rs485=mode)
    assert result(there.ask(1, address=5)) == (5, 5)
    advice = " ".join(there.line.health().advice)
    assert ("sending without it" in advice) is (mode in (Rs485.KERNEL, Rs485.RTS))


def test_rts_is_raised_before_the_bytes_and_falls_when_they_are_out(bench, monkeypatch):
    calls: list[str] = []
    names = {termios.TIOCMBIS: "raise", termios.TIOCMBIC: "fall"}
    monkeypatch.setattr(rs485.fcntl, "ioctl", lambda descriptor, what, argument=0: calls.append(names.get(what, "")))
    monkeypatch.setattr(rs485.termios, "tcdrain", lambda descriptor: calls.append("drain"))
    there = bench(rs485=Rs485.RTS)
    calls.clear()
    result(there.ask(1))
    assert [call for call in calls if call] == ["raise", "drain", "fall"]
    assert there.line.health().advice == ()


@pytest.mark.parametrize("mode", [Rs485.KERNEL, Rs485.AUTO])
def test_the_kernel_turns_the_driver_round_where_it_can(monkeypatch, mode):
    records: list[bytes] = []

    def driver_with_rs485(descriptor: int, what: int, record: bytes) -> bytes:
        if what == rs485.TIOCSRS485:
            records.append(record)
        return bytes(rs485.RECORD.size)

    monkeypatch.setattr(rs485.fcntl, "ioctl", driver_with_rs485)
    direction = rs485.Direction(-1, "port", mode)
    assert (direction.mode, direction.trouble) == (Rs485.KERNEL, "")
    assert rs485.RECORD.unpack(records[0])[0] == rs485.ENABLED | rs485.RTS_ON_SEND


# ---- "stray 00 or FF before or after the answer" -----------------------------------------------------------------


@pytest.mark.parametrize("noise", [b"\x00", b"\xff", b"\x00\xff\x00\xff"], ids=lambda n: n.hex())
def test_stray_octets_before_the_answer_are_passed_over_and_counted(bench, noise):
    there = bench()
    there.far.faults.add(Fault(FaultKind.LEAD, noise=noise))
    assert [result(there.ask(1, address=n)) for n in (4, 5)] == [(4, 4), (5, 5)]
    statistics = there.line.health().statistics
    assert (statistics.noise_bytes, statistics.noisy_answers, statistics.timeouts) == (2 * len(noise), 2, 0)


def test_trailing_zeros_are_accepted_and_counted(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.TRAIL, noise=b"\x00\x00\x00"))
    assert [result(there.ask(1, address=n)) for n in (4, 5, 6)] == [(4, 4), (5, 5), (6, 6)]
    result(there.ask(1))
    assert there.line.health().statistics.noise_bytes >= 9
    assert there.line.health().statistics.timeouts == 0


def test_a_flipped_bit_costs_a_repetition_and_no_value(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.FLIP, bit=40, times=1))
    assert result(there.ask(1, address=4)) == (4, 4)
    statistics = there.line.health().statistics
    assert (statistics.answers, statistics.retries) == (1, 1)


# ---- "next request too early" ------------------------------------------------------------------------------------


@dataclass
class HardOfHearing(ScriptedSlave):
    """Misses what comes within `deaf_s` of somebody else's traffic."""

    deaf_s: float = 0.0
    disturbed_s: float = 0.0
    missed: int = 0

    def receive(self, data: bytes) -> bytes:
        now_s = time.monotonic()
        if data[:1] != bytes((self.unit,)):
            self.disturbed_s = now_s
            return b""
        if now_s - self.disturbed_s < self.deaf_s:
            self.missed += 1
            return b""
        return super().receive(data)


def with_hard_of_hearing(bench, deaf_s: float):
    there = bench(units=1)
    slave = HardOfHearing(2, deaf_s=deaf_s)
    there.far._stations += (Station(slave, lambda answer: str(answer[0])),)
    return there, slave


def test_a_meter_that_misses_early_requests_gets_a_longer_gap_which_is_kept(bench):
    there, slave = with_hard_of_hearing(bench, 0.012)
    for number in range(12):
        assert result(there.ask(1, address=number)) == (number, number)
        assert result(there.ask(2, address=number)) == (number, number)
    learnt = dict(there.line.health().gaps_ms)
    assert list(learnt) == ["unit 2"], "only the meter that needs it"
    assert 2 * 1000 * FAST.silence_s < learnt["unit 2"] <= 1000 * MAX_GAP_S
    assert 1 <= slave.missed <= 4, "each loss doubles the gap, and 50 ms are four doublings away"


def test_a_device_may_be_given_its_delay_beforehand(bench):
    there, slave = with_hard_of_hearing(bench, 0.012)
    there.line.place("unit 2", Place(gap_ms=15))
    for number in range(3):
        result(there.ask(1, address=number))
        assert result(there.ask(2, address=number)) == (number, number)
    assert slave.missed == 0


def test_the_gap_is_longer_when_another_device_is_addressed(bench):
    speed = Speed(9_600)
    there = bench(units=2, speed=speed, change_gap_ms=20, timing=Timing(speed, paced=True))
    sent_s, gaps_s = [0.0], {True: [], False: []}
    hear, send = there.far.port.receive, there.far.port.send
    units = [0]

    def heard(descriptor: int) -> bytes:
        data = hear(descriptor)
        if data and sent_s[0]:
            gaps_s[data[0] == units[0]].append(time.monotonic() - sent_s[0])
        units[0] = data[0] if data else 0
        return data

    def sent(data: bytes) -> None:
        sent_s[0] = time.monotonic()
        send(data)

    there.far.port.receive, there.far.port.send = heard, sent
    for unit in (1, 1, 2, 2, 1, 1):
        result(there.ask(unit))
    assert len(gaps_s[True]) == 3
    assert speed.silence_s <= min(gaps_s[True]) < 0.020
    assert min(gaps_s[False]) >= 0.020


# ---- "theory versus USB" -----------------------------------------------------------------------------------------


def test_an_answer_in_single_octets_with_pauses_longer_than_three_and_a_half_characters_is_whole(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.SPLIT, wait_ms=6))
    assert result(there.ask(1, address=4)) == (4, 4)
    assert there.line.health().statistics.timeouts == 0


def test_an_answer_ends_by_its_length_and_is_not_waited_for_longer(bench):
    there = bench()
    began_s = time.monotonic()
    for number in range(10):
        result(there.ask(1, address=number))
    assert time.monotonic() - began_s < 10 * TIMEOUT_MS / 1000 / 3


def test_what_can_not_become_the_answer_ends_by_silence(bench):
    """As many bytes as the answer has, none of them fitting: silence ends the try, not the time-out."""
    there = bench()
    there.slaves[1].receive = lambda data: bytes(9)
    request = ReadRequest(1, Function.READ_INPUT, 0, 2)
    began_s = time.monotonic()
    with pytest.raises(LinkDown):
        result(there.line.submit(read_registers(request, 5_000, 0), Priority.PROFILE, "unit 1"))
    assert time.monotonic() - began_s < 1.0


# ---- "several clients on one port, mixed speed" ------------------------------------------------------------------


def test_settings_change_on_the_idle_line_with_50_ms_and_an_empty_buffer(monkeypatch):
    """A pty carries bytes at any speed and takes no parity, so the calls are checked where they are made."""
    master, slave = os.openpty()
    tty.setraw(slave)
    calls: list[tuple[str, float]] = []
    codings: list[tuple[int, int]] = []
    flush, write, set_attributes = termios.tcflush, os.write, termios.tcsetattr

    def flushed(descriptor: int, queue: int) -> None:
        calls.append(("flush", time.monotonic()))
        flush(descriptor, queue)

    def set_without_parity(descriptor: int, when: int, attributes: list) -> None:
        codings.append((attributes[4], attributes[2] & (termios.PARENB | termios.PARODD)))
        set_attributes(descriptor, when, [*attributes[:2], attributes[2] & ~termios.PARENB, *attributes[3:]])

    def written(descriptor: int, data: bytes) -> int:
        if bytes(data) == b"?":
            calls.append(("write", time.monotonic()))
        return write(descriptor, data)

    def one() -> Conversation[bytes]:
        return (yield Exchange(b"?", lambda received: None, None, 50, 0))

    line = SerialBus(LineSettings("test", os.ttyname(slave), Speed(9_600)))
    line.place("even", Place(speed=Speed(2_400, parity="E")))
    try:
        line.start()
        monkeypatch.setattr(termios, "tcflush", flushed)
        monkeypatch.setattr(termios, "tcsetattr", set_without_parity)
        monkeypatch.setattr(os, "write", written)
        for meter in ("plain", "even"):
            with pytest.raises(LinkDown):
                result(line.submit(one(), Priority.PROFILE, meter))
    finally:
        monkeypatch.undo()
        line.close()
        os.close(slave)
        os.close(master)
    assert "hear those at 2400 8E1 as garbage" in line.health().advice[0]
    assert (termios.B2400, termios.PARENB) in codings
    assert [name for name, _ in calls] == ["write", "flush", "write"]
    (_, first_s), (_, flush_s), (_, second_s) = calls
    assert flush_s - first_s >= 0.050 + 0.050, "its own time-out, then 50 ms of rest"
    assert second_s - flush_s >= 0.050


# ---- "several protocols on one bus" ------------------------------------------------------------------------------


@dataclass
class HdlcStation:
    """Takes SNRM and DISC, and answers every other frame with RR; writes down what it was told."""

    address: Address
    told: list[tuple[Control, int]] = field(default_factory=list)

    def receive(self, data: bytes) -> bytes:
        answer = b""
        for frame in hdlc.frames_of(data):
            if frame.destination == self.address:
                self.told.append((frame.kind, frame.source.upper))
                control = hdlc.UA if frame.kind in (Control.SNRM, Control.DISC) else hdlc.receive_ready(1)
                answer += hdlc.encode_frame(Frame(frame.source, self.address, control))
        return answer


DLMS_METER = Address(1, 17, 2)


@pytest.fixture
def mixed(tmp_path):
    """A Modbus meter and an HDLC meter on one pty, 10 ms of turn-around each."""
    station, slave = HdlcStation(DLMS_METER), ScriptedSlave(1)
    stations = [Station(station, lambda answer: "hdlc"), Station(slave, lambda answer: "1")]
    far = SimBus("mixed", PtyPort(tmp_path / "line"), stations, Timing(turnaround_ms=10))
    far.start()
    line = SerialBus(LineSettings("mixed", far.port.address(), FAST, grant_s=30))
    line.start()
    yield line, station, slave
    line.close()
    far.close()


def long_session(frames: int, client: int = 16, gives_way: GivesWay = GivesWay.OTHER_METERS) -> Conversation[int]:
    """As a profile read over many blocks: connect, one frame after the other, disconnect whatever happens."""
    link = HdlcLink(Address(client), DLMS_METER)
    done = 0
    yield from link.connect()
    octets = hdlc.encode_frame(Frame(DLMS_METER, Address(client), hdlc.receive_ready(0)))
    try:
        for _ in range(frames):
            yield Exchange(octets, hdlc_answer, None, 300, 1, gives_way=gives_way)
            done += 1
    finally:
        yield from link.disconnect()
    return done


def hdlc_answer(received: bytes) -> Found | None:
    placed = next(iter(hdlc.scan(received)), None)
    return Found(placed.start, placed.end) if placed else None


def modbus_read(line: SerialBus, priority: Priority) -> Future:
    return line.submit(read_registers(ReadRequest(1, Function.READ_INPUT, 3, 2), TIMEOUT_MS), priority, "modbus")


def test_a_session_of_one_protocol_and_exchanges_of_another_share_the_bus(mixed):
    line, station, _ = mixed
    session, read = line.submit(long_session(5), Priority.PROFILE, "dlms"), modbus_read(line, Priority.PROFILE)
    assert (result(session), result(read)) == (5, (3, 3))
    kinds = [kind for kind, _ in station.told]
    assert kinds == [Control.SNRM, *[Control.RR] * 5, Control.DISC], "one association, released before the bus is handed over"


@pytest.mark.parametrize("priority", [Priority.SWITCH, Priority.ON_DEMAND], ids=lambda p: p.name)
def test_a_command_gets_the_bus_between_two_frames_of_anothers_session(mixed, priority):
    line, station, _ = mixed
    session = line.submit(long_session(60), Priority.PROFILE, "dlms")
    wait_until(lambda: len(station.told) > 3, PATIENCE_S)
    assert result(modbus_read(line, priority)) == (3, 3)
    assert len(station.told) < 40
    assert not session.done()
    assert result(session) == 60
    assert [kind for kind, _ in station.told].count(Control.SNRM) == 1, "the session went on where it was"
    assert line.health().statistics.gave_way == 1


def test_a_switch_command_for_the_same_meter_ends_its_long_session_in_a_bounded_time(mixed, monkeypatch):
    monkeypatch.setattr(turns, "SAME_METER_S", 0.2)
    line, station, _ = mixed
    session = line.submit(long_session(400), Priority.PROFILE, "dlms")
    wait_until(lambda: len(station.told) > 3, PATIENCE_S)
    began_s = time.monotonic()
    assert result(line.submit(long_session(1, client=48), Priority.SWITCH, "dlms")) == 1
    assert time.monotonic() - began_s < 2.0
    with pytest.raises(GaveWay, match="more urgent"):
        result(session)
    told = [(kind, client) for kind, client in station.told if kind is not Control.RR]
    assert told == [(Control.SNRM, 16), (Control.DISC, 16), (Control.SNRM, 48), (Control.DISC, 48)]
    assert line.health().silent == ()


def test_a_request_that_must_follow_at_once_is_not_separated_from_the_one_before(mixed):
    line, station, _ = mixed
    session = line.submit(long_session(20, gives_way=GivesWay.NOBODY), Priority.PROFILE, "dlms")
    wait_until(lambda: len(station.told) > 3, PATIENCE_S)
    read = modbus_read(line, Priority.SWITCH)
    frames_before: list[int] = []
    read.add_done_callback(lambda _: frames_before.append([kind for kind, _ in station.told].count(Control.RR)))
    assert (result(session), result(read)) == (20, (3, 3))
    assert frames_before == [20]


def test_a_modbus_conversation_makes_room_for_anybody_and_shares_with_its_equals_after_its_time(bench):
    there = bench(units=2, grant_s=0.05, timing=Timing(turnaround_ms=10))
    order: list[int] = []

    def many(unit: int) -> Conversation[int]:
        for number in range(20):
            yield from read_registers(ReadRequest(unit, Function.READ_INPUT, number, 2), TIMEOUT_MS)
            order.append(unit)
        return unit

    futures = [there.line.submit(many(unit), Priority.PROFILE, f"unit {unit}") for unit in (1, 2)]
    assert [result(future) for future in futures] == [1, 2]
    assert order[:20] != [1] * 20, "neither waits for all of the other"
    assert order.count(1) == order.count(2) == 20


# ---- "absent unit costs timeouts" --------------------------------------------------------------------------------


def test_an_absent_unit_is_left_alone_for_longer_and_longer_and_blocks_nobody(bench):
    there = bench(units=3)
    there.far.faults.add(Fault(FaultKind.MUTE, meter="2"))
    for number in range(4):
        futures = {unit: there.ask(unit, address=number) for unit in (1, 2, 3)}
        assert [result(futures[unit]) for unit in (1, 3)] == [(number, number)] * 2
        with pytest.raises(LinkDown):
            result(futures[2])
    assert len(there.slaves[2].asked) == 3, "the tries of the first round, none later"
    assert there.line.health().silent == ("unit 2",)


def test_a_known_meter_is_given_up_sooner_than_its_protocol_says(bench):
    there = bench()
    for number in range(9):
        result(there.ask(1, address=number))
    there.far.faults.add(Fault(FaultKind.MUTE))
    request = ReadRequest(1, Function.READ_INPUT, 0, 2)
    began_s = time.monotonic()
    with pytest.raises(LinkDown):
        result(there.line.submit(read_registers(request, 2_000, 0), Priority.PROFILE, "unit 1"))
    assert time.monotonic() - began_s < 1.0


# ---- "USB pulled or moves to another node name" ------------------------------------------------------------------


def test_a_pulled_adapter_is_told_and_its_return_found_under_the_same_name(bench):
    there = bench()
    result(there.ask(1))
    node = os.path.realpath(there.line.settings.device)
    there.far.unplug()
    with pytest.raises(LinkDown):
        result(there.ask(1))
    lost = there.line.health()
    assert (lost.state, lost.statistics.losses) == (LineState.DOWN, 1)
    assert there.line.settings.device in lost.trouble
    others = [os.openpty() for _ in range(16)]  # take the old node's place, so that the adapter comes back as another
    there.far.plug()
    wait_until(lambda: there.line.health().state is LineState.UP, PATIENCE_S)
    assert os.path.realpath(there.line.settings.device) != node
    assert result(there.ask(1, address=6)) == (6, 6)
    assert there.line.health().trouble == ""
    for other in (end for pair in others for end in pair):
        os.close(other)


def test_a_port_that_is_away_is_tried_again_with_growing_pauses(monkeypatch, tmp_path):
    tried_s: list[float] = []
    really_open = os.open

    def watched(path, *arguments):
        if str(path).endswith("nothing"):
            tried_s.append(time.monotonic())
        return really_open(path, *arguments)

    monkeypatch.setattr(serial.serialposix.os, "open", watched)
    line = SerialBus(LineSettings("test", str(tmp_path / "nothing"), reopen_first_s=0.02, reopen_longest_s=0.08))
    line.start()
    wait_until(lambda: len(tried_s) >= 6, PATIENCE_S)
    line.close()
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried_s)]
    assert all(pause >= least for pause, least in zip(pauses, (0.02, 0.04, 0.08, 0.08, 0.08), strict=False))
    usual = LineSettings("usual", "x")
    assert (usual.reopen_first_s, usual.reopen_longest_s) == (1.0, 60.0)


def test_a_stable_name_is_proposed_for_a_port_named_by_its_node(tmp_path):
    node, by_id, by_path = tmp_path / "ttyUSB0", tmp_path / "by-id", tmp_path / "by-path"
    node.touch()
    by_id.mkdir()
    by_path.mkdir()
    (by_path / "pci-usb-0-port0").symlink_to(node)
    assert stable_name(str(node), (by_id, by_path)) == str(by_path / "pci-usb-0-port0")
    (by_id / "usb-FTDI_A10-if00").symlink_to(node)
    assert stable_name(str(node), (by_id, by_path)) == str(by_id / "usb-FTDI_A10-if00")
    assert f"write {by_id / 'usb-FTDI_A10-if00'}" in advice_on_name(str(node), (by_id, by_path))
    assert stable_name(str(by_id / "usb-FTDI_A10-if00"), (by_id, by_path)) == ""
    assert [folder.name for folder in STABLE_FOLDERS] == ["by-id", "by-path"]


def test_a_port_without_permission_is_tried_again_and_stops_no_other_line(bench, monkeypatch, tmp_path):
    there = bench()
    really_open, refused = os.open, [True]

    def guarded(path, *arguments):
        if str(path).endswith("private") and refused:
            raise PermissionError(13, "Permission denied")
        return really_open(path, *arguments)

    monkeypatch.setattr(serial.serialposix.os, "open", guarded)
    master, slave = os.openpty()
    (tmp_path / "private").symlink_to(os.ttyname(slave))
    line = SerialBus(LineSettings("private", str(tmp_path / "private"), reopen_first_s=0.02))
    with pytest.raises(Exception, match="dialout"):
        line.start()
    assert result(there.ask(1, address=2)) == (2, 2)
    assert "dialout" in line.health().trouble
    refused.clear()
    wait_until(lambda: line.health().state is LineState.UP, PATIENCE_S)
    line.close()
    os.close(slave)
    os.close(master)


# ---- "two processes on one port" ---------------------------------------------------------------------------------


def test_a_port_of_another_process_is_left_to_it_and_the_process_named(tmp_path):
    master, slave = os.openpty()
    device = os.ttyname(slave)
    script = f"import serial, sys; port = serial.Serial({device!r}, exclusive=True); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        line = SerialBus(LineSettings("second", device, reopen_first_s=0.02))
        line.start()
        assert f"process {other.pid}) holds the port" in line.health().trouble
        other.stdin.close()
        wait_until(lambda: line.health().state is LineState.UP, PATIENCE_S)
        line.close()
    assert holder_of(device) == ""
    os.close(slave)
    os.close(master)


# ---- "slave mode on multi-drop" ----------------------------------------------------------------------------------


def test_the_simulated_meters_pass_over_each_others_answers(bench):
    there = bench(units=3)
    for number in range(3):
        for unit in (1, 2, 3):
            assert result(there.ask(unit, address=number)) == (number, number)
    assert [len(slave.asked) for slave in there.slaves.values()] == [3, 3, 3]
    assert there.line.health().statistics.noise_bytes == 0


# ---- "HDLC after a client switch" --------------------------------------------------------------------------------


def test_a_new_client_gets_an_association_of_its_own(mixed):
    line, station, _ = mixed
    for client in (16, 48):
        assert result(line.submit(long_session(1, client), Priority.PROFILE, "dlms")) == 1
    opened = [(kind, client) for kind, client in station.told if kind is not Control.RR]
    assert opened == [(Control.SNRM, 16), (Control.DISC, 16), (Control.SNRM, 48), (Control.DISC, 48)]


@pytest.mark.parametrize(("upper", "lower", "size"), [(1, None, 1), (1, 17, 2), (1, 1000 + 16, 4)])
def test_server_addresses_of_one_two_and_four_octets_reach_the_meter(tmp_path, upper, lower, size):
    address = Address(upper, lower, size)
    station = HdlcStation(address)
    far = SimBus("far", PtyPort(tmp_path / "line"), [Station(station, lambda answer: "meter")])
    far.start()
    line = SerialBus(LineSettings("test", far.port.address(), FAST))
    line.start()

    def hello() -> Conversation[None]:
        yield from HdlcLink(Address(16), address).connect()

    result(line.submit(hello(), Priority.PROFILE, "dlms"))
    assert station.told == [(Control.SNRM, 16)]
    line.close()
    far.close()


# ---- "slow last frame" -------------------------------------------------------------------------------------------


def listen_for_push(octets: bytes, timeout_ms: int = 500) -> Conversation[bytes]:
    def whole(received: bytes) -> Found | None:
        start = received.find(octets)
        return Found(start, start + len(octets)) if start >= 0 else None

    yield Exchange(with_crc(b"\x01\x04\x00\x00\x00\x02"), lambda r: Found(0, 9) if len(r) >= 9 else None, None, 200, 0)
    return (yield Exchange(b"", whole, None, timeout_ms, 0))


def test_a_pause_of_three_seconds_before_the_last_frame_of_a_push_is_waited_for(bench):
    there = bench()
    push = b"first frame, second frame, last frame"
    there.far.faults.add(Fault(FaultKind.TRAIL, noise=push))
    there.far.faults.add(Fault(FaultKind.PAUSE, tail=10, wait_ms=3_000))
    assert there.line.settings.receive_timeout_s > 4
    assert result(there.line.submit(listen_for_push(push), Priority.PROFILE, "unit 1")) == push


def test_the_receive_time_out_can_be_set(bench):
    there = bench(receive_timeout_s=0.1)
    push = b"first frame, second frame, last frame"
    there.far.faults.add(Fault(FaultKind.TRAIL, noise=push))
    there.far.faults.add(Fault(FaultKind.PAUSE, tail=10, wait_ms=900))
    with pytest.raises(LinkDown):
        result(there.line.submit(listen_for_push(push, 100), Priority.PROFILE, "unit 1"))


# ---- the rest of the harness list --------------------------------------------------------------------------------


def test_an_answer_from_a_wrong_unit_is_not_taken(bench):
    there = bench()
    there.slaves[1].receive = lambda data: with_crc(bytes((2, 4, 4, 9, 9, 9, 9)))
    with pytest.raises(LinkDown):
        result(there.ask(1, retries=0))
    assert there.line.health().statistics.answers == 0


def test_the_late_answer_of_the_previous_request_is_not_taken_for_the_next(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.LATE, times=1, wait_ms=TIMEOUT_MS + 150))
    first, second = there.ask(1, address=1), there.ask(1, address=2)
    assert (result(first), result(second), result(there.ask(1, address=3))) == ((1, 1), (2, 2), (3, 3))
    assert there.line.health().statistics.late_answers == 1


def test_a_refusal_is_an_answer_and_shorter_than_expected(bench):
    there = bench()
    there.slaves[1].receive = lambda data: with_crc(b"\x01\x84\x02")
    began_s = time.monotonic()
    with pytest.raises(MeterFault, match="illegal data address"):
        result(there.ask(1))
    assert time.monotonic() - began_s < TIMEOUT_MS / 1000


def test_the_port_is_locked_while_it_is_open(bench):
    there = bench()
    result(there.ask(1))
    with open(there.line.settings.device, "rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert Path(there.line.settings.device).is_symlink()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.LEAD),
        Fault(FaultKind.TRAIL, noise=b"\x00\x00\x00"),
        Fault(FaultKind.SPLIT, wait_ms=2),
        Fault(FaultKind.ECHO),
        Fault(FaultKind.FLIP, times=1),
        Fault(FaultKind.MUTE, times=1),
    ],
    ids=lambda fault: fault.kind.value,
)
def test_without_the_compiled_module_a_line_does_the_same(bench, monkeypatch, fault):
    monkeypatch.setattr(talker, "exchange_paced", None)
    there = bench()
    there.far.faults.add(fault)
    assert [result(there.ask(1, address=n)) for n in (4, 5, 6)] == [(4, 4), (5, 5), (6, 6)]


def test_a_line_tells_its_quality_in_the_status(bench):
    there = bench(units=2, rs485=Rs485.KERNEL)
    there.far.faults.add(Fault(FaultKind.LEAD, meter="1", noise=b"\x00\xff"))
    for unit in (1, 2, 1):
        result(there.ask(unit))
    status = line_status(there.line)
    assert (status.state, status.trouble, status.waiting) == ("up", "", 0)
    assert (status.quality.answers, status.quality.noise_bytes, status.quality.noisy_answers) == (3, 4, 2)
    assert 0 < status.busy_share <= 1
    assert "sending without it" in status.advice[0]
