"""A line to a foreign Modbus TCP server, and to servers that misbehave."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from gridtally_edge.config import load_config
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.polling.poll import Fault, PollRequest, poll
from gridtally_edge.prepay.events import RunSwitch, SwitchResult
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.protocols.conversation import Conversation, Exchange
from gridtally_edge.protocols.modbus import Function, ReadRequest, read_registers, with_crc
from gridtally_edge.protocols.modbus_bits import READ_COILS, ask_bits, read_bits_request
from gridtally_edge.switches.fitted import with_switch
from gridtally_edge.switches.modbus_board import Board
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.line import Line, LineState
from gridtally_edge.transports.modbus_tcp import ModbusTcpLine
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault
from gridtally_shared.quantities import BY_CODE
from support.edge_site import dcu_environment, run_dcu
from support.waiting import wait_until

NOW_MS = 1_795_000_500_000
SERIAL, SPARSE_SERIAL, ABSENT = 20_000_001, 20_000_002, 9
HELD = {
    0x0000: 230.5, 0x0006: 4.25, 0x000C: 950.0, 0x0012: 979.625, 0x001E: 0.96875,
    0x0046: 49.9375, 0x0048: 1234.5, 0x004A: 17.25, 0x004C: 88.125, 0x0056: 2100.0,
}  # fmt: skip
MEANT = {
    "voltage_mv": 230_500, "current_ma": 4_250, "power_w": 950, "apparent_va": 980, "power_factor_milli": 969,
    "frequency_mhz": 49_938, "energy_import_wh": 1_234_500, "energy_export_wh": 17_250, "reactive_import_varh": 88_125,
    "demand_max_w": 2_100,
}  # fmt: skip
WHOLE = {str(at): 0.0 for at in range(0, 0x60, 2)} | {str(at): value for at, value in HELD.items()}
UNITS = {
    "1": {"serial": SERIAL, "inputs": WHOLE},
    "2": {"serial": SPARSE_SERIAL, "inputs": {str(at): value for at, value in HELD.items()}},
    "40": {"coils": 16, "contacts": [True, False, True] + 13 * [False], "registers": {"9": 0, "16": 77}},
}


@dataclass
class Peer:
    """pymodbus' own server in a process of its own. It keeps its port when it comes again."""

    mute: bool = False
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        what = json.dumps({"port": self.port, "mute": self.mute, "units": UNITS})
        command = [sys.executable, str(Path(__file__).with_name("modbus_peer.py")), what]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    @property
    def device(self) -> str:
        return f"modbus-tcp://127.0.0.1:{self.port}"


T = TypeVar("T")
MakePeer = Callable[..., Peer]
MakeLine = Callable[[str], Line]


@pytest.fixture
def peer() -> Iterator[MakePeer]:
    with contextlib.ExitStack() as stack:

        def make(mute: bool = False) -> Peer:
            one = Peer(mute)
            stack.callback(one.stop)
            one.start()
            return one

        yield make


@pytest.fixture
def line_to() -> Iterator[MakeLine]:
    with contextlib.ExitStack() as stack:

        def make(device: str) -> Line:
            line = line_for(LineSettings("lan", device, reopen_first_s=0.05, reopen_longest_s=0.1))
            line.start()
            stack.callback(line.close)
            return line

        yield make


def volts(line: Line, unit: int = 1, timeout_ms: int = 2_000, retries: int = 2):
    request = ReadRequest(unit, Function.READ_INPUT, 0, 2)
    return line.submit(read_registers(request, timeout_ms, retries), Priority.PROFILE, f"unit {unit}")


VOLTS = struct.unpack(">2H", struct.pack(">f", HELD[0]))


@pytest.mark.parametrize(("unit", "serial"), [(1, SERIAL), (2, SPARSE_SERIAL)], ids=["whole map", "cells with holes between"])
def test_the_driver_reads_what_the_foreign_server_holds(peer, line_to, unit, serial):
    driver = driver_named("eastron-sdm230")
    port = driver.make_port(settings_from(driver, {"unit": unit}))
    result = line_to(peer().device).submit(poll(port, PollRequest(), lambda: NOW_MS), Priority.PROFILE, "m").result(10)
    assert (result.fault, result.trouble) == (Fault.NONE, "")
    assert result.serial == str(serial)
    assert {BY_CODE[r.quantity].name: r.value for r in result.readings} == MEANT


def test_an_exception_of_the_meter_is_said_in_words(peer, line_to):
    line = line_to(peer().device)
    request = ReadRequest(1, Function.READ_HOLDING, 0x2000, 2)
    with pytest.raises(MeterFault, match=r"unit 1, read holding registers, address 0x2000.*exception 2, illegal data address"):
        line.submit(read_registers(request), Priority.PROFILE, "unit 1").result(10)
    assert volts(line).result(10) == VOLTS


