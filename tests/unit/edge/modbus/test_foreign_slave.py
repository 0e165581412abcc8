"""Every profile against a slave that is not ours (pymodbus, a process of its own): RTU frames and Modbus TCP, one on a pty."""

import json
import os
import random
import select
import struct
import subprocess
import sys
import threading
import tty
from fractions import Fraction
from pathlib import Path

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.modbus_profile import built_in, profile_names
from gridtally_edge.drivers.modbus_table import UNITS, Encoding, Register, SerialForm
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.polling.poll import Fault, PollRequest, poll
from gridtally_edge.protocols.modbus import Kind
from gridtally_edge.switches.modbus_board import Board
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.errors import MeterFault
from gridtally_shared.quantities import BY_CODE, BY_NAME

BOARD = 200
NOW_MS = 1_795_000_500_000
UNIT_OF = {name: number for number, name in enumerate(profile_names(), start=1)}


def seeded_raw(row: Register, chance: random.Random) -> float:
    """A raw value inside the row's range, as the meter would hold it."""
    low, high = (edge / row.scale for edge in row.range)
    share = Fraction(chance.randrange(1, 10**9), 10**9)
    wide = max(low, Fraction(-(10**7))) + share * (min(high, Fraction(10**7)) - max(low, Fraction(-(10**7))))
    if row.kind.is_float:
        return struct.unpack(">f", struct.pack(">f", float(wide)))[0]
    top = 2 ** (16 * row.kind.words - (1 if row.kind.is_signed else 0)) - 2
    return max(min(int(wide), top), -top if row.kind.is_signed else 0)


def meant(row: Register, raw: float) -> int:
    """Worked out here from the row's words, in exact fractions."""
    return round(Fraction(raw) * row.scale * UNITS[row.unit][1] / Fraction(10) ** BY_NAME[row.quantity].exponent)


def cells_of(name: str, chance: random.Random):
    """(cells for the peer, serial, quantity -> value) of one profile."""
    table, values = built_in(name).table, {}
    cells: list[list] = []
    for row in table.registers:
        raw = 49.5 if row.quantity == "frequency_mhz" and row.kind is Kind.F32 else seeded_raw(row, chance)
        if row.quantity == "frequency_mhz" and row.kind is not Kind.F32:
            raw = int(Fraction(99, 2) / row.scale)
        if row.encoding is Encoding.FOUR_QUADRANTS:
            raw = abs(raw) / 2
        values[row.quantity] = meant(row, raw)
        cells.append([int(row.function), row.address, row.kind.name.lower(), row.order.value, raw])
    serial = str(chance.randrange(10**6, 10**7))
    if table.probe and table.probe.values:
        cells.append([int(table.probe.function), table.probe.address, "u16", "ABCD", max(table.probe.values)])
    if table.serial:
        text = table.serial.form is SerialForm.TEXT
        cell = ["text", "", serial, table.serial.words] if text else ["u32", "ABCD", int(serial)]
        cells.append([int(table.serial.function), table.serial.address, *cell])
    return cells, serial, values


class Wire:
    """Two ptys with a thread between them that carries the octets both ways."""

    def __init__(self) -> None:
        pairs = [os.openpty() for _ in range(2)]
        for _, slave in pairs:
            tty.setraw(slave)
        self.masters, self.slaves = [m for m, _ in pairs], [s for _, s in pairs]
        self.ends = [os.ttyname(slave) for slave in self.slaves]
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        while True:
            ready = select.select([*self.masters, self._stop], [], [])[0]
            if self._stop in ready:
                return
            for end in ready:
                os.write(self.masters[1 - self.masters.index(end)], os.read(end, 1_024))

    def close(self) -> None:
        os.write(self._wake, b"!")
        self._thread.join(5)
        for descriptor in (*self.masters, *self.slaves, self._stop, self._wake):
            os.close(descriptor)


