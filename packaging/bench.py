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
    "profile": ("native/bench/profile_rows.py", "HDLC checks and A-XDR of a load profile against gurux-dlms and dlms-cosem"),
    "modbus": ("edge/bench/modbus_cycle.py", "Modbus cycles on lines paced to 9600, 19200 and 115200 baud, against the floor of physics"),
    "dlms": ("edge/bench/dlms_profile.py", "a day's load profile over DLMS/HDLC on paced lines, against the time of its bytes"),
    "journal": ("edge/bench/journal_speed.py", "journal entries a second in sweeps of 400 meters, bytes written for each, the engine"),
    "ingest": ("cloud/bench/ingest_speed.py", "intervals the MDM takes in, from message to commit and receipt; two workers against one"),
    "store": ("cloud/bench/store_speed.py", "blocks of closed days: written, held and read, against rows in SQLite"),
    "vee": ("cloud/bench/vee_speed.py", "intervals that VEE judges in a CPU-second, alone and with its store"),
    "billing": ("cloud/bench/billing_speed.py", "bills by time of use and slabs from a month of quarter hours, alone and out of a store"),
    "retention": ("cloud/bench/retention_speed.py", "seconds of a worker that deletes 100,000 old rows, against one DELETE of them all"),
    "capacity": ("cloud/bench/capacity.py", "disk, memory and CPU time of a meter-day in the MDM: the slopes of docs/capacity.md"),
    "mdm": ("cloud/bench/mdm_rss.py", "resident memory of the MDM's processes, idle after their start"),
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
