"""Consumption to now: validated data up to its last posting, then up to 48 hours as the meter sent it, each labelled. Pure.

* A posting is a judged day whose values may be billed. What stands up to the end of the last posting is VEE data; a day before that which
  waits for a person is named as doubtful.
* Raw data follow on request only: from the last posting on, 48 hours at most. `to_ms` is how far both reach without a hole; consumption
  and bill end there. What lies between that and now is not covered.
* Missing is missing: it is counted and never zero.

Source: seed 003 (Smart Meter Texas), 1.3 and step 3; SMT-N2, SMT-N3, SMT-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from gridtally_cloud.store.intervals import IntervalSeries
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

LONGEST_RAW_MS = 48 * MS_PER_HOUR


class Label(StrEnum):
    VEE = "vee"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class Posting:
    """A judged day [from_ms, to_ms). `stands`: its values may be billed; `posted_ms`: when it was judged."""

    from_ms: int
    to_ms: int
    stands: bool
    posted_ms: int


@dataclass(frozen=True, slots=True)
class Part:
    """[from_ms, to_ms) under one label, in intervals."""

    label: Label
    from_ms: int
    to_ms: int
    wh: int
    measured: int
    estimated: int
    missing: int


@dataclass(frozen=True, slots=True)
class Row:
    """One interval; `wh` None where it is missing."""

    start_ms: int
    period_s: int
    wh: int | None
    label: Label
    estimated: bool
    quality: int


@dataclass(frozen=True, slots=True)
class Consumption:
    """`rows` are the raw intervals; `doubtful` the first moments of posted days that wait for a person."""

    from_ms: int
    to_ms: int
    now_ms: int
    posted_to_ms: int
    posted_ms: int
    parts: tuple[Part, ...]
    rows: tuple[Row, ...]
    doubtful: tuple[int, ...]

    @property
    def wh(self) -> int:
        return sum(part.wh for part in self.parts if part.to_ms <= self.to_ms)

    @property
    def missing(self) -> int:
        return sum(part.missing for part in self.parts if part.to_ms <= self.to_ms)


def last_posting(postings: Sequence[Posting]) -> Posting | None:
    """The newest day whose values may be billed."""
    return max((p for p in postings if p.stands), key=lambda p: p.to_ms, default=None)


def raw_range(posted_to_ms: int, now_ms: int, step_ms: int) -> tuple[int, int]:
    """The range of raw data where none is named: from the last posting to now, in whole intervals, 48 hours at most."""
    return posted_to_ms, max(posted_to_ms, min(now_ms // step_ms * step_ms, posted_to_ms + LONGEST_RAW_MS))


def consumption(series: IntervalSeries, postings: Sequence[Posting], now_ms: int, raw: tuple[int, int] | None) -> Consumption:
    """`series` begins with the billing period and ends with the last interval that is over."""
    last, from_ms = last_posting(postings), series.start_ms
    end_ms = from_ms + len(series) * series.period_s * 1000
    posted_to_ms = min(max(last.to_ms, from_ms), end_ms) if last else from_ms
    parts = [_part(Label.VEE, series, from_ms, posted_to_ms)] if posted_to_ms > from_ms else []
    rows: tuple[Row, ...] = ()
    if raw is not None and raw[1] > raw[0]:
        parts.append(_part(Label.RAW, series, *raw))
        rows = tuple(_row(series, i) for i in _places(series, *raw))
    doubtful = tuple(p.from_ms for p in postings if not p.stands and from_ms <= p.from_ms < posted_to_ms)
    to_ms = posted_to_ms
    if parts and parts[-1].from_ms <= posted_to_ms:
        to_ms = parts[-1].to_ms
    return Consumption(from_ms, to_ms, now_ms, posted_to_ms, last.posted_ms if last else 0, tuple(parts), rows, doubtful)


def _places(series: IntervalSeries, from_ms: int, to_ms: int) -> range:
    step = series.period_s * 1000
    return range(max(0, -(-(from_ms - series.start_ms) // step)), min(len(series), -(-(to_ms - series.start_ms) // step)))


def _part(label: Label, series: IntervalSeries, from_ms: int, to_ms: int) -> Part:
    places = _places(series, from_ms, to_ms)
    there = [i for i in places if series.present[i]]
    estimated = sum(bool(series.quality[i] & Quality.ESTIMATED) for i in there)
    expected = (to_ms - from_ms) // (series.period_s * 1000)
    return Part(label, from_ms, to_ms, sum(series.values[i] for i in there), len(there) - estimated, estimated, expected - len(there))


def _row(series: IntervalSeries, i: int) -> Row:
    word = series.quality[i]
    start_ms = series.start_ms + i * series.period_s * 1000
    return Row(start_ms, series.period_s, series.values[i] if series.present[i] else None, Label.RAW, bool(word & Quality.ESTIMATED), word)