@pytest.mark.parametrize("mute", [False, True], ids=["the gateway says so", "nothing comes"])
def test_an_absent_unit_is_a_silent_meter_and_costs_its_neighbours_nothing_more(peer, line_to, mute):
    line = line_to(peer(mute).device)
    with pytest.raises(LinkDown, match=r"meter unit 9 on line lan does not answer \(3 tries\)"):
        volts(line, ABSENT, timeout_ms=50).result(10)
    assert volts(line).result(10) == VOLTS
    health = line.health()
    assert (health.state, health.silent) == (LineState.UP, ("unit 9",))
    assert (health.statistics.timeouts, health.statistics.openings) == (3, 1)
    with pytest.raises(LinkDown, match="unit 9 is silent since 1 tries"):
        volts(line, ABSENT).result(10)


BOARD, COIL = 40, 3


def on_board(line: Line, conversation: Conversation[T]) -> T:
    return line.submit(conversation, Priority.SWITCH, "board").result(10)


@pytest.mark.parametrize("write_function", [5, 15])
def test_the_coils_of_a_foreign_board_are_driven_and_read_back(peer, line_to, write_function):
    line, board = line_to(peer().device), Board(BOARD, write_function)
    assert [on_board(line, board.coil(n)) for n in range(8)] == 8 * [False]
    on_board(line, board.drive(COIL, True))
    assert [on_board(line, board.coil(n)) for n in range(8)] == [n == COIL for n in range(8)]
    on_board(line, board.drive(COIL, False))
    assert [on_board(line, board.coil(n)) for n in range(8)] == 8 * [False]


def test_the_contacts_and_registers_of_a_foreign_board_are_read_and_its_watchdog_is_set(peer, line_to):
    line = line_to(peer().device)
    board = Board(BOARD, identity_register=16, identity_value=77, watchdog_register=9, watchdog_value=120)
    assert [on_board(line, board.contact(n)) for n in range(3)] == [True, False, True]
    on_board(line, board.prove())
    on_board(line, board.guard())
    assert on_board(line, read_registers(ReadRequest(BOARD, Function.READ_HOLDING, 9, 1))) == (120,)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16])