class Peer:
    def __init__(self) -> None:
        chance = random.Random(2026)
        self.meters = {name: cells_of(name, chance) for name in profile_names()}
        self.wire = Wire()
        units = {UNIT_OF[name]: cells for name, (cells, _, _) in self.meters.items()}
        command = [sys.executable, str(Path(__file__).with_name("profile_peer.py"))]
        what = json.dumps({"serial": self.wire.ends[0], "units": units})
        self.process = subprocess.Popen([*command, what], stdout=subprocess.PIPE, text=True)
        self.rtu_port, self.tcp_port = (int(word) for word in self.process.stdout.readline().split())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.wire.close()


@pytest.fixture(scope="module")
def peer():
    one = Peer()
    yield one
    one.close()


@pytest.fixture(scope="module")
def lines(peer):
    devices = {"rtu": f"tcp://127.0.0.1:{peer.rtu_port}", "tcp": f"modbus-tcp://127.0.0.1:{peer.tcp_port}", "pty": peer.wire.ends[1]}
    opened = {name: line_for(LineSettings(name, device, Speed(19_200))) for name, device in devices.items()}
    for line in opened.values():
        line.start()
    yield opened
    for line in opened.values():
        line.close()


def check(peer: Peer, line, name: str) -> None:
    _, serial, values = peer.meters[name]
    driver, profile = driver_named(name), built_in(name)
    settings: dict[str, object] = {"unit": UNIT_OF[name], "timeout_ms": 2_000}
    if profile.table.serial is None:
        settings["label"] = serial
    port = driver.make_port(settings_from(driver, settings))
    result = line.submit(poll(port, PollRequest(), lambda: NOW_MS), Priority.PROFILE, name).result(20)
    assert (result.fault, result.trouble, result.serial) == (Fault.NONE, "", serial)
    assert {BY_CODE[r.quantity].name: r.value for r in result.readings} == values
    assert {r.quality for r in result.readings} == {0}


@pytest.mark.parametrize("name", profile_names())
def test_a_foreign_slave_is_read_to_the_digit_in_rtu_frames(peer, lines, name):
    check(peer, lines["rtu"], name)


@pytest.mark.parametrize("name", ["abb-b23", "gavazzi-em24", "schneider-iem3000"])
def test_a_foreign_slave_is_read_to_the_digit_over_modbus_tcp(peer, lines, name):
    check(peer, lines["tcp"], name)


@pytest.mark.parametrize("name", ["eastron-sdm630", "selec-em2m", "gavazzi-em340"])
def test_a_foreign_slave_is_read_to_the_digit_on_a_serial_port(peer, lines, name):
    check(peer, lines["pty"], name)


@pytest.fixture(params=["rtu", "pty"])
def ask(request, lines):
    def ask_board(conversation):
        return lines[request.param].submit(conversation, Priority.SWITCH, "board").result(20)

    return ask_board


@pytest.mark.parametrize("function", [5, 15])
def test_a_foreign_relay_board_is_driven_and_read_back(ask, function):
    board = Board(BOARD, write_function=function, timeout_ms=2_000)
    ask(board.drive(6, True))
    assert [ask(board.coil(coil)) for coil in (5, 6, 7)] == [False, True, False]
    ask(board.drive(6, False))
    assert ask(board.coil(6)) is False
    assert [ask(board.contact(contact)) for contact in range(4)] == [False, True, False, True]


def test_a_foreign_relay_board_says_who_it_is_and_takes_its_watchdog(ask):
    ask(Board(BOARD, identity_register=0, identity_value=4711, timeout_ms=2_000).prove())
    with pytest.raises(MeterFault, match="register 0 holds 4711, not 4712"):
        ask(Board(BOARD, identity_register=0, identity_value=4712, timeout_ms=2_000).prove())
    guarded = Board(BOARD, identity_register=2, identity_value=1_800, watchdog_register=2, watchdog_value=1_800, timeout_ms=2_000)
    ask(guarded.guard())
    ask(guarded.prove())
    with pytest.raises(MeterFault, match=r"the relay board refused \(unit 200, read coil 99\): exception 2, illegal data address"):
        ask(guarded.coil(99))
