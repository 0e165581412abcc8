"""Memory of the real agent process with a street of 24 meters on ptys, after some sweeps. Target 52 MB (performance.md).

    python edge/bench/agent_rss.py --sweeps 6 --json

Prints RSS, PSS and the private share (what one more agent would cost), and what the agent had read by then.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "tests")]

from support.brokers import running  # noqa: E402
from support.edge_site import DCU, EdgeSite, edge_site  # noqa: E402
from support.little_cloud import LittleCloud  # noqa: E402
from support.waiting import wait_until  # noqa: E402

TARGET_MB = 52.0


@dataclass(frozen=True, slots=True)
class Footprint:
    rss_mb: float
    pss_mb: float
    private_mb: float
    threads: int
    meters: int
    samples: int
    intervals: int
    target_mb: float = TARGET_MB


def footprint(site: EdgeSite) -> Footprint:
    assert site.agent is not None
    rollup = _fields(Path(f"/proc/{site.agent.pid}/smaps_rollup"))
    threads = _fields(Path(f"/proc/{site.agent.pid}/status"))["Threads"]
    status = site.status()
    private = rollup["Private_Clean"] + rollup["Private_Dirty"]
    meters = sum(1 for row in status["meters"] if row["contact_ms"])
    return Footprint(
        rollup["Rss"] / 1024, rollup["Pss"] / 1024, private / 1024, threads, meters, status["samples"], status["intervals"]
    )


def measure(meters: int, sweeps: int, factor: float, broker: str) -> Footprint:
    with tempfile.TemporaryDirectory() as folder, running(broker) as started:
        cloud = LittleCloud(started.port, DCU)
        half = meters // 2
        try:
            with edge_site(Path(folder), started.port, cloud.signer.public, half, meters - half, factor) as site:
                cloud.now_ms = site.clock.now_ms
                cloud.config = site.cloud_config()
                site.start_agent()
                end_ms = site.clock.now_ms() + (sweeps + 1) * 900_000
                wait_until(lambda: site.clock.now_ms() > end_ms and bool(site.status()), 600, "the sweeps")
                return footprint(site)
        finally:
            cloud.close()


def _fields(path: Path) -> dict[str, int]:
    """Numbers of a /proc file of `Name: value` lines (kB where a unit is given)."""
    pairs = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return {name.strip(): int(text.split()[0]) for name, text in pairs if text.split() and text.split()[0].isdigit()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of the agent.", epilog="example: agent_rss.py --sweeps 6")
    parser.add_argument("--meters", type=int, default=24)
    parser.add_argument("--sweeps", type=int, default=6)
    parser.add_argument("--factor", type=float, default=150.0, help="virtual seconds in a real one")
    parser.add_argument("--broker", default="mosquitto", choices=("mosquitto", "embedded"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.meters, options.sweeps, options.factor, options.broker)
    if options.json:
        print(json.dumps(asdict(found)))
    else:
        print(f"RSS {found.rss_mb:.1f} MB (target {found.target_mb:.0f}), PSS {found.pss_mb:.1f}, private {found.private_mb:.1f}")
        print(f"{found.threads} threads, {found.meters} meters, {found.samples} samples, {found.intervals} intervals")
    return 0 if found.rss_mb <= found.target_mb else 1


if __name__ == "__main__":
    sys.exit(main())
