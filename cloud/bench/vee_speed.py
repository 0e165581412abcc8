"""How fast VEE judges: intervals per CPU-second of one core, against the 1,000,000 of the design.

    python cloud/bench/vee_speed.py --rounds 5
    python cloud/bench/vee_speed.py --meters 1000     a larger store for the run out of the store

* Judged are three days at a time, as the run does, each with the registers of its midnights. The target is for the street: one day in
  fifty has something wrong. Before anything is timed, judging with the screen and with every rule asked gave the same judgements.
* The run out of the store is what a worker does night after night: it finds what waits, reads each day with its neighbours and registers,
  judges, and writes what stands, durably. Registers are read at midnight only, or every quarter; of the days none or one in fifty is
  faulty. The target is the same; that both ways of judging leave the same store is held by tests/unit/cloud/vee/test_backlog.py.
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
from support.vee_store import Habit, StoreRun, run_over_a_store  # noqa: E402

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


HABITS = (
    Habit("registers at midnight, clean", every_quarter=False, faulty=0),
    Habit("registers every quarter, clean", every_quarter=True, faulty=0),
    Habit("registers at midnight, 1 day in 50 with a fault", every_quarter=False, faulty=0.02),
    Habit("registers every quarter, 1 day in 50 with a fault", every_quarter=True, faulty=0.02),
)


def store_part(meters: int, nights: int, rounds: int) -> float:
    """Intervals per CPU-second of the habit that costs most."""
    runs: dict[str, list[StoreRun]] = {habit.name: [] for habit in HABITS}
    for _ in range(rounds):
        for habit in HABITS:
            with tempfile.TemporaryDirectory() as folder:
                runs[habit.name].append(run_over_a_store(Path(folder), meters, nights, habit))
    print(f"the run out of the store, {meters} meters, {nights} nights, load {os.getloadavg()[0]:.1f}")
    return min(_shown(name, sorted(found, key=lambda run: run.intervals_per_cpu_s)) for name, found in runs.items())


def _shown(name: str, runs: list[StoreRun]) -> float:
    run = runs[len(runs) // 2]
    rates = f"{runs[0].intervals_per_cpu_s:,.0f} to {runs[-1].intervals_per_cpu_s:,.0f}"
    print(f"  {name:52} {run.intervals_per_cpu_s:>12,.0f} intervals per CPU-second ({rates}); {run.cpu_us_a_day:.0f} us a channel-day,"
          f" {run.days - run.clean_days} of {run.days} with findings; a clean day by itself {1000 * run.alone_s:.1f} ms")  # fmt: skip
    return run.intervals_per_cpu_s


def _told(what: str, rate: float) -> bool:
    print(f"  target {TARGET:,} for {what}: {'met' if rate >= TARGET else 'missed'} ({rate / TARGET:.2f})")
    return rate >= TARGET


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast VEE judges.", epilog="example: vee_speed.py --rounds 7 --meters 0")
    parser.add_argument("--houses", type=int, default=400, help="three days each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--meters", type=int, default=400, help="of the store for the run out of it; 0 leaves it out")
    parser.add_argument("--nights", type=int, default=5, help="of the store")
    options = parser.parse_args()
    met = _told("judging the street", pure_part(options.houses, options.rounds))
    if options.meters:
        met &= _told("the run out of the store, whatever the habit", store_part(options.meters, options.nights, options.rounds))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
