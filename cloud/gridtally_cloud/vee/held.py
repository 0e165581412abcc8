"""What the store holds of a channel around a day, as VEE wants it.

* A day is judged with its neighbours: a gap, a standstill or a register's window does not end at midnight. A neighbour of which
  nothing came is left out.
* The register is looked at around each midnight: the nearest read, brought to the grid (vee/registers.py). Where a usage point had two
  meters nothing is concluded from either.
* History is loaded only when something has to be estimated. What was estimated or corrected there is no reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import CONTRADICTING, blocks
from gridtally_cloud.store.days import midnight_ms, slots_of
from gridtally_cloud.store.intervals import (
    ChannelRef,
    IntervalSeries,
    Slots,
    channel_ref,
    days_slots,
    inbox_slots,
    series,
    slots_of_block,
)
from gridtally_cloud.store.tables import channel, meter, reading, usage_point
from gridtally_cloud.vee.beside import events_of
from gridtally_cloud.vee.classes import point_of, rules_for
from gridtally_cloud.vee.edits import Edit, edits_of, given
from gridtally_cloud.vee.judge import Known
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import RegisterSample, Stretch
from gridtally_cloud.vee.registers import Register, on_grid
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

REGISTER_OF = {
    BY_NAME["interval_import_wh"].code: BY_NAME["energy_import_wh"].code,
    BY_NAME["interval_export_wh"].code: BY_NAME["energy_export_wh"].code,
    BY_NAME["interval_apparent_vah"].code: BY_NAME["apparent_import_vah"].code,
}


@dataclass(frozen=True, slots=True)
class Around:
    """A day is the intervals [first, after) of `stretch`."""

    ref: ChannelRef
    usage_point_no: int
    stretch: Stretch
    first: int
    after: int
    known: Known
    edits: tuple[Edit, ...] = ()


def around(conn: Connection, day: int, channel_no: int, distrusted: frozenset[int] = frozenset()) -> Around:
    """A day and its neighbours, with what else the rules look at. What a person distrusts is to be estimated whatever is held of it."""
    ref, period_s = channel_ref(conn, channel_no)
    measured = days_slots(conn, channel_no, [day - 1, day, day + 1])
    edits = edits_of(conn, channel_no, slots_of(day - 1, ref.zone, period_s).start_ms, slots_of(day + 1, ref.zone, period_s).end_ms)
    slots, beyond = given(edits, measured)
    days = [d for d in (day - 1, day, day + 1) if d == day or _has_any(slots, d, ref.zone, period_s)]
    stretch = _stretch(slots, ref, period_s, days[0], days[-1])
    grid = slots_of(day, ref.zone, period_s)
    first = (grid.start_ms - stretch.start_ms) // (period_s * 1000)
    usage_point_no, known = _known(conn, ref, stretch, days, day, _contradictions(conn, channel_no, day, measured))
    return Around(ref, usage_point_no, stretch, first, first + grid.n, replace(known, verified=beyond, distrusted=distrusted), edits)


def with_history(conn: Connection, near: Around, day: int) -> tuple[Around, bytes]:
    """The same with the days before it, and which of their intervals are no reference."""
    earlier = list(range(day - 1 - near.known.rules.like_reach_days, day + 1))
    measured = days_slots(conn, near.ref.channel_no, earlier)
    stands = days_slots(conn, near.ref.channel_no, earlier, estimates=True)
    period_s = near.stretch.period_s
    past = range(min(measured, default=near.stretch.start_ms), near.stretch.start_ms, period_s * 1000)
    held = _columns(series(measured, past.start, period_s, len(past)), near.ref.unit)
    unfit = bytes(at not in measured or measured[at].value is None or measured[at] != stands[at] for at in past)
    whole = _joined(held, near.stretch)
    return Around(near.ref, near.usage_point_no, whole, near.first + len(past), near.after + len(past), near.known, near.edits), unfit


def _stretch(slots: Slots, ref: ChannelRef, period_s: int, first_day: int, last_day: int) -> Stretch:
    start_ms, end_ms = slots_of(first_day, ref.zone, period_s).start_ms, slots_of(last_day, ref.zone, period_s).end_ms
    return _columns(series(slots, start_ms, period_s, (end_ms - start_ms) // (period_s * 1000)), ref.unit)


def _columns(held: IntervalSeries, unit: str) -> Stretch:
    return Stretch(held.start_ms, held.period_s, unit, held.values, held.quality, held.present)


def _joined(before: Stretch, after: Stretch) -> Stretch:
    values, quality = before.values + after.values, before.quality + after.quality
    return Stretch(before.start_ms, after.period_s, after.unit, values, quality, before.present + after.present)


def _has_any(slots: Slots, day: int, zone: str, period_s: int) -> bool:
    grid = slots_of(day, zone, period_s)
    return any(grid.start_ms <= at < grid.end_ms and slot.value is not None for at, slot in slots.items())


def _known(
    conn: Connection, ref: ChannelRef, stretch: Stretch, days: list[int], day: int, others: tuple[tuple[int, int], ...]
) -> tuple[int, Known]:
    c, u = channel.c, usage_point.c
    join = channel.join(usage_point, u.usage_point_no == c.usage_point_no)
    query = select(c.usage_point_no, c.quantity, c.direction, u.limit_w).select_from(join)
    row = conn.execute(query.where(c.channel_no == ref.channel_no)).one()
    m = meter.c
    of_point = select(m.meter_no, m.register_step_wh, m.register_end_wh).where(m.usage_point_no == row.usage_point_no)
    meters = conn.execute(of_point).all()
    register = _register(conn, meters, row.quantity, stretch, [midnight_ms(d, ref.zone) for d in (*days, days[-1] + 1)])
    events = events_of(conn, [m.meter_no for m in meters], stretch.start_ms, stretch.start_of(len(stretch)))
    rules = rules_for(conn, point_of(conn, row.usage_point_no), day)
    return row.usage_point_no, Known(rules, row.limit_w, LocalTime(ref.zone), register, others, row.direction, events)


def _register(conn: Connection, meters: Sequence[Any], quantity: int, stretch: Stretch, midnights: list[int]) -> Register:
    """Reads of the one meter of the usage point; none where there were two."""
    if len(meters) != 1 or quantity not in REGISTER_OF:
        return Register()
    r = reading.c
    end_ms = stretch.start_of(len(stretch))
    where = and_(r.shard == SHARD, r.meter_no == meters[0].meter_no, r.quantity == REGISTER_OF[quantity],
                 r.at_ms >= stretch.start_ms, r.at_ms <= end_ms, r.quality == 0)  # fmt: skip
    reads = [RegisterSample(row.at_ms, row.value) for row in conn.execute(select(r.at_ms, r.value).where(where).order_by(r.at_ms))]
    return register_of(reads, meters[0], stretch, midnights)


def register_of(reads: list[RegisterSample], of: Any, stretch: Stretch, midnights: list[int]) -> Register:
    """What the reads of a meter (`of`: its row) within a stretch, in order of time, say around its midnights. Of several in one interval
    the first is the nearest to the grid: what happens to the register after it is not the business of the day before."""
    snapped: dict[int, RegisterSample] = {}
    for read in _telling(reads, midnights):
        if s := on_grid(stretch, read):
            snapped.setdefault(s.at_ms, s)
    return Register(tuple(snapped.values()), of.register_step_wh, of.register_end_wh)


def _telling(reads: list[RegisterSample], midnights: list[int]) -> list[RegisterSample]:
    """The read nearest to each midnight, and the first and last of all."""
    if not reads:
        return []
    nearest = {min(reads, key=lambda r: abs(r.at_ms - at_ms)) for at_ms in midnights}
    return sorted({*nearest, reads[0], reads[-1]}, key=lambda r: r.at_ms)


def _contradictions(conn: Connection, channel_no: int, day: int, held: Slots) -> tuple[tuple[int, int], ...]:
    """Values that came for intervals already held with another one: in the inbox, and in conflict versions."""
    others, _ = inbox_slots(conn, channel_no, day, conflict=True)
    for block in blocks(conn, [channel_no], [day], CONTRADICTING):
        others |= slots_of_block(block)
    pairs = ((at, slot.value, held.get(at)) for at, slot in sorted(others.items()))
    return tuple((at, v) for at, v, mine in pairs if v is not None and mine and mine.value is not None and mine.value != v)
