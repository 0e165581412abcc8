"""One lot of deletion: a bounded number of rows is looked at, those that are due go, in the caller's transaction.

* The way is by key from the last one looked at: no table is searched, and what is young is not touched (`grows`).
* Readings are gone through series by series: the oldest of each lies first in the key. Of a run that has ended its rows go first, in lots
  of their own; the run itself last, so that a kill between leaves one that goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, select, true, tuple_

from gridtally_cloud.retention.due import CUT, FIRST, LAST, Source
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import reading
from gridtally_cloud.store.work import work_item, work_run
from gridtally_shared.records import dataclass

SERIES_AT_ONCE = 500
"""Series of readings looked at in one lot."""

END = 2**62
"""Beyond every instant."""

Key = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """`after`: the last key looked at, None at the end."""

    after: Key | None
    deleted: int


@dataclass(frozen=True, slots=True)
class Count:
    """`with_parts`: rows that go, those of the parts among them."""

    rows: int
    due: int
    with_parts: int
    oldest_ms: int | None


def delete_lot(conn: Connection, source: Source, after: Key, cut_ms: int, most: int, whole: bool = False) -> Step:
    """Go on after a key, empty for the beginning. No more than about `most` rows go. `whole`: to the end of the table, for rows that came
    while a clock was wrong."""
    if source.series:
        return _of_series(conn, source, after, cut_ms, most)
    return _of_runs(conn, source, after, cut_ms, most) if source.table is work_run else _by_key(conn, source, after, cut_ms, most, whole)


def _beyond(key: Key, after: Key) -> ColumnElement[bool]:
    if not after:
        return true()
    return key[0] > after[0] if len(key) == 1 else tuple_(*key) > tuple(after)


def _up_to(key: Key, last: Key) -> ColumnElement[bool]:
    return key[0] <= last[0] if len(key) == 1 else tuple_(*key) <= tuple(last)


def _by_key(conn: Connection, source: Source, after: Key, cut_ms: int, most: int, whole: bool) -> Step:
    key, beyond = source.key, _beyond(source.key, after)
    grows = () if whole or source.grows is None else (source.grows,)
    rows = conn.execute(select(*key, *grows).where(source.here, beyond).order_by(*key).limit(most)).all()
    if not rows or (grows and min(row[-1] for row in rows) >= cut_ms):
        return Step(None, 0)
    first, last = rows[0][0], tuple(rows[-1][: len(key)])
    goes, values = and_(beyond, _up_to(key, last), source.due), {"cut_ms": cut_ms, "first": first, "last": last[0]}
    deleted = 0
    for part in source.parts:
        theirs = and_(part.of.between(FIRST, LAST), part.of.in_(select(part.key).where(goes)), part.over)
        deleted += conn.execute(delete(part.table).where(theirs), values).rowcount
    deleted += conn.execute(delete(source.table).where(goes), values).rowcount
    return Step(last if len(rows) == most else None, deleted)


def _of_series(conn: Connection, source: Source, after: Key, cut_ms: int, most: int) -> Step:
    r, deleted = reading.c, 0
    key = (r.meter_no, r.quantity, r.at_ms)
    for _ in range(SERIES_AT_ONCE):
        oldest = conn.execute(select(*key).where(source.here, _beyond(key, after)).order_by(*key).limit(1)).first()
        if oldest is None:
            return Step(None, deleted)
        if oldest.quantity in source.series and oldest.at_ms < cut_ms:
            mine = and_(r.shard == SHARD, r.meter_no == oldest.meter_no, r.quantity == oldest.quantity, r.at_ms >= oldest.at_ms)
            until_ms = _beyond_most(conn, r.at_ms, and_(mine, r.at_ms < cut_ms), most - deleted)
            deleted += conn.execute(delete(reading).where(mine, r.at_ms < (cut_ms if until_ms is None else until_ms))).rowcount
            if until_ms is not None:
                return Step((oldest.meter_no, oldest.quantity, until_ms - 1), deleted)
        after = (oldest.meter_no, oldest.quantity, END)
    return Step(after, deleted)


def _of_runs(conn: Connection, source: Source, after: Key, cut_ms: int, most: int) -> Step:
    """Rows of the next run that is due, and at last the run. A key of two: its rows are going already, from that usage point on, and
    whether any failed is not asked again."""
    r, i = work_run.c, work_item.c
    begun = len(after) == 2
    which = and_(r.run_no == after[0], r.ended_ms < CUT) if begun else and_(_beyond(source.key, after), source.due)
    query = select(r.run_no, r.kind).where(which).order_by(r.run_no).limit(1)
    run = conn.execute(query.with_for_update(of=work_run), {"cut_ms": cut_ms}).first()
    if run is None:
        return Step(after[:1] if begun else None, 0)
    mine = and_(i.shard == SHARD, i.kind == run.kind, i.run_no == run.run_no, i.usage_point_no >= after[1] if begun else true())
    until = _beyond_most(conn, i.usage_point_no, mine, most)
    if until is not None:
        return Step((run.run_no, until), conn.execute(delete(work_item).where(mine, i.usage_point_no < until)).rowcount)
    deleted = conn.execute(delete(work_item).where(mine)).rowcount
    return Step((run.run_no,), deleted + conn.execute(delete(work_run).where(r.run_no == run.run_no)).rowcount)


def _beyond_most(conn: Connection, column: Any, where: ColumnElement[bool], most: int) -> int | None:
    """The first value after `most` rows; None where there are no more."""
    value: int | None = conn.execute(select(column).where(where).order_by(column).offset(most).limit(1)).scalar_one_or_none()
    return value


def counted(conn: Connection, source: Source, cut_ms: int | None) -> Count:
    """All rows, for people: this reads the whole table. `cut_ms` None: nothing is due."""
    mine = and_(source.here, source.key[1].in_(source.series)) if source.series else source.here
    cut = {"cut_ms": -(2**62) if cut_ms is None else cut_ms, "first": 0, "last": 2**62}
    due = func.coalesce(func.sum(case((source.due, 1), else_=0)), 0)
    rows, goes, oldest = conn.execute(select(func.count(), due, func.min(source.time)).select_from(source.table).where(mine), cut).one()
    beside = 0
    for part in source.parts if goes else ():
        query = select(func.count()).select_from(part.table).where(part.of.in_(select(part.key).where(source.due)), part.over)
        beside += conn.execute(query, cut).scalar_one()
    return Count(rows, int(goes), int(goes) + beside, oldest)