def test_any_number_of_coils_comes_over_as_it_was(peer, line_to, count):
    line = line_to(peer().device)
    on_board(line, Board(BOARD).drive(0, True))
    answer = on_board(line, ask_bits(read_bits_request(BOARD, READ_COILS, 0, count), 1_000, 0))
    assert answer == bytes(((count + 7) // 8, 1, *((count - 1) // 8 * (0,))))


def test_what_a_foreign_board_refuses_is_said_in_words(peer, line_to):
    line = line_to(peer().device)
    with pytest.raises(MeterFault, match=r"relay board refused \(unit 40, switch coil 99 on\): exception 2, illegal data address"):
        on_board(line, Board(BOARD).drive(99, True))
    with pytest.raises(LinkDown, match="does not answer"):
        on_board(line, Board(9, timeout_ms=50).drive(0, True))


def test_a_house_beside_a_foreign_board_is_cut_and_restored_through_the_gateway(peer, line_to):
    driver, clock = driver_named("eastron-sdm230"), ManualClock(NOW_MS)
    port = driver.make_port(settings_from(driver, {"unit": 1}))
    switched = with_switch(port, driver, f"modbus-coil:unit={BOARD},coil={COIL},identity_register=16,identity_value=77", "lan")
    line = line_to(peer().device)
    for number, (close, state) in enumerate([(False, SwitchState.OPEN), (True, SwitchState.CLOSED)]):
        order = RunSwitch(b"action", number, str(SERIAL), close, NOW_MS + 60_000)
        outcome = line.submit(switch_conversation(switched, clock.now_ms, order), Priority.SWITCH, "m").result(10)
        assert (outcome.result, outcome.state_after) == (SwitchResult.DONE, state)
        assert line.submit(poll(switched, PollRequest(str(SERIAL)), clock.now_ms), Priority.PROFILE, "m").result(10).switch is state


def test_a_server_that_went_away_is_found_again(peer, line_to):
    server = peer()
    line = line_to(server.device)
    assert volts(line).result(10) == VOLTS
    server.stop()
    with pytest.raises(LinkDown, match="check that the converter or gateway is on"):
        volts(line).result(10)
    assert line.health().state is LineState.DOWN
    with pytest.raises(LinkDown, match="line lan: modbus-tcp"):
        volts(line).result(10)
    server.start()
    wait_until(lambda: line.health().state is LineState.UP, 10)
    assert volts(line).result(10) == VOLTS
    assert line.health().silent == (), "the meter is not to blame"


def test_nobody_there_at_the_start_is_a_line_that_is_down_until_somebody_comes(peer, line_to):
    server = peer()
    server.stop()
    line = line_to(server.device)
    assert line.health().state is LineState.DOWN
    server.start()
    wait_until(lambda: line.health().state is LineState.UP, 10)
    assert volts(line).result(10) == VOLTS


def test_a_connection_closed_while_idle_costs_no_reading(peer, line_to):
    server = peer()
    line = line_to(server.device)
    assert volts(line).result(10) == VOLTS
    server.stop()
    server.start()
    assert volts(line).result(10) == VOLTS
    assert line.health().statistics.openings == 2


def test_a_meter_is_read_from_the_command_line(peer):
    read = ("read", "--line", peer().device, "--driver", "eastron-sdm230", "--json", "--set")
    done = run_dcu(*read, "unit=1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["serial"] == str(SERIAL)
    assert {r["quantity"]: r["value"] for r in found["values"]} == MEANT
    silent = run_dcu(*read, "unit=9")
    assert silent.returncode == 4
    assert silent.stderr.count("\n") == 1, "one message, and none of pymodbus' own"


# ---- a scripted server: what pymodbus' server never does ---------------------------------------------------------


def answer(number: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", number, 0, len(pdu) + 1, unit) + pdu


def registers(word: int) -> bytes:
    return struct.pack(">BBHH", 4, 4, word, word)


@dataclass
class Scripted:
    """`replies(n, number)`: the bytes that follow the n-th request (from 0), whose transaction has this number."""

    replies: Callable[[int, int], bytes]
    asked: list[bytes] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def device(self) -> str:
        return f"modbus-tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                with connection:
                    while request := connection.recv(12):
                        self.asked.append(request)
                        connection.sendall(self.replies(len(self.asked) - 1, int.from_bytes(request[:2], "big")))


@pytest.fixture
def scripted() -> Iterator[Callable[[Callable[[int, int], bytes]], Scripted]]:
    with contextlib.ExitStack() as stack:

        def make(replies: Callable[[int, int], bytes]) -> Scripted:
            server = Scripted(replies)
            stack.callback(server.listener.close)
            server.start()
            return server

        yield make


@pytest.mark.parametrize(
    "first",
    [
        lambda number: b"",
        lambda number: b"\xff" * 40,
        lambda number: answer(number, 1, registers(7))[:-1],
        lambda number: answer(number, 1, registers(7))[:5],
        lambda number: answer(number + 1, 1, registers(7)),
        lambda number: answer(number, 2, registers(7)),
        lambda number: answer(number, 1, b"\x03" + registers(7)[1:]),
        lambda number: answer(number, 1, bytes((4, 2, 0, 7))),
        lambda number: answer(number, 1, bytes((4, 6, 0, 7, 0, 7, 0, 7))),
        lambda number: answer(number, 1, bytes((4, 4, 0))),
        lambda number: answer(number, 1, b"\x2b\x0e\x01"),
        lambda number: answer(number, 1, b"\x84"),
        lambda number: answer(number, 1, b""),
        lambda number: answer(number, 1, b"\x83\x02"),
        lambda number: answer(number, 1, b"\x84\x0b"),
    ],
    ids=[
        "nothing", "noise", "all but a byte", "half a header", "another transaction", "another unit", "another function",
        "too few registers", "too many registers", "shorter than it says", "a function not asked for",
        "an exception without a code", "an empty answer", "an exception of another function", "the gateway gave up",
    ],
)  # fmt: skip
def test_what_is_no_answer_yields_no_value_and_the_next_try_does(scripted, line_to, first):
    server = scripted(lambda n, number: first(number) if n == 0 else answer(number, 1, registers(0x1234)))
    assert volts(line_to(server.device), timeout_ms=200).result(10) == (0x1234, 0x1234)
    assert len(server.asked) == 2


def test_a_late_answer_is_not_taken_for_the_next_one(scripted, line_to):
    def replies(n: int, number: int) -> bytes:
        late = answer(number - 1, 1, registers(7)) if n else b""
        return late + (answer(number, 1, registers(8)) if n else b"")

    line = line_to(scripted(replies).device)
    assert volts(line, timeout_ms=200).result(10) == (8, 8)


def test_an_answer_in_single_bytes_is_put_together(line_to):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = line_to(f"modbus-tcp://127.0.0.1:{listener.getsockname()[1]}")
        future = volts(line)
        with listener.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = int.from_bytes(connection.recv(12)[:2], "big")
            for byte in answer(number, 1, registers(9)):
                connection.sendall(bytes((byte,)))
            assert future.result(10) == (9, 9)


def test_a_server_that_hangs_up_under_a_request_takes_the_line_down_for_a_moment(line_to):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = line_to(f"modbus-tcp://127.0.0.1:{listener.getsockname()[1]}")
        future = volts(line)
        with listener.accept()[0] as connection:
            connection.recv(12)
        with pytest.raises(LinkDown, match="went away under a request; it is opened again by itself"):
            future.result(10)
        wait_until(lambda: line.health().state is LineState.UP, 10)
        assert line.health().silent == ()


def test_close_ends_a_request_under_way_at_once(scripted, line_to):
    server = scripted(lambda n, number: b"")
    line = line_to(server.device)
    futures = [volts(line, unit, timeout_ms=60_000) for unit in (1, 2)]
    wait_until(lambda: server.asked, 10)
    began = time.monotonic()
    line.close()
    assert time.monotonic() - began < 2
    for future in futures:
        with pytest.raises(LinkDown, match="clos"):
            future.result(0)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x7e\xa0\x07\x03\x21\x93\x0f\x01\x7e",
        with_crc(bytes((1, 4, 0, 0, 0, 2)))[:-1] + b"\x00",
        with_crc(bytes((1, 4, 0, 0, 0, 2, 0))),
        with_crc(bytes((1, 4, 0))),
        with_crc(bytes((1, 43, 14, 1, 0))),
        with_crc(bytes((40, 15, 0, 0, 0, 9, 1, 255))),
    ],
    ids=["HDLC", "a CRC that does not hold", "a byte too many", "cut short", "another function", "fewer octets than coils"],
)
def test_what_is_no_request_of_this_line_is_refused_with_the_remedy(scripted, line_to, request_bytes):
    def hello() -> Conversation[bytes]:
        return (yield Exchange(request_bytes, lambda received: None))

    server = scripted(lambda n, number: b"")
    with pytest.raises(ConfigError, match="carries Modbus only"):
        line_to(server.device).submit(hello(), Priority.PROFILE, "m").result(10)
    assert server.asked == []


# ---- names, settings, what it costs others -----------------------------------------------------------------------


def test_a_configuration_may_name_it(tmp_path):
    (tmp_path / "dcu.toml").write_text(
        'dcu = "dcu-1"\n[[line]]\nname = "lan"\ndevice = "modbus-tcp://192.0.2.7:502"\n', encoding="utf-8"
    )
    settings = load_config(tmp_path / "dcu.toml").lines[0]
    assert settings.device == "modbus-tcp://192.0.2.7:502"
    line = line_for(settings)
    assert isinstance(line, ModbusTcpLine)
    assert line.settings.gap_s(line.settings.speed) == 0, "no bit timing on a network"
    line.close()


@pytest.mark.parametrize("device", ["modbus-tcp://", "modbus-tcp://host", "modbus-tcp://:502", "modbus-tcp://host:0"])
def test_a_wrong_name_shows_a_right_one(device):
    with pytest.raises(ConfigError, match=r"write modbus-tcp://host:port, for example modbus-tcp://192\.168\.1\.20:502"):
        line_for(LineSettings("a", device))


def test_an_unknown_kind_of_line_names_the_known_ones():
    with pytest.raises(ConfigError, match="write a serial device, or one of tcp://host:port, modbus-tcp://host:port"):
        line_for(LineSettings("a", "lora://192.0.2.7:502"))


def test_a_speed_of_the_settings_does_not_slow_it_down(scripted, line_to):
    server = scripted(lambda n, number: answer(number, 1, registers(n)))
    line = line_for(LineSettings("lan", server.device, Speed(300)))
    line.start()
    assert [volts(line).result(10) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
    line.close()


def test_pymodbus_is_loaded_for_such_a_line_only():
    script = """
import sys
import gridtally_edge.agent, gridtally_edge.cli, gridtally_edge.oneshot.command
from gridtally_edge.transports import line_for
from gridtally_edge.transports.settings import LineSettings
for device in sys.argv[1:]:
    line_for(LineSettings("a", device)).close()
    print("pymodbus" in sys.modules, "asyncio" in sys.modules)
"""
    devices = ["/dev/null", "tcp://192.0.2.7:4001", "modbus-tcp://192.0.2.7:502"]
    done = subprocess.run([sys.executable, "-c", script, *devices], env=dcu_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["False False", "False False", "True True"]
