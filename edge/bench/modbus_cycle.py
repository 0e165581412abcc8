"""How much of a line we use: 40 registers, again and again, at 9600, 19200 and 115200 baud, beside pymodbus in the same run.

* Floor of a cycle: 93 characters of 11 bits (8N2: a pty takes no parity), two silences of 3.5 characters and the meter's
  turn-around, here none (performance.md, section 5). `share` is floor divided by measured cycle; above 1 would mean that
  a silence was cut short.
* A cycle runs from request to request as the far end sees them; the median of a round leaves out the moments in which
  the machine did something else, the best round those in which it was busy all the time.
* Two ways of ours: a conversation for each request, and one conversation with all of them, which is what pymodbus' loop
  does. CPU is that of the whole process, port opening and threads included.
* A third, `two bare waits`, has no protocol at all: write, sleep until the answer must be there, read, sleep the silence. No poller that
  keeps the silence can wake up less often; what it costs is the machine's price.
* Our silences are asserted, not assumed: a request that came early ends the run with an error.

    python edge/bench/modbus_cycle.py --polls 100 --rounds 3 --json cycle.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
import tty
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from paced import FarSide, cpu_of, far_end, serve

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.modbus import Function, Query, ReadRequest, Refusal, with_crc
from gridtally_edge.simulators.bus import Station, Timing
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import Echo, LineSettings, Speed

REGISTERS = 40
REQUEST_BYTES, ANSWER_BYTES = 8, 5 + 2 * REGISTERS
TARGETS: dict[int, float] = {9_600: 0.99, 19_200: 0.99, 115_200: 0.98}
CPU_BAUD, CPU_TIMES = 9_600, 10.0
WARM_UP_POLLS = 10
PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Measured:
    """`share` and `cpu_ms` (a poll) of the best round, shares of all rounds, shortest silence of any round."""

    name: str
    baud: int
    cycle_ms: float
    share: float
    shares: tuple[float, ...]
    cpu_ms: float
    shortest_gap_ms: float


class FixedSlave:
    """Answers the one request of this benchmark."""

    def __init__(self) -> None:
        self.request = ReadRequest(1, Function.READ_INPUT, 0, REGISTERS).to_bytes()
        self._answer = with_crc(bytes((1, 4, 2 * REGISTERS)) + bytes(range(2 * REGISTERS)))

    def receive(self, data: bytes) -> bytes:
        return self._answer if data == self.request else b""


def one_poll(query: Query) -> Conversation[int]:
    octets = query.octets((yield query.exchange))
    return 0 if isinstance(octets, Refusal) else len(octets)


def all_polls(query: Query, polls: int) -> Conversation[int]:
    got = 0
    for _ in range(polls):
        octets = query.octets((yield query.exchange))
        got += 0 if isinstance(octets, Refusal) else len(octets)
    return got


class Collector:
    """Takes results from the line's thread, as the agent does, and wakes the bench once at the end."""

    def __init__(self, wanted: int) -> None:
        self._left, self._got, self._done = wanted, 0, threading.Event()

    def take(self, octets: int) -> None:
        self._got += octets
        self._left -= 1
        if not self._left:
            self._done.set()

    def wait(self, octets: int) -> None:
        if not self._done.wait(PATIENCE_S) or self._got != octets:
            raise SystemExit("our line lost a poll")


def ours_each(device: str, speed: Speed, polls: int) -> None:
    line, query, collector = _line(device, speed), _query(), Collector(polls)
    for _ in range(polls):
        line.submit(one_poll(query), Priority.PROFILE, "1").add_done_callback(lambda done: collector.take(done.result()))
    collector.wait(polls * 2 * REGISTERS)
    line.close()


def ours_together(device: str, speed: Speed, polls: int) -> None:
    line = _line(device, speed)
    if line.submit(all_polls(_query(), polls), Priority.PROFILE, "1").result(PATIENCE_S) != polls * 2 * REGISTERS:
        raise SystemExit("our line lost a poll")
    line.close()


def pymodbus_sync(device: str, speed: Speed, polls: int) -> None:
    from pymodbus.client import ModbusSerialClient

    with ModbusSerialClient(device, baudrate=speed.baud, stopbits=speed.stop_bits, timeout=1, retries=0) as client:
        for _ in range(polls):
            if len(client.read_input_registers(0, count=REGISTERS, device_id=1).registers) != REGISTERS:
                raise SystemExit("pymodbus lost a poll")


