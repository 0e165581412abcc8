"""A line between a real `SerialBus` and scripted meters on the far end of a pty."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gridtally_edge.protocols.modbus import Function, ReadRequest, crc_holds, read_registers, with_crc
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.ports import PtyPort, TcpPort
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.line import Line
from gridtally_edge.transports.settings import LineSettings, Speed

FAST = Speed(115_200)
TIMEOUT_MS = 300


@dataclass
class ScriptedSlave:
    """Answers reads of its unit with count times its own word; remembers what it was asked."""

    unit: int
    word: int = 0
    asked: list[bytes] = field(default_factory=list)

    def receive(self, data: bytes) -> bytes:
        if len(data) != 8 or data[0] != self.unit or not crc_holds(data):
            return b""
        self.asked.append(data)
        address, count = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")
        words = b"".join(((self.word or address) & 0xFFFF).to_bytes(2, "big") for _ in range(count))
        return with_crc(bytes((self.unit, data[1], 2 * count)) + words)


@dataclass
class Bench:
    far: SimBus
    line: Line
    slaves: dict[int, ScriptedSlave]

    def ask(
        self, unit: int, address: int = 0, count: int = 2, priority: Priority = Priority.PROFILE, retries: int = 2
    ) -> "Future[tuple[int, ...]]":
        request = ReadRequest(unit, Function.READ_INPUT, address, count)
        return self.line.submit(read_registers(request, TIMEOUT_MS, retries), priority, f"unit {unit}")


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[MakeBench]:
    """`bench(units=..., timing=..., tcp=..., **line settings)` gives a started line with scripted meters."""
    with contextlib.ExitStack() as stack:

        def make(units: int = 1, timing: Timing | None = None, tcp: bool = False, **settings: object) -> Bench:
            slaves = {unit: ScriptedSlave(unit) for unit in range(1, units + 1)}
            stations = [Station(slave, lambda answer: str(answer[0])) for slave in slaves.values()]
            far = SimBus("far", TcpPort() if tcp else PtyPort(tmp_path / "line"), stations, timing)
            far.start()
            stack.callback(far.close)
            speed = settings.pop("speed", Speed(0) if tcp else FAST)
            line = line_for(LineSettings("test", far.port.address(), speed, reopen_first_s=0.05, **settings))
            line.start()
            stack.callback(line.close)
            return Bench(far, line, slaves)

        yield make
