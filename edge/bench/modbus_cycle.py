"""How much of a 9600-baud line we use: 40 registers, again and again, beside pymodbus in the same run.

* The responder runs in a process of its own and hands over every byte of the answer when its last bit would have
  arrived (11 bits a character, 8N2: a pty takes no parity). It waits 3.5 characters before it answers and notes how
  long the line was silent before each request.
* Floor of a cycle: 93 characters and two silences of 3.5 characters (performance.md, section 5). `share` is floor
  divided by measured cycle; above 1 would mean a silence was cut short.
* A cycle runs from request to request as the far end sees them; the median of a round leaves out the moments in which
  the machine did something else.
* Our silences are asserted, not assumed: a request that came early ends the run with an error.

    python edge/bench/modbus_cycle.py --polls 40 --rounds 3 --json cycle.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("shared", "native", "edge") if str(ROOT / part) not in sys.path]

from gridtally_edge.protocols.modbus import Function, ReadRequest, read_registers, with_crc  # noqa: E402
from gridtally_edge.simulators.bus import SimBus, Station, Timing  # noqa: E402
from gridtally_edge.simulators.ports import PtyPort  # noqa: E402
from gridtally_edge.transports.arbiter import Priority  # noqa: E402
from gridtally_edge.transports.serial_bus import SerialBus  # noqa: E402
from gridtally_edge.transports.settings import Echo, LineSettings, Speed  # noqa: E402

REGISTERS = 40
REQUEST_BYTES, ANSWER_BYTES = 8, 5 + 2 * REGISTERS
TARGET_SHARE = 0.97
WARM_UP_POLLS = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the rounds: seconds a poll, share of the floor, processor milliseconds a poll; `shortest_gap_ms`
    is the shortest silence before a request in any round."""

    name: str
    cycle_s: float
    share: float
    cpu_ms: float
    shortest_gap_ms: float


class FixedSlave:
    """Answers the one request of this benchmark."""

    def __init__(self) -> None:
        self._request = ReadRequest(1, Function.READ_INPUT, 0, REGISTERS).to_bytes()
        self._answer = with_crc(bytes((1, 4, 2 * REGISTERS)) + bytes(range(2 * REGISTERS)))

    def receive(self, data: bytes) -> bytes:
        return self._answer if data == self._request else b""


