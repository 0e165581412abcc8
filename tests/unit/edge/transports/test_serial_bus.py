"""A real `SerialBus` on a pty against what RS-485 lines do (protocols.md section 7)."""

import errno
import itertools
import os
import termios
import threading
import time
import tty
from concurrent.futures import Future

import pytest

from gridtally_edge.protocols.conversation import Exchange, Found
from gridtally_edge.protocols.modbus import Function, ReadRequest, read_registers, with_crc
from gridtally_edge.simulators.bus import Timing
from gridtally_edge.simulators.faults import Fault, FaultKind
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.line import LineState
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import Echo, LineSettings, Speed
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault
from support.waiting import wait_until

PATIENCE_S = 20


def result(future: Future):
    return future.result(PATIENCE_S)


@pytest.mark.parametrize("tcp", [False, True], ids=["pty", "tcp"])
def test_reads_many_meters(bench, tcp):
    there = bench(units=5, tcp=tcp)
    futures = [there.ask(unit, address=unit * 10, count=40) for unit in there.slaves]
    assert [result(f) for f in futures] == [(unit * 10,) * 40 for unit in there.slaves]
    assert there.line.health().statistics.answers == 5


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.LEAD, noise=b"\x00\xff"),
        Fault(FaultKind.TRAIL, noise=b"\x00\x00\x00"),
        Fault(FaultKind.SPLIT, wait_ms=2),
        Fault(FaultKind.ECHO),
        Fault(FaultKind.FLIP, times=1),
        Fault(FaultKind.MUTE, times=1),
    ],
    ids=lambda f: f.kind.value,
)
def test_a_value_comes_through_the_fault(bench, fault):
    there = bench()
    there.far.faults.add(fault)
    assert [result(there.ask(1, address=n)) for n in (5, 6, 7)] == [(5, 5), (6, 6), (7, 7)]


@pytest.mark.parametrize("echo", list(Echo), ids=lambda e: e.value)
def test_echo_settings_on_an_echoing_adapter(bench, echo):
    there = bench(echo=echo)
    there.far.faults.add(Fault(FaultKind.ECHO))
    assert result(there.ask(1, address=9)) == (9, 9)
    echoed = there.line.health().statistics.echo_bytes
    assert echoed == (0 if echo is Echo.OFF else 8)


def test_noise_is_counted_and_not_delivered(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.TRAIL, noise=b"\x00\x00\x00"))
    result(there.ask(1))
    result(there.ask(1, address=4))
    assert there.line.health().statistics.noise_bytes >= 3


@pytest.mark.covers_part("BYPL-2.4b")
def test_an_answer_spoilt_every_time_yields_no_value(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.FLIP, bit=33))
    with pytest.raises(LinkDown):
        result(there.ask(1))
    assert there.line.health().statistics.answers == 0
    assert there.line.health().statistics.noise_bytes == 3 * 9


def test_an_answer_of_a_wrong_unit_is_left_aside(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.LEAD, noise=with_crc(bytes((2, 4, 4, 9, 9, 9, 9)))))
    assert result(there.ask(1, address=3)) == (3, 3)


def test_a_late_answer_is_not_taken_for_the_answer_to_the_next_request(bench):
    """Same meter, same length, another register: only time can tell the two answers apart."""
    there = bench()
    there.far.faults.add(Fault(FaultKind.LATE, times=1, wait_ms=450))
    first, second = there.ask(1, address=1), there.ask(1, address=2)
    assert result(first) == (1, 1)
    assert result(second) == (2, 2)
    assert result(there.ask(1, address=3)) == (3, 3)
    assert there.line.health().statistics.late_answers >= 1


def test_bytes_left_from_before_are_thrown_away(bench):
    there = bench()
    result(there.ask(1))
    there.far.port.send(with_crc(bytes((1, 4, 4, 0xBA, 0xD0, 0xBA, 0xD0))))
    assert result(there.ask(1, address=8)) == (8, 8)


def test_a_refusal_of_the_meter_is_not_silence(bench):
    there = bench()
    there.slaves[1].receive = lambda data: with_crc(b"\x01\x84\x02") if len(data) == 8 else b""
    with pytest.raises(MeterFault, match="illegal data address"):
        result(there.ask(1))
    assert there.line.health().silent == ()


def test_one_dead_meter_costs_the_others_at_most_one_time_out_a_cycle(bench):
    there = bench(units=12)
    there.far.faults.add(Fault(FaultKind.MUTE, meter="4"))
    for _ in range(5):
        before = there.line.health().statistics.timeouts
        futures = {unit: there.ask(unit, address=unit) for unit in there.slaves}
        for unit, future in futures.items():
            if unit != 4:
                assert result(future) == (unit, unit)
        assert there.line.health().statistics.timeouts - before <= 1
    with pytest.raises(LinkDown, match="unit 4"):
        result(futures[4])
    wait_until(lambda: there.line.health().waiting == 0, PATIENCE_S)
    assert there.line.health().silent == ("unit 4",)
    assert len(there.slaves[4].asked) <= 4


