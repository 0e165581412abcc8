"""The load of a transformer or feeder out of interval series: peak, load factor, overloads, energy balance, and how good the data are.

* Pure. Series of different lengths are added up in steps all of them divide. Missing is never zero: a step in which a value lacks is left
  out of peak, mean and balance, and counted.
* The load is what is taken less what is given back, in watts. Apparent power is never below it, so what is listed as an overload is one;
  what is an overload by reactive power only is not seen.
* The balance compares the transformer's own meter with the sum behind it, over the steps in which both are whole.

Source: ETSI TR 102 691, 5.2.10 (basic flow 4 and 5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gridtally_cloud.store.intervals import IntervalSeries
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

DOUBTFUL = Quality.COMM_ERROR | Quality.CLOCK_UNCERTAIN | Quality.METER_INVALID | Quality.UNTRUSTWORTHY
MS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Part:
    """A series and its sign: 1 adds to the load, -1 is given back."""

    series: IntervalSeries
    sign: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Intervals by what is known of them. `doubtful` are received ones with a flag against them."""

    expected: int
    received: int
    estimated: int
    missing: int
    doubtful: int

    @property
    def completeness_permille(self) -> int:
        return self.received * 1000 // self.expected if self.expected else 0


@dataclass(frozen=True, slots=True)
class Overload:
    """A time of consecutive steps above the rating, and the most in it."""

    from_ms: int
    to_ms: int
    peak_w: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Over `steps` whole steps: what the transformer gave, what arrived, and the difference."""

    steps: int
    supplied_wh: int
    delivered_wh: int

    @property
    def loss_wh(self) -> int:
        return self.supplied_wh - self.delivered_wh

    @property
    def loss_permille(self) -> int | None:
        return round(self.loss_wh * 1000 / self.supplied_wh) if self.supplied_wh else None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """`steps` whole ones of `all_steps`; peak and mean are None where none is whole."""

    from_ms: int
    to_ms: int
    step_s: int
    all_steps: int
    steps: int
    energy_wh: int
    peak_w: int | None
    peak_at_ms: int | None
    rating_va: int | None
    overloads: tuple[Overload, ...]
    balance: Balance | None
    figures: Figures

    @property
    def mean_w(self) -> int | None:
        return self.energy_wh * 3600 // (self.steps * self.step_s) if self.steps else None

    @property
    def load_factor_permille(self) -> int | None:
        """Mean over peak."""
        return self.mean_w * 1000 // self.peak_w if self.mean_w is not None and self.peak_w and self.peak_w > 0 else None

    @property
    def used_permille(self) -> int | None:
        """Peak over rating."""
        return self.peak_w * 1000 // self.rating_va if self.peak_w is not None and self.rating_va else None


def report(parts: Sequence[Part], own: IntervalSeries | None, rating_va: int | None, from_ms: int, to_ms: int) -> LoadReport:
    """`from_ms` and `to_ms` on whole steps (`step_of`); `own` is the transformer's meter."""
    step_s = step_of([part.series for part in parts] + ([own] if own else []))
    load = _sum(parts, step_s, from_ms, to_ms) if parts else []
    whole = [(i, wh) for i, wh in enumerate(load) if wh is not None]
    powers = [(i, wh * 3600 // step_s) for i, wh in whole]
    peak_at, peak_w = max(powers, key=lambda row: row[1], default=(None, None))
    step_ms = step_s * 1000
    return LoadReport(
        from_ms, to_ms, step_s, len(load), len(whole), sum(wh for _, wh in whole), peak_w,
        None if peak_at is None else from_ms + peak_at * step_ms, rating_va,
        tuple(_overloads(powers, rating_va, from_ms, step_ms)) if rating_va else (),
        _balance(load, _sum([Part(own)], step_s, from_ms, to_ms)) if own and parts else None, figures([part.series for part in parts]),
    )  # fmt: skip


def step_of(series: Sequence[IntervalSeries]) -> int:
    """Seconds of the shortest step all of them divide."""
    return math.lcm(*(each.period_s for each in series)) if series else 900


def figures(series: Sequence[IntervalSeries]) -> Figures:
    expected = received = estimated = doubtful = 0
    for each in series:
        expected += len(each)
        for there, word in zip(each.present, each.quality, strict=True):
            by_hand = bool(word & (Quality.ESTIMATED | Quality.EDITED))
            received += bool(there) and not by_hand
            estimated += bool(there) and by_hand
            doubtful += bool(there) and not by_hand and bool(word & DOUBTFUL)
    return Figures(expected, received, estimated, expected - received - estimated, doubtful)


def _sum(parts: Sequence[Part], step_s: int, from_ms: int, to_ms: int) -> list[int | None]:
    """Wh of each step, None where a value lacks. Outside its series a part has nothing to add."""
    total = [0] * ((to_ms - from_ms) // (step_s * 1000))
    lacks = bytearray(len(total))
    for part in parts:
        series, each = part.series, part.series.period_s * 1000
        for n, there in enumerate(series.present):
            at = (series.start_ms + n * each - from_ms) // (step_s * 1000)
            if 0 <= at < len(total):
                total[at] += part.sign * series.values[n] if there else 0
                lacks[at] |= not there
    return [None if lack else wh for wh, lack in zip(total, lacks, strict=True)]


def _overloads(powers: Sequence[tuple[int, int]], rating_va: int, from_ms: int, step_ms: int) -> list[Overload]:
    """In either direction."""
    found: list[Overload] = []
    for i, power in powers:
        start, above = from_ms + i * step_ms, abs(power)
        if above <= rating_va:
            continue
        if found and found[-1].to_ms == start:
            found[-1] = Overload(found[-1].from_ms, start + step_ms, max(found[-1].peak_w, above))
        else:
            found.append(Overload(start, start + step_ms, above))
    return found


def _balance(load: Sequence[int | None], own: Sequence[int | None]) -> Balance:
    both = [(given, taken) for given, taken in zip(own, load, strict=True) if given is not None and taken is not None]
    return Balance(len(both), sum(given for given, _ in both), sum(taken for _, taken in both))
