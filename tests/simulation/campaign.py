"""Many seeds over all cores, with a bar, a report, and a file to go on from.

    make campaign                                     50,000 seeds of 7 days
    make campaign ARGS="--seeds 1000 --days 2"        fewer
    python -m simulation.campaign --seed 4711         live one seed again, its trace around a finding, its hash
    python -m simulation.campaign --shrink 4711       drop steps while it still fails

Finished seeds stand in the --out file, one JSON line each; the same command again goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from simulation import coverage
from simulation.plan import DAY_MS, Plan, Step, plan_of
from simulation.rim import collected_once
from simulation.world import Counts, World, world_of

TRACE_AROUND = 60
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Shape:
    """What every seed of a campaign has in common."""

    days: int
    homes: int
    density: float

    @property
    def name(self) -> str:
        return f"{self.days}d-{self.homes}h-{self.density:g}"


def live(plan: Plan, **more: Any) -> World:
    with collected_once(), world_of(plan, **more) as world:
        return world.run()


def lived(shape: Shape, seed: int) -> dict[str, Any]:
    """One seed as a line of the file. A world that falls down is a finding too."""
    logging.disable(logging.WARNING)
    begun = time.monotonic()
    try:
        with coverage.transitions() as fired:
            world = live(plan_of(seed, shape.days, shape.homes, shape.density))
    except Exception:
        fell = {"invariant": "fell", "what": traceback.format_exc()[-2_000:]}
        lost = {"seed": seed, "shape": shape.name, "hash": "", "seconds": 0, "findings": [fell], "wrong": [], "fired": {}}
        return {**lost, **asdict(Counts())}
    wrong = [[j.close, list(j.wrong)] for j in world.oracle.judged if j.wrong]
    return {
        "seed": seed, "shape": shape.name, "hash": world.trace_hash, "seconds": round(time.monotonic() - begun, 3),
        "findings": [asdict(f) for f in world.findings], "wrong": wrong, "fired": dict(fired), **asdict(world.counts),
    }  # fmt: skip


def many(shape: Shape, seeds: Iterable[int], jobs: int) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        yield from map(partial(lived, shape), seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=200) as pool:
        yield from pool.imap_unordered(partial(lived, shape), seeds, chunksize=1)


# ---- one seed -----------------------------------------------------------------------------------------------------


def again(shape: Shape, seed: int) -> int:
    """Live one seed again and tell everything about it."""
    world = live(plan_of(seed, shape.days, shape.homes, shape.density))
    print("\n".join(list(world.trace)[-TRACE_AROUND:]))
    print(f"\nseed {seed} {shape.name}: {world.event_no} events, hash {world.trace_hash}")
    print(f"{world.counts}")
    for finding in world.findings:
        print(f"{finding.invariant} at event {finding.event_no}: {finding.what}")
    return 1 if world.findings else 0


def command_of(shape: Shape, seed: int) -> str:
    """What a person types to see a seed fail again."""
    return (f"PYTHONPATH=tests .venv/bin/python -m simulation.campaign --seed {seed} --days {shape.days} --homes {shape.homes} "
            f"--density {shape.density:g}")  # fmt: skip


def shrunk(steps: tuple[Step, ...], fails: Callable[[tuple[Step, ...]], bool], most_runs: int = 300) -> tuple[Step, ...]:
    """The steps that are left when no further part can be dropped and it still fails."""
    part, runs = max(1, len(steps) // 2), 0
    while runs < most_runs:
        for begin in range(0, len(steps), part):
            fewer = (*steps[:begin], *steps[begin + part :])
            runs += 1
            if fails(fewer):
                steps = fewer
                break
        else:
            if part == 1:
                break
            part = max(1, part // 2)
    return steps


def shrink(shape: Shape, seed: int) -> int:
    plan = plan_of(seed, shape.days, shape.homes, shape.density)
    findings = live(plan).findings
    if not findings:
        print(f"seed {seed} holds: nothing to shrink")
        return 0
    invariant = findings[-1].invariant
    steps = shrunk(plan.steps, lambda fewer: invariant in {f.invariant for f in live(plan.with_steps(fewer)).findings})
    print(f"seed {seed}: {invariant} still breaks with {len(steps)} of {len(plan.steps)} steps:")
    for step in steps:
        hours = (step.at_ms - plan.start_ms) / 3_600_000
        print(f"  {hours:8.2f} h  {step.kind} {step.numbers}")
    return 1


# ---- the campaign -------------------------------------------------------------------------------------------------


def _done(out: Path, shape: Shape) -> dict[int, dict[str, Any]]:
    if not out.exists():
        return {}
    rows = (json.loads(line) for line in out.read_text().splitlines() if line.endswith("}"))
    return {row["seed"]: row for row in rows if row["shape"] == shape.name}


def _bar(done: int, of: int, failed: int, begun_s: float, first: int) -> None:
    share = done / of if of else 1.0
    spent_s = time.monotonic() - begun_s
    left_s = spent_s / max(1, done - first) * (of - done)
    width = 30
    bar = "#" * int(share * width) + "." * (width - int(share * width))
    ending = "" if sys.stderr.isatty() else "\n"
    start = "\r" if sys.stderr.isatty() else ""
    if sys.stderr.isatty() or done == of or done % max(1, of // 20) == 0:
        print(f"{start}[{bar}] {done}/{of} seeds, {failed} failed, {left_s / 60:.0f} min left ", end=ending, file=sys.stderr, flush=True)


def run(shape: Shape, seeds: range, jobs: int, out: Path) -> int:
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = {seed: row for seed, row in _done(out, shape).items() if seed in seeds}
    first, begun_s = len(rows), time.monotonic()
    failed = sum(bool(row["findings"]) for row in rows.values())
    with out.open("a") as file:
        for row in many(shape, [s for s in seeds if s not in rows], jobs):
            rows[row["seed"]] = row
            failed += bool(row["findings"])
            file.write(json.dumps(row) + "\n")
            file.flush()
            _bar(len(rows), len(seeds), failed, begun_s, first)
    print(report(shape, list(rows.values())))
    return 1 if failed else 0


def report(shape: Shape, rows: list[dict[str, Any]]) -> str:
    """Numerators and denominators."""
    names = ("meter_ms", "cuts", "closes", "events", "payments", "power_cuts", "rollbacks")
    total = {name: sum(row[name] for row in rows) for name in names}
    wrong = [close for row in rows for close, _ in row["wrong"]]
    failing = sorted(row["seed"] for row in rows if row["findings"])
    lines = [
        f"\nseeds lived: {len(rows)} of shape {shape.name} (days, homes, density), {sum(r['seconds'] for r in rows):.0f} s of one core",
        f"simulated meter-days: {total['meter_ms'] / DAY_MS:.0f}",
        f"events after each of which every invariant was checked: {total['events']}",
        f"payments {total['payments']}, power cuts {total['power_cuts']}, old disks put in {total['rollbacks']}",
        f"wrongful cuts: {wrong.count(False)} of {total['cuts']}",
        f"wrongful closes: {wrong.count(True)} of {total['closes']}",
        f"seeds with a finding: {len(failing)}",
        *_fired(rows),
    ]
    for seed in failing[:10]:
        row = next(r for r in rows if r["seed"] == seed)
        finding = row["findings"][0]
        lines += [f"  seed {seed}: {finding['invariant']} {finding['what']}", f"    {command_of(shape, seed)}"]
    return "\n".join(lines)


def _fired(rows: list[dict[str, Any]]) -> Iterator[str]:
    """How often each transition fired, and in how many seeds; what is kept of runs of earlier may not say."""
    times, seeds = Counter[str](), Counter[str]()
    for row in rows:
        times.update(row.get("fired", {}))
        seeds.update(row.get("fired", {}).keys())
    yield coverage.told(times)
    yield "  " + ", ".join(f"{name} {times[name]} in {seeds[name]}" for name in coverage.EVERY if times[name])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50_000, help="how many seeds (default 50000)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--days", type=int, default=7, help="simulated days of each (default 7)")
    parser.add_argument("--homes", type=int, default=3, help="homes of each (default 3)")
    parser.add_argument("--density", type=float, default=1.0, help="how much happens in a day (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, default=ROOT / "artefacts" / "campaign.jsonl", help="where finished seeds are kept")
    parser.add_argument("--seed", type=int, help="live this one seed again and show its trace")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="drop steps of a failing seed while it still fails")
    chosen = parser.parse_args(argv)
    shape = Shape(chosen.days, chosen.homes, chosen.density)
    if chosen.seed is not None:
        return again(shape, chosen.seed)
    if chosen.shrink is not None:
        return shrink(shape, chosen.shrink)
    return run(shape, range(chosen.first, chosen.first + chosen.seeds), chosen.jobs, chosen.out)


if __name__ == "__main__":
    raise SystemExit(main())