def bare_waits(device: str, speed: Speed, polls: int) -> None:
    request, port = FixedSlave().request, os.open(device, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    wire_s = (REQUEST_BYTES + ANSWER_BYTES) * speed.character_s + speed.silence_s
    for _ in range(polls):
        os.write(port, request)
        time.sleep(wire_s)
        left = ANSWER_BYTES
        while left > 0:
            left -= len(os.read(port, left))
        time.sleep(speed.silence_s)
    os.close(port)


def _line(device: str, speed: Speed) -> SerialBus:
    line = SerialBus(LineSettings("bench", device, speed, Echo.AUTO))
    line.start()
    return line


def _query() -> Query:
    return Query(ReadRequest(1, Function.READ_INPUT, 0, REGISTERS))


CLIENTS: dict[str, Callable[[str, Speed, int], None]] = {
    "gridtally": ours_together,
    "gridtally, a conversation each": ours_each,
    "pymodbus": pymodbus_sync,
    "two bare waits": bare_waits,
}


def one_round(name: str, speed: Speed, polls: int) -> tuple[FarSide, float]:
    """What the far end saw, and processor seconds a poll."""
    with far_end(__file__, "--baud", str(speed.baud)) as far:
        CLIENTS[name](far.device, speed, WARM_UP_POLLS)
        far.begin()
        cpu_s = cpu_of(lambda: CLIENTS[name](far.device, speed, polls))
        return far.end(), cpu_s / polls


def floor_s(speed: Speed) -> float:
    return (REQUEST_BYTES + ANSWER_BYTES) * speed.character_s + 2 * speed.silence_s


def measure(speed: Speed, polls: int, rounds: int) -> tuple[Measured, ...]:
    """Clients take turns, so that the machine's mood hits all."""
    taken: dict[str, list[tuple[FarSide, float]]] = {name: [] for name in CLIENTS}
    for _ in range(rounds):
        for name in CLIENTS:
            taken[name].append(one_round(name, speed, polls))
    return tuple(_best(name, speed, rows) for name, rows in taken.items())


def _best(name: str, speed: Speed, rows: Sequence[tuple[FarSide, float]]) -> Measured:
    cycle_s = min(seen.cycle_s for seen, _ in rows)
    return Measured(
        name, speed.baud, 1_000 * cycle_s, floor_s(speed) / cycle_s, tuple(floor_s(speed) / seen.cycle_s for seen, _ in rows),
        1_000 * min(cpu_s for _, cpu_s in rows), 1_000 * min(seen.shortest_gap_s for seen, _ in rows),
    )  # fmt: skip


def report(measured: Sequence[Measured], speed: Speed) -> None:
    print(f"\n{REGISTERS} registers at {speed}: floor {1_000 * floor_s(speed):.1f} ms, silence {1_000 * speed.silence_s:.2f} ms\n")
    print("| client | cycle, ms | share of the floor | shares of the rounds | CPU a poll, ms | shortest silence, ms |")
    print("| --- | ---: | ---: | --- | ---: | ---: |")
    for row in measured:
        shares = ", ".join(f"{share:.3f}" for share in row.shares)
        print(f"| {row.name} | {row.cycle_ms:.2f} | {row.share:.3f} | {shares} | {row.cpu_ms:.2f} | {row.shortest_gap_ms:.2f} |")


def verdict(measured: Sequence[Measured], speed: Speed) -> bool:
    together, each, peer, bare = measured
    share_met = min(together.share, each.share) >= TARGETS[speed.baud]
    print(f"\nshare of the floor, target {TARGETS[speed.baud]}: {'met' if share_met else 'missed'}")
    silence_kept = min(together.shortest_gap_ms, each.shortest_gap_ms) >= 1_000 * speed.silence_s
    print(f"every silence kept: {'yes' if silence_kept else 'NO, the figures do not count'}")
    times, times_each = peer.cpu_ms / together.cpu_ms, peer.cpu_ms / each.cpu_ms
    print(f"pymodbus takes {times:.1f} times our CPU a poll, {times_each:.1f} times with a conversation each")
    if speed.baud != CPU_BAUD:
        return share_met and silence_kept
    most, added = peer.cpu_ms / bare.cpu_ms, (peer.cpu_ms - bare.cpu_ms) / max(together.cpu_ms - bare.cpu_ms, 0.001)
    print(f"CPU target {CPU_TIMES:.0f} times: {'met' if times >= CPU_TIMES else 'missed'}; two bare waits come to {most:.1f} times here")
    print(f"what pymodbus adds to two bare waits is {added:.1f} times what we add, at least {CPU_TIMES:.0f} (ADR 12): "
          f"{'met' if added >= CPU_TIMES else 'missed'}")  # fmt: skip
    return share_met and silence_kept and added >= CPU_TIMES


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polls", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--baud", type=int, choices=sorted(TARGETS), action="append", help="only this speed (may be repeated)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--respond", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    speeds = [Speed(baud, stop_bits=2) for baud in options.baud or TARGETS]
    if options.respond:
        return serve(options.respond, [Station(FixedSlave(), lambda answer: "1")], Timing(speeds[0], paced=True, burst=1))
    rows: list[Measured] = []
    met = True
    for speed in speeds:
        measured = measure(speed, options.polls, options.rounds)
        report(measured, speed)
        met &= verdict(measured, speed)
        rows += measured
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
