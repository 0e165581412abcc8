"""Sends scheduled files out: usage point by usage point into files of a fixed size, each whole or not there.

* A run is claimed by a lease (owner, until) and goes on part by part. A file is written beside and moved into place, then the part is
  noted: after a kill the same part is written again under the same name, with the same content.
* What goes to a recipient is queued with the note of its part, in one transaction (deliveries.py).
* What can not be written (a folder that is away, a quantity that does not fit) is told in the run and tried again.

Source: architecture.md 6 (jobs), mdm.md D.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection, and_, or_, select, tuple_, update

from gridtally_cloud.exchange import validated
from gridtally_cloud.exchange.contents import files_of
from gridtally_cloud.exchange.deliveries import ErrorType, queue, report_error
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.given import note_days
from gridtally_cloud.exchange.points import Point, point_of
from gridtally_cloud.exchange.schedules import DONE, Run, Schedule, due, run_from
from gridtally_cloud.exchange.tables import exchange_run
from gridtally_cloud.exchange.times import local
from gridtally_cloud.store.days import zone_of
from gridtally_cloud.store.db import Database, insert_new
from gridtally_cloud.store.tables import usage_point
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

WORKING, FAILED = "working", "failed"
LEASE_MS = 60_000
AGAIN_MS = 600_000

Now = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Part:
    """One step of a run: its files by name, how many intervals they hold, and the usage point it came to. `after` None: the run is at its
    end. `lacking`: usage points whose day is not validated; `given`: those whose data are in the files."""

    files: dict[str, bytes]
    intervals: int
    after: tuple[str, int] | None
    lacking: tuple[int, ...] = ()
    given: tuple[Point, ...] = ()


def send_due(db: Database, owner: str, now: Now, lease_ms: int = LEASE_MS) -> tuple[Run, ...]:
    """Do or carry on every run that is due. The runs as they stand then."""
    with db.read() as conn:
        pending = due(conn, now())
    done = []
    for schedule, day in pending:
        run = _claimed(db, schedule, day, owner, now(), lease_ms)
        if run is not None:
            done.append(_carried_out(db, schedule, run, owner, now, lease_ms))
    return tuple(done)


def _claimed(db: Database, schedule: Schedule, day: int, owner: str, now_ms: int, lease_ms: int) -> Run | None:
    """The run where it is ours now."""
    r = exchange_run.c
    with db.write() as conn:
        row = {"name": schedule.name, "day": day, "state": WORKING, "owner": "", "until_ms": 0, "part": 0, "files": 0, "after_zone": "",
               "after_point": 0, "intervals": 0, "reason": "", "at_ms": now_ms}  # fmt: skip
        insert_new(conn, exchange_run, [row])
        free = and_(r.name == schedule.name, r.day == day, r.state != DONE, r.until_ms <= now_ms)
        conn.execute(update(exchange_run).where(free).values(owner=owner, until_ms=now_ms + lease_ms, state=WORKING))
        there = conn.execute(select(exchange_run).where(r.name == schedule.name, r.day == day)).one()
        return run_from(there) if (there.owner, there.state, there.until_ms) == (owner, WORKING, now_ms + lease_ms) else None


def _carried_out(db: Database, schedule: Schedule, run: Run, owner: str, now: Now, lease_ms: int) -> Run:
    while run.state == WORKING:
        part = Part({}, 0, None)
        try:
            with db.read() as conn:
                part = _part(conn, schedule, run)
            for name, data in part.files.items() if schedule.folder else ():
                put(Path(schedule.folder), name, data)
        except (ConfigError, ContractError, OSError) as error:
            reason = f"{error.strerror}: {schedule.folder}" if isinstance(error, OSError) else str(error)
            log.warning("a scheduled file could not be written", extra={"schedule": schedule.name, "reason": reason})
            values = {"state": FAILED, "reason": reason, "until_ms": now() + AGAIN_MS}
            part = Part({}, 0, None)
        else:
            values = _advanced(run, part) | {"until_ms": now() + lease_ms}
        if not _noted(db, run, owner, values, (schedule, part), now()):
            break
        with db.read() as conn:
            r = exchange_run.c
            run = run_from(conn.execute(select(exchange_run).where(r.name == run.name, r.day == run.day)).one())
    return run


def _advanced(run: Run, part: Part) -> dict[str, object]:
    zone, number = part.after or run.after
    return {"state": DONE if part.after is None else WORKING, "reason": "", "part": run.part + 1, "files": run.files + len(part.files),
            "intervals": run.intervals + part.intervals, "after_zone": zone, "after_point": number}  # fmt: skip


def _noted(db: Database, run: Run, owner: str, values: dict[str, object], step: tuple[Schedule, Part], now_ms: int) -> bool:
    """False where another took the run over: it was too slow here. What goes to a recipient is queued in the same transaction, and what
    lacks is noted."""
    r, (schedule, part) = exchange_run.c, step
    mine = and_(r.name == run.name, r.day == run.day, r.owner == owner, r.part == run.part, r.state == WORKING)
    with db.write() as conn:
        is_mine = bool(conn.execute(update(exchange_run).where(mine).values(**values, at_ms=now_ms)).rowcount)
        if is_mine:
            _hand_over(conn, schedule, run, part, values, now_ms)
        return is_mine


def _hand_over(conn: Connection, schedule: Schedule, run: Run, part: Part, values: dict[str, object], now_ms: int) -> None:
    if part.files:
        note_days(conn, schedule.taker, part.given, schedule.data_days(run.day), now_ms)
    if schedule.recipient:
        queue(conn, schedule.recipient, part.files, now_ms)
        if values["state"] == FAILED:
            report_error(conn, schedule.recipient, ErrorType.MISSING_DAY, f"run:{run.name}:{run.day}", str(values["reason"]), now_ms)
    if schedule.validated:
        day = schedule.data_days(run.day)[0]
        validated.note(conn, schedule.name, day, part.lacking, now_ms)
        lacks = validated.raise_alarm(conn, schedule, day, now_ms) if values["state"] == DONE else ""
        if lacks:
            log.warning("a day is missing", extra={"schedule": schedule.name, "reason": lacks})
            conn.execute(update(exchange_run).where(exchange_run.c.name == run.name, exchange_run.c.day == run.day).values(reason=lacks))


# ---- one part -------------------------------------------------------------------------------------------------


def _part(conn: Connection, schedule: Schedule, run: Run) -> Part:
    """The next usage points, all of one zone."""
    points = _next_points(conn, schedule, run.after, FORMATS[schedule.format].points)
    if not points:
        return Part({}, 0, None)
    days, after = schedule.data_days(run.day), (points[-1].zone, points[-1].number)
    ready, lacking = validated.split(conn, schedule, points, days[0]) if schedule.validated else (points, [])
    files, values = files_of(conn, schedule.wanted, ready, days, stem_of(schedule, run.day, run.files + 1)) if ready else ({}, 0)
    return Part(files, values, after, tuple(point.number for point in lacking), tuple(ready))


def stem_of(schedule: Schedule, day: int, number: int, late_ms: int = 0) -> str:
    """Name of the `number`-th file of a run, without its ending; the same after a kill. `late_ms`: it is sent later, beside its run.

    The market's name is the sender's DUNS number, IntervalData, a time as yyyymmddhhmmss and three digits; a thousand files on, the time
    is a second later (LSE file definition 0.4, section 1)."""
    if not schedule.sender:
        stem = f"{schedule.name}_{schedule.title(day)}"
        return f"{stem}_late_{late_ms}" if late_ms else f"{stem}_{number:04}"
    at_ms = (late_ms or schedule.at_ms(day)) + number // 1000 * 1000
    return f"{schedule.sender}IntervalData{local(at_ms, zone_of(schedule.zone)):%Y%m%d%H%M%S}{number % 1000:03}"


def _next_points(conn: Connection, schedule: Schedule, after: tuple[str, int], most: int) -> Sequence[Point]:
    u = usage_point.c
    query = select(u.usage_point_no, u.zone).where(tuple_(u.zone, u.usage_point_no) > after).order_by(u.zone, u.usage_point_no).limit(most)
    if schedule.points:
        query = query.where(or_(*(u.usage_point_no == number for number in schedule.points)))
    rows = conn.execute(query).all()
    return [point_of(conn, str(row.usage_point_no)) for row in rows if row.zone == rows[0].zone]


def put(folder: Path, name: str, data: bytes) -> None:
    """Whole or not at all, also after a loss of power. Raises OSError."""
    beside = folder / f".{name}.part"
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / name)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