def test_a_silent_meter_is_refused_without_a_byte_and_heard_again_when_it_answers(bench, monkeypatch):
    monkeypatch.setattr("gridtally_edge.transports.breaker.FIRST_S", 0.4)
    there = bench()
    there.far.faults.add(Fault(FaultKind.MUTE))
    with pytest.raises(LinkDown, match="does not answer"):
        result(there.ask(1, retries=0))
    sent = there.line.health().statistics.bytes_sent
    with pytest.raises(LinkDown, match="asked again in"):
        result(there.ask(1))
    assert there.line.health().statistics.bytes_sent == sent
    there.far.faults.clear()
    wait_until(lambda: there.line.breakers()["unit 1"].may_speak(time.monotonic()), PATIENCE_S)
    assert result(there.ask(1, address=6)) == (6, 6)
    assert there.line.health().silent == ()


def test_a_probe_costs_a_single_try(bench, monkeypatch):
    monkeypatch.setattr("gridtally_edge.transports.breaker.FIRST_S", 0.1)
    there = bench()
    there.far.faults.add(Fault(FaultKind.MUTE))
    with pytest.raises(LinkDown):
        result(there.ask(1))
    wait_until(lambda: there.line.breakers()["unit 1"].may_speak(time.monotonic()), PATIENCE_S)
    before = len(there.slaves[1].asked)
    with pytest.raises(LinkDown):
        result(there.ask(1))
    assert (before, len(there.slaves[1].asked)) == (3, 4)


def test_a_switch_command_is_served_before_everything_that_waits(bench):
    there = bench(units=6)
    there.far.faults.add(Fault(FaultKind.LATE, meter="1", wait_ms=150, times=1))
    order: list[str] = []
    first = there.ask(1)
    waiting = {f"profile {unit}": there.ask(unit) for unit in (2, 3, 4, 5)}
    waiting["switch"] = there.ask(6, priority=Priority.SWITCH)
    for name, future in waiting.items():
        future.add_done_callback(lambda _, name=name: order.append(name))
    for future in (first, *waiting.values()):
        result(future)
    assert order[0] == "switch"


def test_a_conversation_may_say_goodbye_after_silence_but_not_for_ever(bench):
    there = bench()
    goodbyes: list[str] = []

    def endless():
        yield Exchange(with_crc(b"\x01\x04\x00\x00\x00\x02"), whole, 9, 200, 0)
        there.far.faults.add(Fault(FaultKind.MUTE))
        while True:
            try:
                yield Exchange(with_crc(b"\x01\x04\x00\x01\x00\x02"), whole, 9, 100, 5)
            except LinkDown as error:
                goodbyes.append(str(error))

    future = there.line.submit(endless(), Priority.PROFILE, "unit 1")
    with pytest.raises(LinkDown):
        result(future)
    assert 1 <= len(goodbyes) <= 4


def whole(received: bytes) -> Found | None:
    return Found(0, 9) if len(received) >= 9 else None


def test_frames_behind_an_answer_reach_the_exchange_that_only_waits(bench):
    there = bench()
    there.far.faults.add(Fault(FaultKind.TRAIL, noise=b"second frame"))

    def window():
        yield Exchange(with_crc(b"\x01\x04\x00\x00\x00\x02"), whole, None, 2_000, 0)
        return (yield Exchange(b"", lambda r: Found(0, 12) if len(r) >= 12 else None, None, 2_000, 0))

    assert result(there.line.submit(window(), Priority.PROFILE, "unit 1")) == b"second frame"


