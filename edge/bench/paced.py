"""A far end with the timing of a real wire, for the benchmarks: exact to some microseconds, in a process and on a CPU of
its own (a meter does not run on our processor).

* Bytes are handed over when their last bit would have arrived. The last `SPIN_S` before each moment, and while a request
  may come, it does not sleep but watches the clock: a benchmark may, a product may not.
* `WatchedPort` notes when requests come and how long after the last byte of the answer before.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("shared", "native", "edge") if str(ROOT / part) not in sys.path]

from gridtally_edge.simulators.bus import SimBus, Station, Timing  # noqa: E402
from gridtally_edge.simulators.ports import PtyPort  # noqa: E402

SPIN_S = 0.000_4
WATCH_S = 0.050


@dataclass(frozen=True, slots=True)
class FarSide:
    """What the far end saw: median seconds from request to request, shortest silence before a request, seconds from the
    first request to the last byte of the last answer, bytes both ways in that time, number of requests."""

    cycle_s: float
    shortest_gap_s: float
    whole_s: float
    line_bytes: int
    requests: int


class WatchedPort(PtyPort):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.requests_s: list[float] = []
        self.gaps_s: list[float] = []
        self.line_bytes = 0
        self.sent_s = 0.0

    def receive(self, descriptor: int) -> bytes:
        data = super().receive(descriptor)
        if data:
            now_s = time.monotonic()
            self.requests_s.append(now_s)
            self.gaps_s += [now_s - self.sent_s] if self.sent_s else []
            self.line_bytes += len(data)
        return data

    def send(self, data: bytes) -> None:
        self.sent_s = time.monotonic()
        self.line_bytes += len(data)
        super().send(data)

    def seen(self) -> FarSide:
        pairs = pairwise(self.requests_s)
        cycle_s = statistics.median([later - earlier for earlier, later in pairs] or [0.0])
        whole_s = self.sent_s - self.requests_s[0]
        return FarSide(cycle_s, min(self.gaps_s, default=0.0), whole_s, self.line_bytes, len(self.requests_s))


class ExactBus(SimBus):
    """A `SimBus` that is not late."""

    def _run(self) -> None:
        watched = self.port
        assert isinstance(watched, WatchedPort)
        while not self._closing:
            if time.monotonic() - watched.sent_s > WATCH_S:
                ready = select.select([self._wake_reader, *watched.descriptors()], [], [], 1.0)[0]
                if self._wake_reader in ready:
                    return
            for descriptor in watched.descriptors():
                self._hear(watched.receive(descriptor))

    def _sleep_until(self, due_s: float) -> None:
        left_s = due_s - time.monotonic()
        if left_s > SPIN_S:
            select.select([self._wake_reader], [], [], left_s - SPIN_S)
        while time.monotonic() < due_s:
            pass


def serve(path: Path, stations: Sequence[Station], timing: Timing) -> int:
    """The far end's process: serves until its standard input closes, then prints what it saw."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-1:])
    port = WatchedPort(path)
    bus = ExactBus("paced", port, stations, timing)
    bus.start()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "again":
            port.requests_s, port.gaps_s, port.line_bytes, port.sent_s = [], [], 0, 0.0
            print("ready", flush=True)
    bus.close()
    print(json.dumps(asdict(port.seen())), flush=True)
    return 0


@dataclass(slots=True)
class FarEnd:
    """Our end of the far end: its device, and what it saw once it was asked."""

    device: str
    process: subprocess.Popen[str]

    def begin(self) -> None:
        """Forget the warm-up."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("again", file=self.process.stdin, flush=True)
        self.process.stdout.readline()

    def end(self) -> FarSide:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        return FarSide(**json.loads(self.process.stdout.readline()))


@contextlib.contextmanager
def far_end(script: str, *arguments: str) -> Iterator[FarEnd]:
    """`script --respond PATH arguments...` in its own process; the caller keeps off its CPU."""
    cpus = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line"
        command = [sys.executable, script, "--respond", str(path), *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if len(cpus) > 1:
                os.sched_setaffinity(0, sorted(cpus)[:-1])
            try:
                yield FarEnd(str(path), process)
            finally:
                os.sched_setaffinity(0, cpus)
                if process.stdin is not None and not process.stdin.closed:
                    process.stdin.close()


def cpu_of(work: Callable[[], None]) -> float:
    """Processor seconds of this process while it works."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s
