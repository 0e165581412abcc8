"""`make bench`: every benchmark in turn, each against its peers or limits in the same run.

    make bench                         all of them
    make bench ARGS="--only modbus"    one of them

Figures that are worth keeping go to docs/benchmarks.md by hand, with date and machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BENCHES: dict[str, tuple[str, str]] = {
    "native": ("native/bench/run.py", "aggregation and block codec against NumPy, DuckDB, Polars and the pure twin"),
    "modbus": ("edge/bench/modbus_cycle.py", "a Modbus cycle on a line paced to 9600 baud, against the floor of physics"),
    "agent": ("edge/bench/agent_rss.py", "resident memory of the agent with the demo street"),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(BENCHES), action="append", help="run only this one (may be repeated)")
    chosen = parser.parse_args(argv).only or list(BENCHES)
    failed = []
    for number, name in enumerate(chosen, 1):
        script, about = BENCHES[name]
        print(f"\n[{number}/{len(chosen)}] {name}: {about}", flush=True)
        started = time.monotonic()
        code = subprocess.run([sys.executable, str(ROOT / script)], cwd=ROOT, check=False).returncode
        print(f"[{number}/{len(chosen)}] {name}: {time.monotonic() - started:.0f} s, exit {code}", flush=True)
        failed += [name] if code else []
    if failed:
        print(f"\nmissed or failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