def test_a_fault_in_a_protocol_does_not_stop_the_line(bench):
    there = bench()

    def broken():
        yield Exchange(with_crc(b"\x01\x04\x00\x00\x00\x02"), lambda received: 1 // 0, 9, 100, 0)

    with pytest.raises(ZeroDivisionError):
        result(there.line.submit(broken(), Priority.PROFILE, "unit 1"))
    assert result(there.ask(1, address=2)) == (2, 2)


def test_a_cancelled_conversation_is_never_sent(bench):
    there = bench(units=2)
    there.far.faults.add(Fault(FaultKind.LATE, meter="1", wait_ms=150, times=1))
    first, second = there.ask(1), there.ask(2)
    assert second.cancel()
    result(first)
    result(there.ask(1))
    assert there.slaves[2].asked == []


def test_a_pulled_adapter_fails_everything_at_once_and_the_line_comes_back(bench):
    there = bench(units=3)
    there.far.faults.add(Fault(FaultKind.MUTE))
    futures = [there.ask(unit) for unit in (1, 2, 3)]
    wait_until(lambda: there.slaves[1].asked, PATIENCE_S)
    there.far.unplug()
    for future in futures:
        with pytest.raises(LinkDown):
            result(future)
    assert there.line.health().state is LineState.DOWN
    with pytest.raises(LinkDown):
        result(there.ask(1))
    there.far.faults.clear()
    there.far.plug()
    wait_until(lambda: there.line.health().state is LineState.UP, PATIENCE_S)
    assert result(there.ask(2, address=5)) == (5, 5)


def test_closing_settles_every_conversation(bench):
    there = bench(units=2)
    there.far.faults.add(Fault(FaultKind.MUTE))
    futures = [there.ask(1), there.ask(2)]
    wait_until(lambda: there.slaves[1].asked, PATIENCE_S)
    there.line.close()
    for future in (*futures, there.ask(1)):
        with pytest.raises(LinkDown):
            result(future)
    assert there.line.health().state is LineState.CLOSED
    assert not any(thread.name == "line test" for thread in threading.enumerate())


def test_closing_ends_a_conversation_that_never_waits_long(bench):
    there = bench()

    def for_ever():
        while True:
            yield from read_registers(ReadRequest(1, Function.READ_INPUT, 0, 2))

    endless = there.line.submit(for_ever(), Priority.PROFILE, "unit 1")
    wait_until(lambda: len(there.slaves[1].asked) > 20, PATIENCE_S)
    there.line.close()
    with pytest.raises(LinkDown, match="closed"):
        result(endless)
    assert not any(thread.name == "line test" for thread in threading.enumerate())


def test_a_port_that_is_held_by_another_is_told_and_taken_when_free(bench):
    there = bench()
    second = SerialBus(LineSettings("second", there.line.settings.device, reopen_first_s=0.05))
    try:
        second.start()
        assert second.health().state is LineState.DOWN
        assert "another program holds the port" in second.health().trouble
        there.line.close()
        wait_until(lambda: second.health().state is LineState.UP, PATIENCE_S)
    finally:
        second.close()


def test_a_missing_device_is_told_and_waited_for(tmp_path):
    line = SerialBus(LineSettings("test", str(tmp_path / "nothing")))
    try:
        line.start()
        assert "no such device" in line.health().trouble
    finally:
        line.close()


def test_a_file_is_not_a_serial_port(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    line = SerialBus(LineSettings("test", str(tmp_path / "file")))
    with pytest.raises(ConfigError, match="not a serial port"):
        line.start()
    line.close()


def test_no_permission_is_explained(monkeypatch, tmp_path):
    def refused(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("serial.serialposix.os.open", refused)
    line = SerialBus(LineSettings("test", str(tmp_path / "port")))
    with pytest.raises(ConfigError, match="dialout"):
        line.start()
    line.close()


def test_a_device_group_has_its_own_speed():
    """A pty carries bytes at any speed, so the calls are checked where they arrive: in the terminal's settings."""
    master, slave = os.openpty()
    tty.setraw(slave)
    line = SerialBus(LineSettings("test", os.ttyname(slave), Speed(9_600)))
    seen: list[int] = []

    def with_one_exchange():
        seen.append(termios.tcgetattr(slave)[4])
        try:
            yield Exchange(b"?", whole, 9, 50, 0)
        except LinkDown:
            seen.append(termios.tcgetattr(slave)[4])

    try:
        line.start()
        for number, speed in enumerate((Speed(9_600), Speed(2_400), Speed(9_600))):
            result(line.submit(with_one_exchange(), Priority.PROFILE, str(number), speed))
        assert seen == [termios.B9600, termios.B9600, termios.B9600, termios.B2400, termios.B2400, termios.B9600]
    finally:
        line.close()
        os.close(slave)
        os.close(master)


def test_the_silence_before_a_request_is_never_shorter_than_three_and_a_half_characters(bench):
    """Measured at the far end: from the last byte of an answer to the next request's arrival."""
    speed = Speed(9_600)
    there = bench(speed=speed, timing=Timing(speed, paced=True, burst=1))
    moments: list[tuple[str, float]] = []
    hear, send = there.far.port.receive, there.far.port.send

    def heard(descriptor: int) -> bytes:
        data = hear(descriptor)
        moments.append(("request", time.monotonic()))
        return data

    def sent(data: bytes) -> None:
        moments.append(("answer", time.monotonic()))
        send(data)

    there.far.port.receive, there.far.port.send = heard, sent
    for future in [there.ask(1, address=n) for n in range(10)]:
        result(future)
    gaps = [
        later - earlier for (what, earlier), (then, later) in itertools.pairwise(moments) if (what, then) == ("answer", "request")
    ]
    assert len(gaps) == 9
    assert min(gaps) >= speed.silence_s
