"""Many channel-days and all that VEE asks about them, read with a dozen queries together instead of thirty each.

* It holds what vee/held.py and vee/beside.py read for one day. Where a day needs more (another channel's values, an edit, a bill, a
  comparison of months, blocks of another grid), it is none of this lot, and is judged by itself.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Any, TypeVar

from sqlalchemy import BindParameter, Connection, bindparam, select

from gridtally_cloud.billing.tables import bill
from gridtally_cloud.customers.tables import account
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import EDIT, ESTIMATE, blocks
from gridtally_cloud.store.days import DaySlots, date_of, midnight_ms, slots_of
from gridtally_cloud.store.tables import (
    channel,
    event,
    interval_inbox,
    meter,
    usage_point,
    vee_run,
)
from gridtally_cloud.vee.beside import EVENTS_BEFORE_MS, VAH, VARH
from gridtally_cloud.vee.classes import Point
from gridtally_cloud.vee.edits import STANDING
from gridtally_cloud.vee.lot_reads import Reads, around_midnights, rates_and_demand
from gridtally_cloud.vee.model import Stretch
from gridtally_cloud.vee.said import TOLD, Event
from gridtally_cloud.vee.tables import vee_edit, vee_point
from gridtally_native import decode_block
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

K = TypeVar("K")
DayOf = tuple[int, int]
"""(day, channel)"""

OF_VEE = (ESTIMATE, EDIT)
MISSING, EDITED = int(Quality.MISSING), int(Quality.EDITED)

_many: dict[str, BindParameter[Any]] = {name: bindparam(name, expanding=True) for name in ("channels", "days", "points", "meters")}
_from: BindParameter[int] = bindparam("from_ms")
_to: BindParameter[int] = bindparam("to_ms")
_c, _u, _i, _e, _m, _v = (t.c for t in (channel, usage_point, interval_inbox, vee_edit, meter, vee_run))
_ev, _p, _bill = event.c, vee_point.c, bill.c

_CHANNELS = (select(_c.channel_no, _c.usage_point_no, _c.quantity, _c.direction, _c.unit, _c.period_s, _u.zone, _u.limit_w)
             .join(usage_point, _u.usage_point_no == _c.usage_point_no).where(_c.channel_no.in_(_many["channels"])))  # fmt: skip
_PENDING = (select(_v.day, _v.channel_no)
            .where(_v.shard == SHARD, _v.day.in_(_many["days"]), _v.channel_no.in_(_many["channels"]), _v.status == "pending",
                   _v.stands.is_(None)))  # fmt: skip
_INBOX = (select(_i.channel_no, _i.day, _i.start_ms, _i.period_s, _i.n, _i.blob, _i.quality, _i.conflict)
          .where(_i.shard == SHARD, _i.day.in_(_many["days"]), _i.channel_no.in_(_many["channels"]))
          .order_by(_i.inbox_no))  # fmt: skip
_EDITS = (select(_e.channel_no)
          .where(_e.shard == SHARD, _e.channel_no.in_(_many["channels"]), _e.from_ms < _to, _e.to_ms > _from, _e.state.in_(STANDING))
          .distinct())  # fmt: skip
_BILLED = (select(_c.channel_no).join(account, account.c.usage_point_no == _c.usage_point_no)
           .join(bill, _bill.account_no == account.c.account_no)
           .where(_c.channel_no.in_(_many["channels"]), _bill.from_ms < _to, _bill.to_ms > _from).distinct())  # fmt: skip
_METERS = select(_m.meter_no, _m.usage_point_no, _m.register_step_wh).where(_m.usage_point_no.in_(_many["points"]))
_EVENTS = (select(_ev.meter_no, _ev.code, _ev.at_ms, _ev.detail)
           .where(_ev.shard == SHARD, _ev.meter_no.in_(_many["meters"]), _ev.at_ms.between(_from, _to), _ev.code.in_(sorted(TOLD)))
           .order_by(_ev.at_ms))  # fmt: skip
_POINTS = (select(_p.usage_point_no, _p.class_name, _p.check_point_no, _p.irregular_until_day)
           .where(_p.usage_point_no.in_(_many["points"])))  # fmt: skip
_OTHERS = (select(_c.usage_point_no, _c.period_s)
           .where(_c.usage_point_no.in_(_many["points"]), _c.quantity.in_(sorted({VAH, *VARH}))).distinct())  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ref:
    """A channel with what its usage point says of it."""

    channel_no: int
    usage_point_no: int
    quantity: int
    direction: str
    unit: str
    period_s: int
    zone: str
    limit_w: int


@dataclass(slots=True)
class Lot:
    """`blocks` and `inbox` by (day, channel), in the order they count; `registers` are what intervals are held against, `rates` what
    rates and demand said. `apart` are channels that need more than the lot holds."""

    waiting: set[DayOf]
    refs: dict[int, Ref]
    blocks: dict[DayOf, list[Any]] = field(default_factory=dict)
    inbox: dict[DayOf, list[Any]] = field(default_factory=dict)
    apart: set[int] = field(default_factory=set)
    meters: dict[int, list[Any]] = field(default_factory=dict)
    events: dict[int, list[Event]] = field(default_factory=dict)
    registers: Reads = field(default_factory=dict)
    rates: Reads = field(default_factory=dict)
    points: dict[int, Point] = field(default_factory=dict)
    with_others: set[tuple[int, int]] = field(default_factory=set)

    def is_apart(self, day: int, ref: Ref) -> bool:
        """What is known of the day is not enough to judge it with the others."""
        versions, waiting = self.blocks.get((day, ref.channel_no), ()), self.inbox.get((day, ref.channel_no), ())
        return (
            ref.channel_no in self.apart
            or any(v.source in OF_VEE or not v.approved for v in versions)
            or not versions
            or any(row.conflict for row in waiting)
            or (ref.unit == "Wh" and self._is_compared(day, ref))
        )

    def _is_compared(self, day: int, ref: Ref) -> bool:
        ends_month = date_of(day + 1).month != date_of(day).month
        checked = self.points.get(ref.usage_point_no, Point()).check_point_no is not None
        return ends_month or checked or (ref.usage_point_no, ref.period_s) in self.with_others


def lot_of(conn: Connection, waiting: Iterable[DayOf]) -> Lot:
    """All that is known of days which were never judged; those that were are none of it."""
    asked = set(waiting)
    channels, days = sorted({no for _, no in asked}), sorted({day for day, _ in asked})
    near = sorted({day + step for day in days for step in (-1, 0, 1)})
    pending = {(row.day, row.channel_no) for row in conn.execute(_PENDING, {"channels": channels, "days": days})}
    refs = {row.channel_no: Ref(*row) for row in conn.execute(_CHANNELS, {"channels": channels})}
    lot = Lot(pending & asked, refs)
    near_by = {"channels": channels, "days": near}
    lot.blocks = _grouped(blocks(conn, channels, near), lambda row: (row.day, row.channel_no))
    lot.inbox = _grouped(conn.execute(_INBOX, near_by), lambda row: (row.day, row.channel_no))
    if lot.waiting:
        zones = {ref.zone for ref in refs.values()}
        _read_beside(conn, lot, sorted({midnight_ms(day + step, zone) for zone in zones for day in near for step in (0, 1)}))
    return lot


def _read_beside(conn: Connection, lot: Lot, midnights: list[int]) -> None:
    span = {"from_ms": midnights[0], "to_ms": midnights[-1]}
    channels, points = sorted(lot.refs), sorted({ref.usage_point_no for ref in lot.refs.values()})
    for query in (_EDITS, _BILLED):
        lot.apart.update(conn.execute(query, {"channels": channels} | span).scalars())
    lot.meters = _grouped(conn.execute(_METERS, {"points": points}), lambda row: row.usage_point_no)
    meters = sorted(row.meter_no for rows in lot.meters.values() for row in rows)
    told = {"meters": meters, "from_ms": span["from_ms"] - EVENTS_BEFORE_MS, "to_ms": span["to_ms"]}
    for meter_no, rows in _grouped(conn.execute(_EVENTS, told), lambda row: row.meter_no).items():
        lot.events[meter_no] = [Event(row.code, row.at_ms, row.detail) for row in rows]
    lot.registers = around_midnights(conn, meters, midnights)
    lot.rates = rates_and_demand(conn, meters, midnights[0], midnights[-1])
    for point in conn.execute(_POINTS, {"points": points}):
        lot.points[point.usage_point_no] = Point(point.class_name, point.check_point_no, point.irregular_until_day)
    lot.with_others.update((other.usage_point_no, other.period_s) for other in conn.execute(_OTHERS, {"points": points}))


def _grouped(rows: Iterable[Any], key: Callable[[Any], K]) -> dict[K, list[Any]]:
    found: dict[K, list[Any]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def stretch_around(lot: Lot, ref: Ref, day: int) -> tuple[Stretch, tuple[int, ...], DaySlots] | None:
    """(what was measured of a day and its neighbours, those days, the grid of the day); a neighbour of which nothing came is left out. None
    where blocks are not on the grid of the channel, or its days do not begin at midnight."""
    days = (day - 1, day, day + 1)
    grids = [slots_of(d, ref.zone, ref.period_s) for d in days]
    if [grid.start_ms for grid in grids] != [midnight_ms(d, ref.zone) for d in days]:
        return None
    rows = [*(row for d in days for row in _standing(lot.blocks.get((d, ref.channel_no), ()))),
            *(row for d in days for row in lot.inbox.get((d, ref.channel_no), ()) if not row.conflict)]  # fmt: skip
    whole = _laid(rows, grids, ref)
    if whole is None:
        return None
    before, after = grids[0].n, grids[0].n + grids[1].n
    first = 0 if 1 in whole.present[:before] else before
    last = len(whole) if 1 in whole.present[after:] else after
    near = tuple(d for d, there in zip(days, (first == 0, True, last > after), strict=True) if there)
    return whole.part(first, last), near, grids[1]


def _standing(versions: Sequence[Any]) -> Sequence[Any]:
    """What was measured of a day: its highest approved version that is not VEE's."""
    return [v for v in versions if v.approved and v.source not in OF_VEE][-1:]


