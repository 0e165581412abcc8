"""The real agent with hundreds of simulated meters on one IP line: its memory, and how soon it asks the first of them.

    python edge/bench/ip_agent.py --meters 500 --json

Prints RSS of the agent without meters, of its imports alone, and with all meters read; and the time from the start of the process
to the first datagram at a meter: for a fresh store, and again with a store that has a backlog to replay. The simulators run in
this process, the agent in its own, with compiled modules as an installed package has them (in a folder
of the bench's own). Targets: 80 MB with 500 meters, 48 MB alone (or imports plus 12), 500 ms: the median of several starts,
each beside the import of the bare set that any such program needs, since a shared host has slow hours. Where that import
takes longer than the `BARE_MS` of the machine the target was set on, the target is as much longer, and both are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "tests")]

from gridtally_edge.registry import MeterEntry, Registry  # noqa: E402
from gridtally_edge.simulators.mesh import SimMesh  # noqa: E402
from gridtally_edge.simulators.running import INVENTORY, open_street  # noqa: E402
from gridtally_edge.simulators.street import default_street  # noqa: E402
from gridtally_shared.clock import SharedClock  # noqa: E402
from support.edge_site import START_MS, dcu_command, dcu_environment  # noqa: E402
from support.waiting import wait_until  # noqa: E402

TARGET_MB, ALONE_MB, IMPORTS_PLUS_MB, FIRST_POLL_MS = 80.0, 48.0, 12.0, 500.0
IMPORTED = (
    "gridtally_edge.cli",
    "gridtally_edge.agent",
    "gridtally_edge.logs",
    "gridtally_edge.drivers.is15959",
    "gridtally_edge.transports.ip_line",
    "paho.mqtt.client",
    "paho.mqtt.subscribeoptions",
)
BARE_SET = (
    "import time; s = time.process_time(); import ssl, sqlite3, asyncio, paho.mqtt.client, serial, json, logging; "
    "print(1_000 * (time.process_time() - s))"
)
BARE_MS = 98.0
STARTS = 7
RSS_OF_IMPORTS = "import gridtally_edge.agent; print(open('/proc/self/status').read())"


@dataclass(frozen=True, slots=True)
class Figures:
    """`start_ms` is the time to the first datagram at a meter, `restart_ms` the same with everything stored and unsent (the
    median); `bare_ms` what the bare set took to import beside it."""

    meters: int
    read: int
    rss_mb: float
    alone_mb: float
    imports_mb: float
    threads: int
    start_ms: float
    restart_ms: float
    bare_ms: float
    read_all_s: float

    @property
    def limit_ms(self) -> float:
        return FIRST_POLL_MS * max(1.0, self.bare_ms / BARE_MS)

    @property
    def fine(self) -> bool:
        alone = max(ALONE_MB, self.imports_mb + IMPORTS_PLUS_MB)
        in_time = max(self.start_ms, self.restart_ms) <= self.limit_ms
        return self.rss_mb <= TARGET_MB and self.alone_mb <= alone and in_time and self.read == self.meters


def measure(meters: int, in_flight: int, factor: float, settle_s: float) -> Figures:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clock = SharedClock.create(folder / "clock.json", START_MS, factor)
        with open_street(default_street(0, 0, mesh=meters), folder / "street", clock) as running:
            mesh = running.lines["mesh-1"]
            assert isinstance(mesh, SimMesh)
            _configure(folder, in_flight)
            _compile(folder)
            _run_to_end("init", "--config", str(folder / "dcu.toml"))
            alone_mb = _alone(folder)
            _register(folder)
            start_ms, read_all_s, rss_mb, threads, read = _sweep(folder, mesh, meters, settle_s)
            starts = [(_sweep(folder, mesh, 1, 0.0)[0], _bare_ms(folder)) for _ in range(STARTS)]
            restart_ms, bare_ms = (statistics.median(column) for column in zip(*starts, strict=True))
            imports_mb = _imports_mb(folder)
    return Figures(meters, read, rss_mb, alone_mb, imports_mb, threads, start_ms, restart_ms, bare_ms, read_all_s)


def _configure(folder: Path, in_flight: int) -> None:
    inventory = json.loads((folder / "street" / INVENTORY).read_text())
    (folder / "command-key.pub").write_bytes(bytes(32))
    rows = {**inventory["lines"][0], "in_flight": in_flight}
    line = "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
    (folder / "dcu.toml").write_text(f'dcu = "dcu-bench"\nvirtual_clock_file = "clock.json"\n[broker]\nport = 9\n[[line]]\n{line}')


def _register(folder: Path) -> None:
    inventory = json.loads((folder / "street" / INVENTORY).read_text())
    registry = Registry(folder / "data" / "registry.json")
    rows = {}
    for number, m in enumerate(inventory["meters"], start=1):
        entry = MeterEntry(m["line"], m["driver"], m["settings"])
        rows[str(number)] = {"key": entry.key, **asdict(entry)}
    registry._db.storage.write({"meters": rows})  # one write instead of one for each meter


def _alone(folder: Path) -> float:
    agent = _start(folder)
    try:
        wait_until(lambda: _status(folder, agent), 20, "the agent's status")
        _let_pass(2.0)
        return _memory_mb(f"/proc/{agent.pid}/status")
    finally:
        _stop(agent)


def _sweep(folder: Path, mesh: SimMesh, meters: int, settle_s: float) -> tuple[float, float, float, int, int]:
    mesh.first_heard_s = None
    started_s = time.monotonic()
    agent = _start(folder)
    try:
        first_s = wait_until(lambda: mesh.first_heard_s, 30, "the first poll") - started_s
        wait_until(lambda: _read(folder, agent) >= meters, 300, "all meters read")
        read_all_s = time.monotonic() - started_s
        _let_pass(settle_s)
        fields = _fields(f"/proc/{agent.pid}/status")
        return first_s * 1_000, read_all_s, fields["VmRSS"] / 1_024, fields["Threads"], _read(folder, agent)
    finally:
        _stop(agent)


def _bare_ms(folder: Path) -> float:
    """CPU time of the import of the bare set in a process of its own."""
    done = subprocess.run([sys.executable, "-c", BARE_SET], env=_environment(folder), check=True, capture_output=True, text=True)
    return float(done.stdout)


def _let_pass(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end_s, seconds + 5)


def _read(folder: Path, agent: subprocess.Popen[bytes]) -> int:
    return sum(1 for row in _status(folder, agent).get("meters", ()) if row["serial"])


def _status(folder: Path, agent: subprocess.Popen[bytes]) -> dict[str, Any]:
    try:
        status: dict[str, Any] = json.loads((folder / "data" / "status.json").read_text())
    except FileNotFoundError:
        return {}
    return status if status["pid"] == agent.pid else {}


def _start(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "agent.log").open("ab") as log:
        command = [sys.executable, "-m", "gridtally_edge.cli", "run", "--config", str(folder / "dcu.toml")]
        return subprocess.Popen(command, env=_environment(folder), stdout=log, stderr=log)


def _environment(folder: Path) -> dict[str, str]:
    environment = {**dcu_environment(), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _compile(folder: Path) -> None:
    """What pip does when it installs: every module the agent imports, its libraries too."""
    command = [sys.executable, "-c", f"import {', '.join(IMPORTED)}"]
    subprocess.run(command, env=_environment(folder), check=True)


def _stop(agent: subprocess.Popen[bytes]) -> None:
    agent.terminate()
    agent.wait(30)


def _run_to_end(*words: str) -> None:
    subprocess.run(dcu_command(*words), env=dcu_environment(), check=True, stdout=subprocess.DEVNULL)


def _imports_mb(folder: Path) -> float:
    command = [sys.executable, "-c", RSS_OF_IMPORTS]
    done = subprocess.run(command, env=_environment(folder), check=True, capture_output=True, text=True)
    row = next(row for row in done.stdout.splitlines() if row.startswith("VmRSS"))
    return int(row.split()[1]) / 1_024


def _memory_mb(path: str) -> float:
    return _fields(path)["VmRSS"] / 1_024


def _fields(path: str) -> dict[str, int]:
    pairs = (line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line)
    return {name: int(text.split()[0]) for name, text in pairs if text.split() and text.split()[0].isdigit()}


def main() -> int:
    parser = argparse.ArgumentParser(description="The agent with meters on IP.", epilog="example: ip_agent.py --meters 500")
    parser.add_argument("--meters", type=int, default=500)
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--factor", type=float, default=1.0, help="virtual seconds in a real one")
    parser.add_argument("--settle", type=float, default=20.0, help="seconds of going on before memory is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.meters, options.in_flight, options.factor, options.settle)
    if options.json:
        print(json.dumps({**asdict(found), "fine": found.fine}))
    else:
        print(
            f"RSS {found.rss_mb:.1f} MB with {found.read} of {found.meters} meters read, {found.threads} threads (target {TARGET_MB:.0f})"
        )
        print(
            f"RSS {found.alone_mb:.1f} MB without meters (target {ALONE_MB:.0f}, or imports {found.imports_mb:.1f} + {IMPORTS_PLUS_MB:.0f})"
        )
        print(
            f"first poll {found.start_ms:.0f} ms after the start, {found.restart_ms:.0f} ms with stored data (target {FIRST_POLL_MS:.0f}; "
            f"the bare set takes {found.bare_ms:.0f} ms instead of {BARE_MS:.0f}, so {found.limit_ms:.0f} here)"
        )
        print(f"all meters identified within {found.read_all_s:.1f} s")
    return 0 if found.fine else 1


if __name__ == "__main__":
    sys.exit(main())
