"""`gridtally-mdm vee --score FOLDER`: VEE on houses whose truth is known, and how near it came.

* For each NAME the folder holds NAME_damaged.csv (`interval_start,kwh`, in the order of arrival), NAME_registers.csv
  (`read_time,register_kwh`), NAME_truth.csv, and NAME_faults.json with what was done to it.
* The truth is only looked at afterwards. Everything before sees what a utility would see.
* Found is a fault whose every interval lies in findings of its kind. Changed outside is an interval that no fault touched and
  that has another value than it came with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from gridtally_cloud.vee.files import House, read_house
from gridtally_cloud.vee.repair import Repair, Standing, repair
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

RULE_OF_FAULT = {
    "gap": "gap",
    "duplicate_conflicting": "conflict",
    "duplicate_same_value": "duplicate",
    "spike": "spike",
    "flat_line": "stuck",
    "stuck_zero": "zero",
    "negative": "limit",
    "late_arrival_out_of_order": "late",
}
MEASURED = frozenset({Standing.VALIDATED, Standing.VERIFIED})


@dataclass(frozen=True, slots=True)
class FaultScore:
    """`estimated_wh` is None where the fault leaves the measured values standing."""

    kind: str
    start: str
    intervals: int
    found: bool
    methods: tuple[str, ...]
    estimated_wh: int | None
    truth_wh: int


@dataclass(frozen=True, slots=True)
class Score:
    """`error_wh` is the sum of absolute errors of all estimates, interval by interval."""

    name: str
    faults: tuple[FaultScore, ...]
    changed_outside: int
    days: int
    days_that_sum: int
    estimates: int
    error_wh: int
    total_wh: int
    truth_total_wh: int

    @property
    def is_whole(self) -> bool:
        return all(f.found for f in self.faults) and not self.changed_outside and self.days_that_sum == self.days


def score_of(house: House) -> Score:
    """Repair a house, then hold it against its truth."""
    done = repair(house.stretch, house.known)
    truth = [house.truth.get(house.stretch.start_of(i)) for i in range(len(house.stretch))]
    faulty = {i for fault in house.faults for i in _places(house, fault.start_ms, fault.intervals)}
    changed = sum(
        done.values[i] != truth[i] or done.standings[i] not in MEASURED
        for i in range(len(truth)) if i not in faulty and truth[i] is not None
    )  # fmt: skip
    windows = done.judgement.windows
    return Score(
        house.name, tuple(_fault(house, done, fault.kind, fault.start_ms, fault.intervals) for fault in house.faults), changed,
        len(windows), sum(abs(sum(done.values[w.first : w.after]) - w.moved) <= w.tolerance for w in windows), len(done.estimates),
        sum(abs(e.value - (truth[e.index] or 0)) for e in done.estimates), sum(done.values), sum(value or 0 for value in truth),
    )  # fmt: skip


def _fault(house: House, done: Repair, kind: str, start_ms: int, intervals: int) -> FaultScore:
    places = _places(house, start_ms, intervals)
    rule = RULE_OF_FAULT.get(kind, kind)
    found = [f for f in (*done.findings, *house.noted) if f.rule == rule]
    starts = [house.stretch.start_of(i) for i in places]
    methods = sorted({done.standings[i].value for i in places} - {s.value for s in MEASURED})
    return FaultScore(
        kind, datetime.fromtimestamp(start_ms / 1000, house.offset).strftime("%Y-%m-%d %H:%M"), intervals,
        all(any(f.start_ms <= at < f.end_ms for f in found) for at in starts), tuple(methods),
        sum(done.values[i] for i in places) if methods else None, sum(house.truth.get(at, 0) for at in starts),
    )  # fmt: skip


def _places(house: House, start_ms: int, intervals: int) -> range:
    first = (start_ms - house.stretch.start_ms) // (house.stretch.period_s * 1000)
    return range(first, first + intervals)


# ---- printed ----------------------------------------------------------------------------------------------------


def print_score(options: argparse.Namespace) -> int:
    """Exit code 1 where something was missed or changed. Raises ConfigError for a folder that holds no such house."""
    folder = Path(options.score)
    names = sorted(path.name.removesuffix("_damaged.csv") for path in folder.glob("*_damaged.csv"))
    if not names:
        raise ConfigError("--score", str(folder), "put NAME_damaged.csv, _registers.csv, _truth.csv and NAME_faults.json there")
    scores = [score_of(read_house(folder, name, options.zone)) for name in names]
    for score in scores:
        print(json.dumps(asdict(score)) if options.json else "\n".join(lines(score)))
    return 0 if all(score.is_whole for score in scores) else 1


def lines(score: Score) -> Sequence[str]:
    """The score as a person reads it."""
    found = sum(f.found for f in score.faults)
    return [
        f"{score.name}: {found} of {len(score.faults)} faults found, {score.changed_outside} intervals changed outside them, "
        f"{score.days_that_sum} of {score.days} days sum to the register",
        "",
        f"  {'fault':26} {'from':17} {'n':>3}  {'found':5}  {'estimated':>10}  {'truth':>10}  as",
        *(_line(fault) for fault in score.faults),
        "",
        f"  {score.estimates} estimates, {score.error_wh / max(1, score.estimates):.1f} Wh off each on average; "
        f"total {score.total_wh / 1000:.3f} kWh, truth {score.truth_total_wh / 1000:.3f} kWh",
    ]


def _line(fault: FaultScore) -> str:
    estimated = "as it came" if fault.estimated_wh is None else f"{fault.estimated_wh} Wh"
    return (
        f"  {fault.kind:26} {fault.start:17} {fault.intervals:>3}  {'yes' if fault.found else 'NO':5}  {estimated:>10}  "
        f"{f'{fault.truth_wh} Wh':>10}  {', '.join(fault.methods) or '-'}"
    )
