"""Work that is split by usage point and shared by any number of workers: claimed by lease in its own table, done once.

* Work that stands in the data themselves (days to close, days to judge; run 0) is offered here when it is seen, and its row goes with
  the work. A run that a person or a timetable asks for (bills, exports) has one row a usage point, kept as its record.
* A row is claimed by (owner, until) in clock time. The result and the end of the row are one transaction guarded by the owner: a
  worker that was killed loses its lease and nothing else, one that was too slow finds its row gone and rolls back.
* What fails at one usage point is written down in its row and stops no other; its lease is the pause before the next attempt, and after
  `ATTEMPTS` it is set aside as failed, to be seen in `gridtally-mdm runs`.
* PostgreSQL passes over rows others are claiming (SKIP LOCKED); on SQLite there is one writer.

Source: architecture.md section 6 (jobs); mdm.md F.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import OperationalError

from gridtally_cloud.store.base import SHARD, Key, Ms, metadata, shard_column
from gridtally_cloud.store.db import Database, insert_new
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

LEASE_REAL_MS = 10_000
AT_ONCE = 10
"""Usage points claimed together: what one worker does well within a lease."""

ATTEMPTS = 5
IN_THE_DATA = 0
"""The run of work that is seen in the data themselves."""

work_item = Table(
    "work_item", metadata,
    shard_column(),
    Column("kind", Text, primary_key=True),  # close, validate, bill, export
    Column("run_no", Key, primary_key=True, autoincrement=False),
    Column("usage_point_no", Key, primary_key=True, autoincrement=False),
    Column("owner", Text),
    Column("lease_until_ms", Ms, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("state", Text, nullable=False, default="open"),  # open, done, refused, failed
    Column("note", Text, nullable=False, default=""),
    Column("done_ms", Ms),
    Index("ix_work_item_open", "shard", "kind", "run_no", "state"),
    sqlite_with_rowid=False,
)  # fmt: skip

work_run = Table(
    "work_run", metadata,
    Column("run_no", Key, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("arguments", Text, nullable=False),  # JSON, read by the kind's handler
    Column("total", Integer, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("asked_ms", Ms, nullable=False),
    Column("ended_ms", Ms),
    Index("ix_work_run_open", "ended_ms", "kind"),
)  # fmt: skip

_w = work_item.c
_OF_RUN = and_(_w.shard == SHARD, _w.kind == bindparam("of_kind"), _w.run_no == bindparam("of_run"))
_FREE = or_(_w.owner.is_(None), _w.lease_until_ms <= bindparam("now_ms"), _w.owner == bindparam("by"))
_NEXT = (select(_w.usage_point_no).where(_OF_RUN, _w.state == "open", _FREE).order_by(_w.usage_point_no).limit(bindparam("most"))
         .with_for_update(skip_locked=True))  # fmt: skip
_NEXT_OF_LOT = _NEXT.where(_w.usage_point_no.in_(bindparam("lot", expanding=True)))
_CLAIMED = update(work_item).where(_OF_RUN, _w.usage_point_no.in_(bindparam("points", expanding=True)))
_MINE = and_(_OF_RUN, _w.usage_point_no == bindparam("point"), _w.owner == bindparam("by"), _w.state == "open")
_ALL_MINE = and_(_OF_RUN, _w.usage_point_no.in_(bindparam("points", expanding=True)), _w.owner == bindparam("by"), _w.state == "open")
_IN_WORK = select(_w.usage_point_no).where(_ALL_MINE).with_for_update()
_TAKEN_AWAY = delete(work_item).where(_ALL_MINE)
_ENDED = update(work_item).where(_MINE)
_HELD = select(_w.usage_point_no).where(_OF_RUN, or_(_w.state == "failed", ~_FREE))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hand:
    """Who claims, and for how long."""

    owner: str
    lease_ms: int = LEASE_REAL_MS


def this_process(factor: float = 1.0) -> Hand:
    """Leases last ten real seconds at least, also where the clock is a quick one."""
    return Hand(f"{socket.gethostname()}:{os.getpid()}", max(LEASE_REAL_MS, int(LEASE_REAL_MS * factor)))


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one usage point of a run; `state` is done or refused."""

    state: str = "done"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its handler and the list of runs see it."""

    run_no: int
    kind: str
    arguments: dict[str, Any]
    total: int
    asked_by: str
    asked_ms: int
    ended_ms: int | None
    done: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def settled(self) -> int:
        return self.done + self.refused + self.failed


Do = Callable[[Connection, Run, int], Result]
"""What a kind of run does at one usage point."""


class _Overtaken(Exception):
    """The lease ended before its work began: another worker has it."""


def _of(kind: str, run_no: int) -> dict[str, Any]:
    return {"of_kind": kind, "of_run": run_no}


# ---- claiming -------------------------------------------------------------------------------------------------


def _offer(conn: Connection, kind: str, run_no: int, points: Iterable[int]) -> None:
    rows = [{"shard": SHARD, "kind": kind, "run_no": run_no, "usage_point_no": point, "lease_until_ms": 0, "attempts": 0,
             "state": "open", "note": ""} for point in sorted(points)]  # fmt: skip
    insert_new(conn, work_item, rows)


def _claim(conn: Connection, kind: str, run_no: int, hand: Hand, now_ms: int, lot: Sequence[int] = ()) -> list[int]:
    """Some usage points of the run, or those of the lot, as far as they are free."""
    values = _of(kind, run_no) | {"now_ms": now_ms, "by": hand.owner, "most": len(lot) or AT_ONCE}
    points = list(conn.execute(_NEXT_OF_LOT, values | {"lot": lot}).scalars() if lot else conn.execute(_NEXT, values).scalars())
    if points:
        claimed = {"owner": hand.owner, "lease_until_ms": now_ms + hand.lease_ms, "points": points}
        conn.execute(_CLAIMED.values(attempts=_w.attempts + 1), _of(kind, run_no) | claimed)
    return points


def in_other_hands(conn: Connection, kind: str, now_ms: int, hand: Hand) -> set[int]:
    """Usage points somebody else is at now, or whose work was set aside as failed."""
    return set(conn.execute(_HELD, _of(kind, IN_THE_DATA) | {"now_ms": now_ms, "by": hand.owner}).scalars())


def share(db: Database, kind: str, free: Sequence[int], do: Callable[[Connection, int], T], now_ms: int, hand: Hand) -> list[T]:
    """Do the work seen at these usage points, but for what others have claimed meanwhile, each in one transaction; what it came to."""
    done: list[T] = []

    def one(point: int, conn: Connection) -> None:
        done.append(_while_mine(conn, kind, [point], hand, lambda: do(conn, point)))

    for first in range(0, len(free), AT_ONCE):
        with db.write() as conn:
            _offer(conn, kind, IN_THE_DATA, free[first : first + AT_ONCE])
            mine = _claim(conn, kind, IN_THE_DATA, hand, now_ms)
        for point in mine:
            _attempt(db, kind, IN_THE_DATA, point, hand, partial(one, point))
    return done


def share_lots(
    db: Database, kind: str, lots: Iterable[Sequence[int]], do: Callable[[Connection, Sequence[int]], T], now_ms: int, hand: Hand
) -> list[T]:
    """`share` of work that goes quicker for many usage points together: each lot is one transaction. Where that comes to nothing, each of
    its points is tried by itself, so that one that fails stops no other. A lot should be done well within a lease."""
    done: list[T] = []

    def some(points: Sequence[int], conn: Connection) -> None:
        done.append(_while_mine(conn, kind, points, hand, lambda: do(conn, points)))

    for lot in lots:
        with db.write() as conn:
            _offer(conn, kind, IN_THE_DATA, lot)
            points = _claim(conn, kind, IN_THE_DATA, hand, now_ms, lot)
        if len(points) > 1 and _together(db, partial(some, points)):
            continue
        for point in points:
            _attempt(db, kind, IN_THE_DATA, point, hand, partial(some, [point]))
    return done


def _while_mine(conn: Connection, kind: str, points: Sequence[int], hand: Hand, step: Callable[[], T]) -> T:
    """The rows stay there, locked, until their work is done: others pass over a locked row, but wait for one that is going away."""
    mine = _of(kind, IN_THE_DATA) | {"points": points, "by": hand.owner}
    if len(conn.execute(_IN_WORK, mine).all()) != len(points):
        raise _Overtaken
    result = step()
    conn.execute(_TAKEN_AWAY, mine)
    return result


def _together(db: Database, step: Callable[[Connection], None]) -> bool:
    try:
        with db.write() as conn:
            step(conn)
    except OperationalError:
        raise
    except Exception:
        return False
    return True


def _attempt(db: Database, kind: str, run_no: int, point: int, hand: Hand, step: Callable[[Connection], None]) -> None:
    try:
        with db.write() as conn:
            step(conn)
    except _Overtaken:
        log.warning("a lease ended before its work began", extra={"work": kind, "run": run_no, "usage_point": point})
    except OperationalError:
        raise
    except Exception as error:
        log.exception("work at a usage point failed", extra={"work": kind, "run": run_no, "usage_point": point})
        with db.write() as conn:
            state = case((_w.attempts >= ATTEMPTS, "failed"), else_="open")
            where = _of(kind, run_no) | {"point": point, "by": hand.owner}
            conn.execute(_ENDED.values(state=state), where | {"note": f"{type(error).__name__}: {error}"[:500]})


# ---- runs -----------------------------------------------------------------------------------------------------


def start_run(conn: Connection, kind: str, points: Iterable[int], arguments: dict[str, Any], by: str, now_ms: int) -> int:
    """A run over these usage points; workers take it up within seconds. Its number."""
    numbers = sorted(set(points))
    row = {"kind": kind, "arguments": json.dumps(arguments, sort_keys=True), "total": len(numbers), "asked_by": by, "asked_ms": now_ms,
           "ended_ms": None if numbers else now_ms}  # fmt: skip
    run_no = int(conn.execute(insert(work_run).values(row).returning(work_run.c.run_no)).scalar_one())
    _offer(conn, kind, run_no, numbers)
    return run_no


def open_runs(conn: Connection) -> list[Run]:
    r = work_run.c
    rows = conn.execute(select(work_run).where(r.ended_ms.is_(None)).order_by(r.run_no))
    return [_run(row) for row in rows]


def runs(conn: Connection, limit: int = 20) -> list[Run]:
    """The newest runs with how far they are, newest first."""
    rows = conn.execute(select(work_run).order_by(work_run.c.run_no.desc()).limit(limit)).all()
    query = select(_w.run_no, _w.state, func.count().label("n")).where(_w.shard == SHARD, _w.run_no.in_([row.run_no for row in rows]))
    states = {(row.run_no, row.state): row.n for row in conn.execute(query.group_by(_w.run_no, _w.state))}
    return [_run(row, *(states.get((row.run_no, name), 0) for name in ("done", "refused", "failed"))) for row in rows]


def _run(row: Any, *counts: int) -> Run:
    return Run(row.run_no, row.kind, json.loads(row.arguments), row.total, row.asked_by, row.asked_ms, row.ended_ms, *counts)


def retry_failed(conn: Connection, now_ms: int) -> int:
    """What was set aside as failed is tried again, after its cause was mended. How many usage points."""
    failed = and_(_w.shard == SHARD, _w.state == "failed")
    numbers = list(conn.execute(select(_w.run_no).where(failed).distinct()).scalars())
    conn.execute(update(work_run).where(work_run.c.run_no.in_(numbers)).values(ended_ms=None))
    again = update(work_item).where(failed).values(state="open", owner=None, attempts=0, lease_until_ms=now_ms, note="")
    return conn.execute(again).rowcount


def notes(conn: Connection, run_no: int) -> list[tuple[int, str, str]]:
    """(usage point, state, note) of what did not simply get done."""
    query = select(_w.usage_point_no, _w.state, _w.note).where(_w.shard == SHARD, _w.run_no == run_no, _w.note != "")
    return [(row.usage_point_no, row.state, row.note) for row in conn.execute(query.order_by(_w.usage_point_no))]


def carry_on(db: Database, run: Run, do: Do, now_ms: int, hand: Hand) -> int:
    """Do some usage points of a run; how many were claimed. The last one ends the run."""
    with db.write() as conn:
        mine = _claim(conn, run.kind, run.run_no, hand, now_ms)
    for point in mine:
        _attempt(db, run.kind, run.run_no, point, hand, partial(_settle, run, point, do, now_ms, hand))
    if not mine:
        _end_if_settled(db, run, now_ms)
    return len(mine)


def _settle(run: Run, point: int, do: Do, now_ms: int, hand: Hand, conn: Connection) -> None:
    where = _of(run.kind, run.run_no) | {"point": point, "by": hand.owner}
    if not conn.execute(_ENDED, where | {"lease_until_ms": now_ms + hand.lease_ms}).rowcount:
        raise _Overtaken
    result = do(conn, run, point)
    conn.execute(_ENDED, where | {"state": result.state, "note": result.note[:500], "done_ms": now_ms, "owner": None})


def _end_if_settled(db: Database, run: Run, now_ms: int) -> None:
    with db.write() as conn:
        if conn.execute(select(_w.usage_point_no).where(_OF_RUN, _w.state == "open").limit(1), _of(run.kind, run.run_no)).first() is None:
            r = work_run.c
            conn.execute(update(work_run).where(r.run_no == run.run_no, r.ended_ms.is_(None)).values(ended_ms=now_ms))
