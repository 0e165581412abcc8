"""What a bill counts between two of its stops: validated intervals, or the movement of the register.

* Intervals are counted where all of a stretch are there, and either every day of it passed VEE or was decided by a person, or the tariff
  has prices by the time of use. They are read as they stand: with estimates and with what persons set (mdm.md B.4).
* A tariff with demand, kVAh or export can not be billed without them: what is missing is said (`Lacking`).
* Without intervals the meter's rate registers count, where the tariff names them and they can say all it asks (`rate_registers.py`).
* Anything else is billed by the register, in proportion to time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from sqlalchemy import Connection, select

from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.postpaid import Stop
from gridtally_cloud.billing.rate_registers import RateRegisters
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of
from gridtally_cloud.store.intervals import IntervalSeries
from gridtally_cloud.store.tables import vee_run
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.terms import Measure, Plan
from gridtally_shared.tariff.use import Series, demands_of, measures_of

VALID = ("validated", "estimated", "edited")
DECIDED, ESTIMATED = int(Quality.EDITED | Quality.VERIFIED), int(Quality.ESTIMATED)
IMPORT, EXPORT, APPARENT = (BY_NAME[n] for n in ("interval_import_wh", "interval_export_wh", "interval_apparent_vah"))
ASKED = (
    (IMPORT, set(Measure)), (EXPORT, {Measure.EXPORT, Measure.NET_IMPORT, Measure.NET_EXPORT}), (APPARENT, {Measure.APPARENT}),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lacking:
    """Intervals of a quantity that a tariff can not do without and that are not there."""

    quantity: str
    missing: int


@dataclass(frozen=True, slots=True)
class Columns:
    """The intervals of a stretch, of each quantity the tariff counts."""

    imported: IntervalSeries
    exported: IntervalSeries | None
    apparent: IntervalSeries | None


def needs_intervals(plan: Plan) -> bool:
    """Whether the register alone can not say what this tariff asks."""
    return bool(demands_of(plan)) or measures_of(plan) != (Measure.IMPORT,)


def use_between(
    held: Held, usage_point_no: int, plan: Plan, stops: Sequence[Stop], registers: RateRegisters | None = None
) -> tuple[tuple[tuple[Series, ...], ...], Lacking | None]:
    """For each stretch its intervals, or nothing where the register counts; and what stands against the newest one."""
    found = [_stretch(held, usage_point_no, plan, a.at_ms, b.at_ms, registers) for a, b in pairwise(stops)]
    return tuple(series for series, _ in found), found[-1][1] if found else None


def _stretch(
    held: Held, usage_point_no: int, plan: Plan, from_ms: int, to_ms: int, registers: RateRegisters | None
) -> tuple[tuple[Series, ...], Lacking | None]:
    kinds = measures_of(plan)
    wanted = tuple(quantity for quantity, asked in ASKED if asked & set(kinds))
    columns: dict[str, IntervalSeries] = {}
    for quantity in wanted:
        number = held.channel(usage_point_no, quantity)
        series = held.series(number, from_ms, to_ms) if number is not None else None
        if series is None or not _is_whole(series, from_ms, to_ms):
            rates = registers.between(plan, from_ms, to_ms) if registers else ()
            lacking = Lacking(quantity.name, len(series) - sum(series.present) if series is not None else 0)
            return rates, lacking if needs_intervals(plan) and not rates else None
        if number is not None and not (needs_intervals(plan) or _by_time(plan) or _is_valid(held.conn, number, series, plan.zone.key)):
            return (), None
        columns[quantity.name] = series
    return tuple(_runs(Columns(columns[IMPORT.name], columns.get(EXPORT.name), columns.get(APPARENT.name)))), None


def _by_time(plan: Plan) -> bool:
    return any(len(version.periods) > 1 for version in plan.versions)


def _is_whole(series: IntervalSeries, from_ms: int, to_ms: int) -> bool:
    """Every interval is there, and they begin and end with the stretch."""
    end_ms = series.start_ms + len(series) * series.period_s * 1000
    return len(series) > 0 and series.start_ms == from_ms and end_ms == to_ms and all(series.present)


def _is_valid(conn: Connection, channel_no: int, series: IntervalSeries, zone: str) -> bool:
    """Each day passed VEE, or stands as a person left it."""
    step, r = series.period_s * 1000, vee_run.c
    days = {day_of(series.start_ms + i * step, zone) for i in range(len(series))}
    decided = {day_of(series.start_ms + i * step, zone) for i, word in enumerate(series.quality) if word & DECIDED}
    mine = (r.shard == SHARD, r.channel_no == channel_no, r.day.between(min(days), max(days)), r.status.in_(VALID))
    return days <= decided | set(conn.execute(select(r.day).where(*mine)).scalars())


def _stretches_of(words: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
    """[first, until) of equal certainty, and whether it is estimated."""
    first = 0
    for estimated, group in groupby(words, ESTIMATED.__and__):
        until = first + sum(1 for _ in group)
        yield first, until, estimated > 0
        first = until


def _runs(columns: Columns) -> Iterator[Series]:
    """The intervals as series of one quality: estimated or not."""
    main, step = columns.imported, columns.imported.period_s * 1000
    for first, until, estimated in _stretches_of(main.quality):
        yield Series(
            main.start_ms + first * step, step, main.values[first:until],
            columns.exported.values[first:until] if columns.exported else (),
            columns.apparent.values[first:until] if columns.apparent else (), ESTIMATED if estimated else 0,
        )  # fmt: skip
