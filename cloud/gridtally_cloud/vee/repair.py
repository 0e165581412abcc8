"""A stretch judged, estimated and made to agree with its registers: what VEE says of every interval (mdm.md B.2 to B.4).

* Measured values that are believed are never touched. Judging the same data again gives the same answer.
* After scaling, limits and sums are looked at once more: an estimate the service does not allow is a finding.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum

from gridtally_cloud.vee.checks import is_asked
from gridtally_cloud.vee.estimate import Estimate, Estimator, Method, filled
from gridtally_cloud.vee.judge import Judgement, Known, judge
from gridtally_cloud.vee.model import Finding, Stretch
from gridtally_cloud.vee.said import with_outages
from gridtally_cloud.vee.scale import scaled
from gridtally_shared.records import dataclass


class Standing(Enum):
    """What an interval is worth (mdm.md B.4)."""

    VALIDATED = "VAL"
    VERIFIED = "VER"
    MISSING = "MISS"
    LINEAR = "EST-LIN"
    HISTORY = "EST-HIST"
    CHECK = "EST-CHK"
    ZERO = "EST-ZERO"


STANDING_OF = {
    Method.CHECK: Standing.CHECK,
    Method.OUTAGE: Standing.ZERO,
    Method.LINEAR: Standing.LINEAR,
    Method.LIKE_DAY: Standing.HISTORY,
    Method.AVERAGE: Standing.HISTORY,
}


@dataclass(frozen=True, slots=True)
class Repair:
    """`values[i]` counts unless `standings[i]` is MISSING. `scaled[i]` is 1 where a register had the last word on an estimate."""

    judgement: Judgement
    estimates: tuple[Estimate, ...]
    values: array[int]
    standings: tuple[Standing, ...]
    scaled: bytes
    findings: tuple[Finding, ...]


def repair(stretch: Stretch, known: Known, check: Mapping[int, int] | None = None, unfit: bytes = b"") -> Repair:
    """What VEE makes of a stretch. `check` are values of a second channel by the start of their interval.

    The first len(`unfit`) intervals are history: they were judged before, and serve as a reference where `unfit` is 0."""
    stretch = with_outages(stretch, known.events)
    judgement = _after(len(unfit), unfit, judge(stretch.part(len(unfit), len(stretch)), known))
    guessed = tuple(Estimator(stretch, judgement.failed, known.local, known.rules, check or {}).all())
    fitted = _fitted(stretch, judgement, guessed)
    values = filled(stretch, fitted)
    touched = {new.index for old, new in zip(sorted(guessed, key=_place), sorted(fitted, key=_place), strict=True) if old != new}
    findings = (*judgement.findings, *_too_high(stretch, fitted, known))
    marks = bytes(i in touched for i in range(len(stretch)))
    return Repair(judgement, tuple(sorted(fitted, key=_place)), values, _standings(judgement, fitted), marks, findings)


def _after(past: int, unfit: bytes, judged: Judgement) -> Judgement:
    """A judgement in the places of a stretch that begins `past` intervals earlier."""
    windows = tuple(replace(w, first=w.first + past, after=w.after + past) for w in judged.windows)
    return Judgement(judged.findings, unfit + judged.failed, bytes(past) + judged.confirmed, windows)


def _fitted(stretch: Stretch, judgement: Judgement, guessed: Sequence[Estimate]) -> list[Estimate]:
    by_window = [scaled(stretch, window, guessed, judgement.failed) for window in judgement.windows]
    held = {e.index for part in by_window for e in part}
    return [*(e for part in by_window for e in part), *(e for e in guessed if e.index not in held)]


def _place(estimate: Estimate) -> int:
    return estimate.index


def _standings(judgement: Judgement, estimates: Sequence[Estimate]) -> tuple[Standing, ...]:
    method = {e.index: STANDING_OF[e.method] for e in estimates}
    believed = (Standing.VALIDATED, Standing.VERIFIED)
    return tuple(
        method.get(i, Standing.MISSING) if failed else believed[confirmed]
        for i, (failed, confirmed) in enumerate(zip(judgement.failed, judgement.confirmed, strict=True))
    )


def _too_high(stretch: Stretch, estimates: Sequence[Estimate], known: Known) -> list[Finding]:
    """Estimates the service does not allow: the register or the like days are wrong (mdm.md B.3-8)."""
    if not is_asked("estimate", stretch.unit, known.direction, known.rules.off):
        return []
    top = known.limit_w * stretch.period_s * known.rules.limit_factor_permille // 3_600_000
    return [
        Finding("estimate", 1, stretch.start_of(e.index), stretch.start_of(e.index + 1),
                f"the estimate {e.value} {stretch.unit} is above the {top} the service allows", e.value, top)
        for e in estimates if e.value > top
    ]  # fmt: skip
