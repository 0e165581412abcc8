"""Journal entries a second that a concentrator writes in sweeps of its prepaid meters: one transaction a sweep, each meter charged.

    python edge/bench/journal_speed.py --meters 400 --sweeps 40 --json

The target is 1,000 entries a second. CPU time says what the machine's own work is, wall time what it was with the disk and with all
that ran beside it; both are printed, with the load of the machine and the bytes that were written for each entry.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "tests")]

from support.journal_speed import TARGET, Speed, measure  # noqa: E402


def shown(speed: Speed, load: float) -> str:
    return "\n".join((
        f"{speed.entries} entries in {speed.sweeps} sweeps of {speed.meters} meters, load of the machine {load:.1f}",
        f"{speed.per_cpu_s:.0f} entries/s of CPU time ({1e6 / speed.per_cpu_s:.0f} us each), {speed.best_per_cpu_s:.0f} in the fastest"
        f" sweep, {speed.per_wall_s:.0f} by the wall; target {TARGET}",
        f"written for each entry: body {speed.body_bytes:.0f} B, outbox copy {speed.outbox_bytes:.0f} B, rows beside it"
        f" {speed.rows_bytes:.0f} B; pages in the write-ahead log {speed.wal_bytes:.0f} B in all, and once more when they go to the file",
        f"engine: {speed.advance_cpu_us:.0f} us of CPU time for an interval (three periods, one in slabs, fixed part, tax)",
    ))  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Journal entries a second in sweeps.", epilog="example: journal_speed.py --sweeps 40")
    parser.add_argument("--meters", type=int, default=400)
    parser.add_argument("--sweeps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.meters, options.sweeps)
    load = os.getloadavg()[0]
    print(json.dumps({**asdict(found), "load": load}) if options.json else shown(found, load))
    return 0 if found.per_cpu_s >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
