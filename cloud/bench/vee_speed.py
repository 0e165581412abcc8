"""How fast VEE judges: intervals per CPU-second of one core, against the 1,000,000 of the design.

    python cloud/bench/vee_speed.py --rounds 5
    python cloud/bench/vee_speed.py --meters 300      a larger store for the whole run

* Judged are three days at a time, as the run does, each with the registers of its midnights. The target is for the street: one day in
  fifty has something wrong. Before anything is timed, judging with the screen and with every rule asked gave the same judgements.
* The whole run reads days from a store, judges each with its neighbours, and writes what stands: that is what a worker does.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "cloud", "tests", "native/bench")]

from measure import in_turn  # noqa: E402

from gridtally_cloud.vee.judge import Known, Screen, judge  # noqa: E402
from gridtally_cloud.vee.model import Stretch  # noqa: E402
from gridtally_cloud.vee.screen import everything, screened  # noqa: E402
from gridtally_native import BACKEND  # noqa: E402
from support.vee_days import house  # noqa: E402
from support.vee_store import StoreRun, run_over_a_store  # noqa: E402

TARGET = 1_000_000
STREET = "street, 1 day in 50 with a fault"
DAYS = 3
Houses = list[tuple[Stretch, Known]]


def _houses(count: int, faulty: float, seed: int) -> Houses:
    """Of each house three days; `faulty` is the share of days with a fault."""
    rng = random.Random(seed)
    return [house(rng, sum(rng.random() < faulty for _ in range(DAYS)), DAYS) for _ in range(count)]


def _judge_all(houses: Houses, screen: Screen) -> int:
    return sum(len(judge(stretch, known, screen).findings) for stretch, known in houses)


def pure_part(count: int, rounds: int) -> float:
    """Intervals per CPU-second of the street."""
    mixes = {"clean days": _houses(count, 0, 1), STREET: _houses(count, 0.02, 2), "every day with a fault": _houses(count, 1, 3)}
    for houses in mixes.values():
        assert all(judge(s, k) == judge(s, k, everything) for s, k in houses), "the screen changed a judgement"
    methods = {name: (houses, screened) for name, houses in mixes.items()} | {f"{STREET}, every rule asked": (mixes[STREET], everything)}
    timed = in_turn({name: lambda h=houses, s=screen: _judge_all(h, s) for name, (houses, screen) in methods.items()}, rounds)  # type: ignore[misc]
    amount = sum(len(stretch) for stretch, _ in mixes[STREET])
    print(f"judging, {amount:,} intervals of {count} houses, native module {BACKEND}, load {os.getloadavg()[0]:.1f}")
    for name, timing in timed.items():
        print(f"  {name:52} {timing.rate(amount):>12,.0f} intervals per CPU-second ({timing.spread(amount)})")
    return timed[STREET].rate(amount)


def shown(run: StoreRun) -> str:
    return (
        f"the whole run over a store of {run.meters} meters, read every quarter: {run.days} channel-days, {run.clean_days} of them clean\n"
        f"  {run.cpu_ms_a_day:.2f} ms of CPU a day, {run.intervals_per_cpu_s:,.0f} intervals per CPU-second;"
        f" a clean day judged by itself {1000 * run.alone_s:.1f} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast VEE judges.", epilog="example: vee_speed.py --rounds 7 --meters 0")
    parser.add_argument("--houses", type=int, default=400, help="three days each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--meters", type=int, default=120, help="of the store for the whole run; 0 leaves it out")
    options = parser.parse_args()
    rate = pure_part(options.houses, options.rounds)
    print(f"  target {TARGET:,} for the street: {'met' if rate >= TARGET else 'missed'} ({rate / TARGET:.2f})")
    if options.meters:
        with tempfile.TemporaryDirectory() as folder:
            print(shown(run_over_a_store(Path(folder), options.meters)))
    return 0 if rate >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
