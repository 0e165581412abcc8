"""A stretch judged, estimated and made to agree with its registers: what VEE says of every interval (mdm.md B.2 to B.4).

* Measured values that are believed are never touched. Judging the same data again gives the same answer.
* After scaling, limits and sums are looked at once more: an estimate the service does not allow is a finding.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Protocol

from gridtally_cloud.store.intervals import Slot, Slots
from gridtally_cloud.vee.checks import is_asked
from gridtally_cloud.vee.estimate import POWER_FAIL, UNUSABLE, Estimate, Estimator, Method, filled
from gridtally_cloud.vee.judge import Judgement, Known, judge
from gridtally_cloud.vee.model import Finding, RuleSet, Stretch
from gridtally_cloud.vee.said import with_outages
from gridtally_cloud.vee.scale import scaled
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

WAS_WRONG = int(Quality.MISSING | Quality.METER_INVALID)


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


@dataclass(frozen=True, slots=True)
class Repaired:
    """What there is to say, and estimates in the places of a stretch that begins with its past."""

    findings: tuple[Finding, ...]
    estimates: tuple[Estimate, ...] = ()


class Before(Protocol):
    """Intervals right before a stretch (vee/past.py); `unfit[i]` is 1 where one is no reference."""

    @property
    def values(self) -> array[int]: ...
    @property
    def quality(self) -> array[int]: ...
    @property
    def present(self) -> bytes: ...
    @property
    def unfit(self) -> bytes: ...


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


def repaired(near: Stretch, known: Known, judgement: Judgement, past: Before, day: range) -> Repaired:
    """`repair` of a judged stretch with its past, as far as it is about the intervals `day` of it."""
    n = len(past.unfit)
    start_ms = near.start_ms - n * near.period_s * 1000
    stretch = with_outages(Stretch(start_ms, near.period_s, near.unit, past.values + near.values, past.quality + near.quality,
                                   past.present + near.present), known.events)  # fmt: skip
    whole = _after(n, past.unfit, judgement)
    only = None if _straddle(judgement, day) else range(day.start + n, day.stop + n)
    fitted = _fitted(stretch, whole, tuple(Estimator(stretch, whole.failed, known.local, known.rules).all(only)))
    return Repaired((*judgement.findings, *_too_high(stretch, fitted, known)), tuple(fitted))


def needs_past(stretch: Stretch, known: Known, judgement: Judgement, day: range) -> bool:
    """Whether estimates of the day could be others with the days before the stretch: not where all its gaps lie within, are short enough
    for a straight line, and have power on one side at least."""
    stretch, failed, rules = with_outages(stretch, known.events), judgement.failed, known.rules
    gaps = _gaps(failed) if _straddle(judgement, day) else [g for g in _gaps(failed) if g.start < day.stop and g.stop > day.start]
    return any(not _is_line(stretch, failed, gap, rules) for gap in gaps)


def _straddle(judgement: Judgement, day: range) -> bool:
    """A register was read beside the midnights: what it says of the day it also says of others."""
    return any(w.first < day.stop and w.after > day.start and not (day.start <= w.first and w.after <= day.stop) for w in judgement.windows)


def _gaps(failed: bytes) -> list[range]:
    return [range(found.start(), found.end()) for found in _FAILED.finditer(failed)]


_FAILED = re.compile(b"\1+")


def _is_line(stretch: Stretch, failed: bytes, gap: range, rules: RuleSet) -> bool:
    short = gap.start > 0 and len(gap) * stretch.period_s <= rules.linear_s
    dark = any(flags & POWER_FAIL for flags in stretch.quality[gap.start : gap.stop])
    ends = [i for i in (gap.start - 1, gap.stop) if i < len(stretch) and not failed[i] and not stretch.quality[i] & UNUSABLE]
    return short and not dark and bool(ends)


def estimated_slot(measured: Slots, at_ms: int, value: int) -> Slot:
    """What stands where a value of ours takes the place of what was measured."""
    quality = measured[at_ms].quality if at_ms in measured else 0
    return Slot(value, (quality & ~WAS_WRONG) | int(Quality.ESTIMATED))


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
