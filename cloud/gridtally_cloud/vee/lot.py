"""Many channel-days and all that VEE asks about them, read with a dozen queries together instead of thirty each.

* It holds what vee/held.py and vee/beside.py read for one day. Where a day needs more (an edit, a bill, a second meter, a contradiction,
  blocks of another grid), its channel is apart, and the day is judged by itself.
* A day with its neighbours is vee/near.py; registers are read in vee/lot_reads.py, other channels and months in vee/lot_beside.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import BindParameter, Connection, bindparam, select

from gridtally_cloud.billing.tables import bill
from gridtally_cloud.customers.tables import account
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import ALL, CONFLICT, EDIT, ESTIMATE, Block, block_of
from gridtally_cloud.store.days import midnight_ms, slots_of
from gridtally_cloud.store.orders import PENDING
from gridtally_cloud.store.tables import (
    channel,
    event,
    interval_block,
    interval_inbox,
    meter,
    usage_point,
    vee_run,
)
from gridtally_cloud.vee.among import Among
from gridtally_cloud.vee.beside import EVENTS_BEFORE_MS, VAH, VARH
from gridtally_cloud.vee.classes import Point
from gridtally_cloud.vee.columns import Columns, laid
from gridtally_cloud.vee.edits import STANDING
from gridtally_cloud.vee.lot_reads import AtMidnight, Reads
from gridtally_cloud.vee.near import Near, Ref, frame_of
from gridtally_cloud.vee.said import TOLD, Event
from gridtally_cloud.vee.tables import vee_edit, vee_point
from gridtally_shared.records import dataclass

K = TypeVar("K")
DayOf = tuple[int, int]
"""(day, channel)"""
Held = dict[DayOf, list[Any]]
"""Versions of a day and rows of the inbox, in the order they count."""

OF_VEE = (ESTIMATE, EDIT)
_NOT_STANDING = (CONFLICT,)
ODD_SOURCES = (*OF_VEE, CONFLICT)

_days: BindParameter[Any] = bindparam("days", expanding=True)
_from: BindParameter[int] = bindparam("from_ms")
_to: BindParameter[int] = bindparam("to_ms")
_b, _c, _u, _i, _e, _m, _v = (t.c for t in (interval_block, channel, usage_point, interval_inbox, vee_edit, meter, vee_run))
_ev, _p, _bill = event.c, vee_point.c, bill.c

_REFS = (select(_c.channel_no, _c.usage_point_no, _c.quantity, _c.direction, _c.unit, _c.period_s, _u.zone, _u.limit_w)
         .join(usage_point, _u.usage_point_no == _c.usage_point_no))  # fmt: skip
_CHANNELS = Among(_REFS, _c.channel_no)
_WITH_OTHERS = Among(select(_c.usage_point_no, _c.channel_no).where(_c.quantity.in_(sorted({VAH, *VARH}))), _c.usage_point_no)
_SAID = Among(select(_v.channel_no, _v.day, _v.status, _v.version, _v.stands).where(_v.shard == SHARD, _v.day.in_(_days)), _v.channel_no)
_BLOCKS = Among(select(*ALL.selected_columns).where(_b.shard == SHARD, _b.day.in_(_days)), _b.channel_no, _b.day, _b.channel_no, _b.version,
                place=1)  # fmt: skip
_INBOX = Among(select(_i.channel_no, _i.day, _i.start_ms, _i.period_s, _i.n, _i.blob, _i.quality, _i.conflict)
               .where(_i.shard == SHARD, _i.day.in_(_days)), _i.channel_no, _i.inbox_no)  # fmt: skip
_EDITS = Among(select(_e.channel_no).where(_e.shard == SHARD, _e.from_ms < _to, _e.to_ms > _from, _e.state.in_(STANDING)).distinct(),
               _e.channel_no)  # fmt: skip
_BILLED = Among(select(_c.channel_no).join(account, account.c.usage_point_no == _c.usage_point_no)
                .join(bill, _bill.account_no == account.c.account_no).where(_bill.from_ms < _to, _bill.to_ms > _from).distinct(),
                _c.channel_no)  # fmt: skip
_METERS = Among(select(_m.usage_point_no, _m.meter_no, _m.register_step_wh, _m.register_end_wh), _m.usage_point_no, _m.meter_no)
_EVENTS = Among(select(_ev.meter_no, _ev.code, _ev.at_ms, _ev.detail)
                .where(_ev.shard == SHARD, _ev.at_ms.between(_from, _to), _ev.code.in_(sorted(TOLD))),
                _ev.meter_no, _ev.at_ms, _ev.event_no, thin=True)  # fmt: skip
_POINTS = Among(select(_p.usage_point_no, _p.class_name, _p.check_point_no, _p.irregular_until_day), _p.usage_point_no)


@dataclass(slots=True)
class Lot:
    """By (day, channel): `pending` wait, with the version that was closed; of these `waiting` were never judged. `versions` is the last
    version there is, `rows` all that is held of days that are more than one measured block, in the order it counts. `apart` are channels
    that need more than the lot holds, `odd` those that are not on their grid, `others` the reactive and apparent channels of a usage
    point, `with_rates` the meters of `rates`."""

    pending: dict[DayOf, int]
    waiting: set[DayOf]
    refs: dict[int, Ref]
    versions: dict[DayOf, int] = field(default_factory=dict)
    rows: Held = field(default_factory=dict)
    apart: set[int] = field(default_factory=set)
    odd: set[int] = field(default_factory=set)
    meters: dict[int, list[Any]] = field(default_factory=dict)
    events: dict[int, list[Event]] = field(default_factory=dict)
    at_midnight: AtMidnight = field(default_factory=dict)
    registers: Reads = field(default_factory=dict)
    rates: Reads = field(default_factory=dict)
    with_rates: frozenset[int] = frozenset()
    points: dict[int, Point] = field(default_factory=dict)
    others: dict[int, list[Ref]] = field(default_factory=dict)
    _columns: dict[DayOf, Columns | None] = field(default_factory=dict)

    def is_apart(self, day: int, ref: Ref) -> bool:
        """What is known of the day is not enough to judge it with the others."""
        name = day, ref.channel_no
        return (
            name not in self.versions
            or ref.channel_no in self.apart
            or ref.channel_no in self.odd
            or any(row.conflict if is_waiting(row) else row.source in ODD_SOURCES for row in self.rows.get(name, ()))
            or self.point_of(ref).check_point_no is not None
        )

    def point_of(self, ref: Ref) -> Point:
        return self.points.get(ref.usage_point_no, _PLAIN)

    def columns(self, day: int, ref: Ref) -> Columns | None:
        """What was measured of a day; None where nothing came. A channel that is not on its grid is odd from then on."""
        name = day, ref.channel_no
        if name not in self._columns and name in self.rows:
            self.lay(name, ref, measured(self.rows[name]))
        return self._columns.get(name)

    def lay(self, name: DayOf, ref: Ref, rows: Sequence[Any]) -> None:
        held = laid(rows, slots_of(name[0], ref.zone, ref.period_s)) if rows else None
        self._columns[name] = held
        if rows and held is None:
            self.odd.add(ref.channel_no)

    def near(self, day: int, ref: Ref) -> Near | None:
        """The day with its neighbours. None where it is apart, or its days do not begin at midnight."""
        frame = frame_of(day, ref.zone, ref.period_s)
        if frame is None or self.is_apart(day, ref):
            return None
        before, own, after = (self.columns(d, ref) for d in frame.days)
        return None if ref.channel_no in self.odd else frame.near(before, own, after)


_PLAIN = Point()


def lot_of(conn: Connection, waiting: Iterable[DayOf]) -> Lot:
    """All that is known of closed days which were never judged; of those that were only that they wait."""
    asked = set(waiting)
    channels, days = sorted({no for _, no in asked}), sorted({day for day, _ in asked})
    said = {(day, number): _Said(*of) for number, day, *of in _SAID.rows(conn, channels, days=days)}
    wait = {name: of for name in asked if (of := said.get(name, _NOTHING_SAID)).status == PENDING}
    lot = Lot({name: of.version for name, of in wait.items()}, {name for name, of in wait.items() if of.stands is None}, {})
    if lot.waiting:
        _read(conn, lot)
    return lot


class _Said(NamedTuple):
    """A day that was closed and of which nothing was said yet, where it is not told otherwise."""

    status: str = PENDING
    version: int = 0
    stands: int | None = None


_NOTHING_SAID = _Said()


def _read(conn: Connection, lot: Lot) -> None:
    near = sorted({day + step for day, _ in lot.waiting for step in (-1, 0, 1)})
    lot.refs = _refs(conn, sorted({no for _, no in lot.pending}))
    points = sorted({ref.usage_point_no for ref in lot.refs.values()})
    others = _refs(conn, sorted({number for _, number in _WITH_OTHERS.rows(conn, points)}))
    for ref in others.values():
        lot.others.setdefault(ref.usage_point_no, []).append(ref)
    _read_days(conn, lot, lot.refs | others, near)
    zones = {ref.zone for ref in lot.refs.values()}
    span = [midnight_ms(day, zone) for zone in zones for day in (near[0], near[-1] + 1)]
    _read_beside(conn, lot, points, {"from_ms": min(span), "to_ms": max(span)})


def _refs(conn: Connection, channels: list[int]) -> dict[int, Ref]:
    return {row[0]: Ref(*row) for row in _CHANNELS.rows(conn, channels)}


def _read_days(conn: Connection, lot: Lot, refs: dict[int, Ref], days: list[int]) -> None:
    """A day that is one measured block, as most are, is opened at once and its row forgotten."""
    waiting = _grouped(_INBOX.rows(conn, sorted(refs), days=days), _name)
    for name, found in groupby(_blocks(conn, sorted(refs), days), _name):
        versions = list(found)
        lot.versions[name] = versions[-1].version
        if len(versions) == 1 and name not in waiting and versions[0].source not in ODD_SOURCES:
            lot.lay(name, refs[name[1]], versions)
        else:
            lot.rows[name] = [*versions]
    for name, rows in waiting.items():
        lot.rows.setdefault(name, []).extend(rows)


def _blocks(conn: Connection, channels: list[int], days: list[int]) -> Iterator[Block]:
    """Each version, those of a day one after the other."""
    return map(block_of, _BLOCKS.rows(conn, channels, days=days))


def held_of(conn: Connection, channels: list[int], days: list[int]) -> Held:
    """All rows of some days, those of blocks first."""
    found = _grouped(_blocks(conn, channels, days), _name)
    for row in _INBOX.rows(conn, channels, days=days):
        found.setdefault(_name(row), []).append(row)
    return found


def _name(row: Any) -> DayOf:
    return row.day, row.channel_no


def _read_beside(conn: Connection, lot: Lot, points: list[int], span: dict[str, int]) -> None:
    for query in (_EDITS, _BILLED):
        lot.apart.update(row[0] for row in query.rows(conn, sorted(lot.refs), **span))
    lot.meters = _grouped(_METERS.rows(conn, points), lambda row: row.usage_point_no)
    meters = sorted(row.meter_no for rows in lot.meters.values() for row in rows)
    for row in _EVENTS.rows(conn, meters, from_ms=span["from_ms"] - EVENTS_BEFORE_MS, to_ms=span["to_ms"]):
        lot.events.setdefault(row.meter_no, []).append(Event(row.code, row.at_ms, row.detail))
    for point_no, class_name, check_point_no, until_day in _POINTS.rows(conn, points):
        lot.points[point_no] = Point(class_name, check_point_no, until_day)


def _grouped(rows: Iterable[Any], key: Callable[[Any], K]) -> dict[K, list[Any]]:
    found: dict[K, list[Any]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def is_waiting(row: Any) -> bool:
    """Whether a row is one of the inbox."""
    return not isinstance(row, Block)


def measured(rows: Iterable[Any], of_vee: bool = False) -> list[Any]:
    """What was measured of a day: its highest approved version that is not VEE's, then what came since; with `of_vee` what stands."""
    blocks, waiting = [], []
    for row in rows:
        if is_waiting(row):
            if not row.conflict:
                waiting.append(row)
        elif row.source not in (_NOT_STANDING if of_vee else ODD_SOURCES):
            blocks.append(row)
    return [*blocks[-1:], *waiting]