class WatchedPort(PtyPort):
    """Notes when requests come and how long after the last byte of the answer before."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.requests_s: list[float] = []
        self.gaps_s: list[float] = []
        self._sent_s = 0.0

    def receive(self, descriptor: int) -> bytes:
        data = super().receive(descriptor)
        if data and self._sent_s:
            self.gaps_s.append(time.monotonic() - self._sent_s)
        if data:
            self.requests_s.append(time.monotonic())
        return data

    def send(self, data: bytes) -> None:
        self._sent_s = time.monotonic()
        super().send(data)


def respond(path: Path, speed: Speed) -> int:
    """The far end: serves until its standard input closes, then prints the median cycle and the shortest silence."""
    port = WatchedPort(path)
    bus = SimBus("paced", port, [Station(FixedSlave(), lambda answer: "1")], Timing(speed, paced=True, burst=1))
    bus.start()
    print("ready", flush=True)
    sys.stdin.read()
    bus.close()
    cycle_s = statistics.median(later - earlier for earlier, later in pairwise(port.requests_s))
    print(json.dumps([cycle_s, min(port.gaps_s)]), flush=True)
    return 0


def poll_with_ours(device: str, speed: Speed, polls: int) -> None:
    line = SerialBus(LineSettings("bench", device, speed, Echo.AUTO))
    line.start()
    request = ReadRequest(1, Function.READ_INPUT, 0, REGISTERS)
    futures = [line.submit(read_registers(request), Priority.PROFILE, "1") for _ in range(polls)]
    if not all(len(future.result(60)) == REGISTERS for future in futures):
        raise SystemExit("our line lost a poll")
    line.close()


def poll_with_pymodbus(device: str, speed: Speed, polls: int) -> None:
    from pymodbus.client import ModbusSerialClient

    with ModbusSerialClient(device, baudrate=speed.baud, stopbits=speed.stop_bits, timeout=1, retries=0) as client:
        for _ in range(polls):
            if len(client.read_input_registers(0, count=REGISTERS, device_id=1).registers) != REGISTERS:
                raise SystemExit("pymodbus lost a poll")


CLIENTS: dict[str, Callable[[str, Speed, int], None]] = {"gridtally": poll_with_ours, "pymodbus": poll_with_pymodbus}


def one_round(name: str, speed: Speed, polls: int) -> tuple[float, float, float]:
    """Seconds from request to request (median), processor seconds a poll (this process), shortest silence in seconds."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "line"
        far = [sys.executable, __file__, "--respond", str(path), "--baud", str(speed.baud)]
        with subprocess.Popen(far, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            CLIENTS[name](str(path), speed, WARM_UP_POLLS)
            began_s = time.process_time()
            CLIENTS[name](str(path), speed, polls)
            cpu_s = time.process_time() - began_s
            process.stdin.close()
            cycle_s, gap_s = json.loads(process.stdout.readline())
    return cycle_s, cpu_s / polls, gap_s


def floor_s(speed: Speed) -> float:
    return (REQUEST_BYTES + ANSWER_BYTES) * speed.character_s + 2 * speed.silence_s


def measure(speed: Speed, polls: int, rounds: int) -> tuple[Measured, ...]:
    """Clients take turns, so that the machine's mood hits both."""
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CLIENTS}
    for _ in range(rounds):
        for name in CLIENTS:
            taken[name].append(one_round(name, speed, polls))
    return tuple(_median(name, rows, floor_s(speed)) for name, rows in taken.items())


def _median(name: str, rows: Sequence[tuple[float, float, float]], floor: float) -> Measured:
    cycle_s = statistics.median(row[0] for row in rows)
    cpu_ms = 1_000 * statistics.median(row[1] for row in rows)
    return Measured(name, cycle_s, floor / cycle_s, cpu_ms, 1_000 * min(row[2] for row in rows))


def report(measured: Sequence[Measured], speed: Speed) -> None:
    print(f"{REGISTERS} registers at {speed}: floor {1_000 * floor_s(speed):.1f} ms, silence {1_000 * speed.silence_s:.2f} ms")
    for row in measured:
        print(
            f"{row.name:10} cycle {1_000 * row.cycle_s:6.1f} ms  share of floor {row.share:.3f}  "
            f"CPU {row.cpu_ms:.2f} ms a poll  shortest silence {row.shortest_gap_ms:.2f} ms"
        )
    ours, peer = measured[0], measured[1]
    print(f"CPU a poll, pymodbus : ours = {peer.cpu_ms / ours.cpu_ms:.1f} : 1")
    print(f"rate, ours : pymodbus = {peer.cycle_s / ours.cycle_s:.3f} : 1")
    print(f"target: at least {TARGET_SHARE} of the floor with every silence kept")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polls", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--baud", type=int, default=9_600)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--respond", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    speed = Speed(options.baud, stop_bits=2)
    if options.respond:
        return respond(options.respond, speed)
    threading.current_thread().name = "bench"
    measured = measure(speed, options.polls, options.rounds)
    report(measured, speed)
    if options.json:
        rows = {"floor_s": floor_s(speed), "target_share": TARGET_SHARE, "clients": [asdict(row) for row in measured]}
        options.json.write_text(json.dumps(rows, indent=1))
    if measured[0].shortest_gap_ms < 1_000 * speed.silence_s:
        print("a silence before a request was too short: the figures do not count", file=sys.stderr)
        return 1
    return 0 if measured[0].share >= TARGET_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
