"""Completeness of a channel-day: what was to come, what came, what was estimated, what is missing, what came late. Pure.

* Expected: the intervals of the local day that began after the meter was installed and are over (mdm.md B.2 row 7: 92, 96 or 100).
* Every expected interval is exactly one of received, estimated, missing. Estimated: the value that stands is not the meter's, or the
  concentrator marked it as estimated.
* A gap is a run of intervals that were never measured, estimated since or not: real data beats every estimate (mdm.md B.3 row 1). A value
  that was measured and not believed is no gap: to ask for it again would bring the same.
* Late: measured now, and not in the first version of the day.

Source: mdm.md B.2-B.4; BYPL-6; issue 5, line 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from gridtally_cloud.store.days import DaySlots
from gridtally_cloud.store.inbox import REPLACEABLE
from gridtally_cloud.store.intervals import Slot, Slots
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

NOTHING = Slot(None, int(Quality.MISSING))


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing was measured in [from_ms, to_ms), `n` intervals; `estimated` of them have a value of ours."""

    from_ms: int
    to_ms: int
    n: int
    estimated: int


@dataclass(frozen=True, slots=True)
class Held:
    """What the store holds of a channel-day. `first` is None while the day is open; `late_ms`: when the last late value came."""

    first: Slots | None = None
    measured: Slots = field(default_factory=dict)
    stands: Slots = field(default_factory=dict)
    late_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    expected: int
    received: int
    estimated: int
    missing: int
    late: int
    late_ms: int | None
    gaps: tuple[Gap, ...]


def expected_starts(grid: DaySlots, from_ms: int, now_ms: int) -> range:
    """Starts of the day's intervals that began at `from_ms` or later and are over."""
    step = grid.period_s * 1000
    first = max(grid.start_ms, -(-from_ms // step) * step)
    after = min(grid.end_ms, now_ms // step * step)
    return range(first, max(first, after), step)


def counted(starts: range, held: Held) -> Counted:
    """One channel-day."""
    measured = [held.measured.get(at, NOTHING) for at in starts]
    stands = [held.stands.get(at, NOTHING) for at in starts]
    missing = sum(s.value is None for s in stands)
    received = sum(_is_received(m, s) for m, s in zip(measured, stands, strict=True))
    lacking = [at for at, m in zip(starts, measured, strict=True) if is_lacking(m)]
    late = 0 if held.first is None else sum(
        m.value is not None and held.first.get(at, NOTHING).value is None for at, m in zip(starts, measured, strict=True))  # fmt: skip
    gaps = tuple(gaps_of(lacking, starts.step, held.stands))
    return Counted(len(starts), received, len(starts) - received - missing, missing, late, held.late_ms if late else None, gaps)


def _is_received(measured: Slot, stands: Slot) -> bool:
    return measured.value is not None and measured.value == stands.value and not stands.quality & Quality.ESTIMATED


def is_lacking(measured: Slot) -> bool:
    """Whether the meter may still have something better."""
    return measured.value is None or bool(measured.quality & REPLACEABLE)


def gaps_of(lacking: Iterable[int], step: int, stands: Slots) -> Iterable[Gap]:
    """Runs of intervals one after the other."""
    first = at = None
    filled = n = 0
    for start in lacking:
        if first is None or at is None or start != at + step:
            if first is not None and at is not None:
                yield Gap(first, at + step, n, filled)
            first, filled, n = start, 0, 0
        at, n = start, n + 1
        filled += stands.get(start, NOTHING).value is not None
    if first is not None and at is not None:
        yield Gap(first, at + step, n, filled)


def all_there(starts: range) -> Counted:
    """A day of which everything came in time."""
    return Counted(len(starts), len(starts), 0, 0, 0, None, ())


def ranges(gaps: Iterable[Gap]) -> tuple[tuple[int, int], ...]:
    """The gaps of several channels and days of one meter as what to ask it for: sorted, those that touch together."""
    found: list[tuple[int, int]] = []
    for from_ms, to_ms in sorted((g.from_ms, g.to_ms) for g in gaps):
        if found and from_ms <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], to_ms))
        else:
            found.append((from_ms, to_ms))
    return tuple(found)