def _laid(rows: Sequence[Any], grids: Sequence[DaySlots], ref: Ref) -> Stretch | None:
    """Blocks over each other as `days_slots` lays them: a value over what is there, but not over an edited one."""
    n = sum(grid.n for grid in grids)
    values, quality, present, seen = array("q", bytes(8 * n)), array("H", [MISSING]) * n, bytearray(n), bytearray(n)
    for row in rows:
        first, beside = divmod(row.start_ms - grids[0].start_ms, ref.period_s * 1000)
        after = first + row.n
        unpacked = None if beside or row.period_s != ref.period_s or first < 0 or after > n else _unpacked(row)
        if unpacked is None:
            return None
        numbers, words, mask = unpacked
        if 1 not in seen[first:after]:
            values[first:after], quality[first:after], present[first:after], seen[first:after] = numbers, words, mask, b"\1" * row.n
            continue
        for place, number, word, there in zip(range(first, after), numbers, words, mask, strict=True):
            if not seen[place] or (there and not quality[place] & EDITED):
                values[place], quality[place], present[place], seen[place] = number, word, there, 1
    return Stretch(grids[0].start_ms, ref.period_s, ref.unit, values, quality, bytes(present))


def _unpacked(row: Any) -> tuple[array[int], array[int], bytes] | None:
    """(values, marks, what is there) of a block; None where its parts do not agree, which is for whoever reads it alone to say."""
    try:
        numbers, mask = decode_block(bytes(row.blob))
        words = array("H", bytes(row.quality) or bytes(2 * row.n))
    except ValueError:
        return None
    if sys.byteorder == "big":
        words.byteswap()
    return (numbers, words, bytes(mask)) if len(numbers) == row.n == len(words) else None
