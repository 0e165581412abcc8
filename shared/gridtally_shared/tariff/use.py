"""Energy counted by cycle, version and time-of-use period, and the highest demand: all a tariff looks at. Pure.

* Counts are sums of whole Wh, so neither the order of parts nor where they are cut matters.
* An interval that lies across a change of period, version or cycle is parted in proportion to time by largest remainder, the
  earlier part first on a tie; the sum is kept and the energy so parted is counted as `split_wh` (prepayment.md 5.7).
* Demand is the energy of a window: block windows are counted from local midnight, a sliding window ends with each interval.
  A window counts for the period in which its last interval begins and holds nothing from before the cycle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import lru_cache

from gridtally_shared.errors import ConfigError
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.cycles import cycle_of
from gridtally_shared.tariff.daybook import Piece, day_of, pieces_of, starts_at
from gridtally_shared.tariff.terms import Account, Demand, Energy, Measure, Net, Plan, PowerFactor

UNUSABLE = Quality.MISSING | Quality.COMM_ERROR | Quality.METER_INVALID
Cell = tuple[int, int, str, str]
PeakCell = tuple[int, int, str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """Intervals of one length and quality without gaps, from `start_ms` on; a register's movement is a series of one.

    Energy in whole Wh (VAh), none negative. Unusable quality: the time is known, the energy is not, nothing is counted.
    """

    start_ms: int
    period_ms: int
    import_wh: Sequence[int]
    export_wh: Sequence[int] = ()
    apparent_vah: Sequence[int] = ()
    quality: int = 0

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.period_ms * len(self.import_wh)


@dataclass(frozen=True, slots=True)
class Slot:
    """Intervals [first, until) of a series that lie wholly in one cycle, version and period."""

    cycle: int
    version: int
    period: str
    first: int
    until: int


@dataclass(frozen=True, slots=True)
class Parted:
    """An interval across a change, with the milliseconds on each side."""

    index: int
    shares: tuple[tuple[tuple[int, int, str], int], ...]


@dataclass(slots=True)
class Counted:
    """What has been counted; the engine makes it from a state and turns it back into one."""

    cells: dict[Cell, int] = field(default_factory=dict)
    peaks: dict[PeakCell, int] = field(default_factory=dict)
    tail: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    estimated_wh: int = 0
    split_wh: int = 0
    missing: int = 0


@lru_cache(maxsize=1024)
def layout(
    plan: Plan, cuts: tuple[int, ...], ends_day: int | None, start_ms: int, period_ms: int, n: int
) -> tuple[tuple[Slot, ...], tuple[Parted, ...]]:
    """Where the intervals of a series belong. Of the account only the bills' days matter."""
    account = Account(cuts=cuts, ends_day=ends_day)
    slots: list[Slot] = []
    shares: dict[int, list[tuple[tuple[int, int, str], int]]] = {}
    for piece in _pieces(plan, start_ms, start_ms + n * period_ms):
        key = (cycle_of(plan, account, piece.day).first, piece.version, piece.period)
        first, late = divmod(piece.start_ms - start_ms, period_ms)
        until, over = divmod(piece.end_ms - start_ms, period_ms)
        if late:
            shares.setdefault(first, []).append((key, min(period_ms - late, piece.end_ms - piece.start_ms)))
            first += 1
        if over and until >= first:
            shares.setdefault(until, []).append((key, over))
        if until > first:
            slots.append(Slot(*key, first, until))
    return tuple(slots), tuple(Parted(i, _merged(parts)) for i, parts in sorted(shares.items()))


def _merged(parts: list[tuple[tuple[int, int, str], int]]) -> tuple[tuple[tuple[int, int, str], int], ...]:
    """Stretches of the same cycle, version and period together, in the order of their first."""
    total: dict[tuple[int, int, str], int] = {}
    for key, length_ms in parts:
        total[key] = total.get(key, 0) + length_ms
    return tuple(total.items())


def _pieces(plan: Plan, start_ms: int, end_ms: int) -> Iterator[Piece]:
    """The daybook between two instants, cut at both."""
    for day in range(day_of(start_ms, plan.zone), day_of(end_ms - 1, plan.zone) + 1):
        for p in pieces_of(plan, day):
            first_ms, until_ms = max(p.start_ms, start_ms), min(p.end_ms, end_ms)
            if first_ms < until_ms:
                yield Piece(first_ms, until_ms, day, p.version, p.period)


@lru_cache(maxsize=256)
def measures_of(plan: Plan) -> tuple[Measure, ...]:
    """What the plan counts; imported energy always."""
    items = [i for v in plan.versions for i in v.items]
    asked = {i.measure for i in items if isinstance(i, Energy | Demand)} | {Measure.IMPORT}
    asked |= {m for i in items for kind, m in ((Net, Measure.EXPORT), (PowerFactor, Measure.APPARENT)) if isinstance(i, kind)}
    return tuple(m for m in Measure if m in asked)


