"""What the store holds beside a channel: events of its meters, the other channels of the usage point, its registers, its months."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, and_, bindparam, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import EPOCH, date_of, month_no
from gridtally_cloud.store.intervals import days_slots, series
from gridtally_cloud.store.tables import channel, event, meter, reading, usage_day
from gridtally_cloud.store.totals import MonthSum, month_sum
from gridtally_cloud.vee.across import Beside, Month
from gridtally_cloud.vee.classes import point_of
from gridtally_cloud.vee.model import Stretch
from gridtally_cloud.vee.said import TOLD, Event
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME

EVENTS_BEFORE_MS = 2 * MS_PER_DAY
"""An outage or an open switch that began earlier is known by the marks of the intervals alone."""
VARH_BEFORE_DAYS = 28
DEMAND_LATE_MS = 2 * MS_PER_HOUR
NO_CHECK = Quality.POWER_FAIL | Quality.PARTIAL | Quality.METER_INVALID | Quality.ESTIMATED

TOTAL = BY_NAME["energy_import_wh"].code
RATES = frozenset(BY_NAME[f"energy_import_rate{n}_wh"].code for n in range(1, 9))
DEMAND = BY_NAME["demand_max_w"].code
VAH = BY_NAME["interval_apparent_vah"].code
VARH = frozenset(BY_NAME[f"interval_reactive_q{n}_varh"].code for n in range(1, 5))


def events_of(conn: Connection, meters: Iterable[int], from_ms: int, to_ms: int) -> tuple[Event, ...]:
    """Events that a rule looks at, in order of time; of one moment in that of their meters and of arrival."""
    e = event.c
    where = and_(e.shard == SHARD, e.meter_no.in_(list(meters)), e.at_ms.between(from_ms - EVENTS_BEFORE_MS, to_ms))
    rows = conn.execute(select(e.code, e.at_ms, e.detail).where(where).order_by(e.at_ms, e.meter_no, e.event_no))
    return tuple(Event(row.code, row.at_ms, row.detail) for row in rows if row.code in TOLD)


def beside(conn: Connection, day: Stretch, day_no: int, channel_no: int, usage_point_no: int, zone: str) -> Beside:
    """All that the rules across channels ask for; what is not whole is left out."""
    reads = _reads(conn, usage_point_no, day)
    total_moved, rates_moved = rates_of(reads)
    others = _channels(conn, usage_point_no, day.period_s)
    varh = [no for no, quantity in others.items() if quantity in VARH]
    vah = [no for no, quantity in others.items() if quantity == VAH]
    columns = [_whole(conn, no, day_no, day) for no in varh]
    month, reference = _months(conn, channel_no, day_no)
    check_no = _check_channel(conn, usage_point_no, channel_no)
    check = _whole(conn, check_no, day_no, day) if check_no is not None else None
    return Beside(
        varh=[sum(v) for v in zip(*columns, strict=True)] if columns and all(columns) else None,
        vah=_whole(conn, vah[0], day_no, day) if vah else None,
        had_varh=bool(varh) and had_any(conn, varh, day_no), total_moved=total_moved, rates_moved=rates_moved,
        step=_step(conn, usage_point_no), month=month, reference=reference, demand_w=demand_of(reads, day),
        check_wh=None if check is None else sum(check),
    )  # fmt: skip


def _channels(conn: Connection, usage_point_no: int, period_s: int) -> dict[int, int]:
    c = channel.c
    rows = conn.execute(select(c.channel_no, c.quantity).where(c.usage_point_no == usage_point_no, c.period_s == period_s)
                        .order_by(c.channel_no))  # fmt: skip
    return {row.channel_no: row.quantity for row in rows}


def _whole(conn: Connection, channel_no: int, day_no: int, day: Stretch) -> list[int] | None:
    held = series(days_slots(conn, channel_no, [day_no]), day.start_ms, day.period_s, len(day))
    return list(held.values) if all(held.present) else None


def had_any(conn: Connection, channels: Sequence[int], day_no: int) -> bool:
    """Whether one of the channels had any use in the weeks before a day."""
    days = list(range(day_no - VARH_BEFORE_DAYS, day_no))
    return conn.execute(_HAD_ANY, {"days": days, "channels": list(channels)}).first() is not None


def check_values(conn: Connection, usage_point_no: int, channel_no: int, day_no: int) -> dict[int, int]:
    """What the check meter measured around a day, by the start of the interval, where one is named for the usage point."""
    no = _check_channel(conn, usage_point_no, channel_no)
    held = days_slots(conn, no, [day_no - 1, day_no, day_no + 1]) if no is not None else {}
    return {at: slot.value for at, slot in held.items() if slot.value is not None and not slot.quality & NO_CHECK}


def _check_channel(conn: Connection, usage_point_no: int, channel_no: int) -> int | None:
    """The channel of the same quantity and period at the usage point of the check meter."""
    check = point_of(conn, usage_point_no).check_point_no
    if check is None:
        return None
    mine, theirs = channel.alias(), channel.c
    same = and_(mine.c.channel_no == channel_no, theirs.usage_point_no == check, theirs.quantity == mine.c.quantity,
                theirs.period_s == mine.c.period_s)  # fmt: skip
    return conn.execute(select(theirs.channel_no).select_from(mine, channel).where(same)).scalar_one_or_none()


def _step(conn: Connection, usage_point_no: int) -> int:
    query = select(func.max(meter.c.register_step_wh)).where(meter.c.usage_point_no == usage_point_no)
    return conn.execute(query).scalar_one_or_none() or 1


def _reads(conn: Connection, usage_point_no: int, day: Stretch) -> dict[int, dict[int, int]]:
    """By time, by quantity; of the one meter of the usage point."""
    meters = conn.execute(select(meter.c.meter_no).where(meter.c.usage_point_no == usage_point_no)).scalars().all()
    r = reading.c
    where = and_(r.shard == SHARD, r.meter_no == (meters[0] if len(meters) == 1 else None), r.quantity.in_({TOTAL, DEMAND, *RATES}),
                 r.at_ms.between(day.start_ms, day.start_of(len(day))), r.quality == 0)  # fmt: skip
    found: dict[int, dict[int, int]] = {}
    for row in conn.execute(select(r.at_ms, r.quantity, r.value).where(where)):
        found.setdefault(row.at_ms, {})[row.quantity] = row.value
    return found


def demand_of(reads: dict[int, dict[int, int]], day: Stretch) -> int | None:
    """The highest maximum demand the meter showed late in the day."""
    return max((v[DEMAND] for at, v in reads.items() if DEMAND in v and at >= day.start_of(len(day)) - DEMAND_LATE_MS), default=None)


def rates_of(reads: dict[int, dict[int, int]]) -> tuple[int | None, tuple[int, ...]]:
    """(movement of the total, movements of the rates) between the first and the last moment that has them all."""
    known = sorted(at for at, values in reads.items() if TOTAL in values and RATES & values.keys())
    if len(known) < 2:
        return None, ()
    first, last = reads[known[0]], reads[known[-1]]
    rates = sorted(RATES & first.keys())
    moved = [last.get(quantity, -1) - first[quantity] for quantity in (TOTAL, *rates)]
    if min(moved) < 0 or RATES & last.keys() != set(rates):
        return None, ()
    return moved[0], tuple(moved[1:])


def _months(conn: Connection, channel_no: int, day_no: int) -> tuple[Month | None, Month | None]:
    """(the month that ends with this day, what it is compared with); nothing on other days."""
    if date_of(day_no + 1).month == date_of(day_no).month:
        return None, None
    now, year_ago, before = (month_of(month_sum(conn, channel_no, month)) for month in months_to_compare(day_no))
    return now, year_ago if year_ago.days else before


def months_to_compare(day_no: int) -> tuple[int, int, int]:
    """Numbers of the month of a day, of the same month a year ago, and of the month before."""
    first = date_of(day_no).replace(day=1)
    then, before = first.replace(year=first.year - 1), date_of((first - EPOCH).days - 1)
    now, year_ago, last = (month_no((each - EPOCH).days) for each in (first, then, before))
    return now, year_ago, last


def month_of(found: MonthSum) -> Month:
    return Month(found.total, found.days, found.expected - found.present, found.expected)


_u = usage_day.c
_HAD_ANY = (select(_u.day).where(_u.shard == SHARD, _u.day.in_(bindparam("days", expanding=True)),
                                 _u.channel_no.in_(bindparam("channels", expanding=True)), _u.total > 0).limit(1))  # fmt: skip