@lru_cache(maxsize=256)
def demands_of(plan: Plan) -> tuple[tuple[int, Demand], ...]:
    return tuple((n, i) for n, v in enumerate(plan.versions) for i in v.items if isinstance(i, Demand))


def measured(series: Series, measure: Measure) -> Sequence[int]:
    """The counts of one measure. Raises ConfigError where the intervals do not bring it."""
    if measure is Measure.IMPORT:
        return series.import_wh
    if measure is Measure.APPARENT:
        if len(series.apparent_vah) != len(series.import_wh):
            raise ConfigError("intervals", "no kVAh", "this tariff bills apparent energy: give a column kvah")
        return series.apparent_vah
    exported = series.export_wh or [0] * len(series.import_wh)
    if measure is Measure.EXPORT:
        return exported
    sign = 1 if measure is Measure.NET_IMPORT else -1
    return [max(0, sign * (i - e)) for i, e in zip(series.import_wh, exported, strict=True)]


def count(plan: Plan, account: Account, counted: Counted, series: Series) -> None:
    """Add a series to what was counted."""
    n = len(series.import_wh)
    if series.quality & UNUSABLE or not n:
        counted.missing += n
        return
    slots, parted = layout(plan, account.cuts, account.ends_day, series.start_ms, series.period_ms, n)
    for measure in measures_of(plan):
        values = measured(series, measure)
        for slot in slots:
            _add(counted.cells, (slot.cycle, slot.version, slot.period, measure.value), sum(values[slot.first : slot.until]))
        for part in parted:
            _add_parts(counted.cells, part, measure, values[part.index])
    counted.split_wh += sum(series.import_wh[p.index] for p in parted if len(p.shares) > 1)
    counted.estimated_wh += sum(series.import_wh) if series.quality & Quality.ESTIMATED else 0
    if demands_of(plan):
        _peaks(plan, counted, series, slots, parted)


def _add(cells: dict[Cell, int], cell: Cell, amount: int) -> None:
    if amount:
        cells[cell] = cells.get(cell, 0) + amount


def _add_parts(cells: dict[Cell, int], part: Parted, measure: Measure, amount: int) -> None:
    for (key, _), share in zip(part.shares, largest_remainder(amount, [ms for _, ms in part.shares]), strict=True):
        _add(cells, (*key, measure.value), share)


def largest_remainder(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` in whole parts in proportion to the weights; the parts add up to it."""
    total = sum(weights)
    parts = [amount * w // total for w in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for i in order[: amount - sum(parts)]:
        parts[i] += 1
    return parts


def _peaks(plan: Plan, counted: Counted, series: Series, slots: tuple[Slot, ...], parted: tuple[Parted, ...]) -> None:
    keys = {i: (s.cycle, s.version, s.period) for s in slots for i in range(s.first, s.until)}
    keys |= {p.index: p.shares[0][0] for p in parted}
    demands = demands_of(plan)
    kinds = tuple(dict.fromkeys(item.measure for _, item in demands))
    rows = [measured(series, kind) for kind in kinds]
    keep_ms = max(item.window_min for _, item in demands) * 60_000
    for i in range(len(series.import_wh)):
        start_ms = series.start_ms + i * series.period_ms
        end_ms = start_ms + series.period_ms
        counted.tail = [t for t in counted.tail if t[0] > start_ms - keep_ms] + [(start_ms, end_ms, tuple(row[i] for row in rows))]
        cycle, version, period = keys[i]
        for item in (item for number, item in demands if number == version):
            since_ms = max(_window_start(plan, item, start_ms, end_ms), starts_at(cycle, plan.zone))
            wh = sum(t[2][kinds.index(item.measure)] for t in counted.tail if t[0] >= since_ms)
            cell = (cycle, version, item.code, period)
            counted.peaks[cell] = max(counted.peaks.get(cell, 0), wh)


def _window_start(plan: Plan, item: Demand, start_ms: int, end_ms: int) -> int:
    window_ms = item.window_min * 60_000
    if end_ms - start_ms > window_ms:
        raise ConfigError("intervals", f"{(end_ms - start_ms) // 60_000} minutes", f"the demand of item {item.code} is measured over "
                          f"{item.window_min} minutes: give intervals of that length or shorter")  # fmt: skip
    if item.sliding:
        return end_ms - window_ms
    midnight_ms = starts_at(day_of(start_ms, plan.zone), plan.zone)
    return midnight_ms + (start_ms - midnight_ms) // window_ms * window_ms
