"""Days that lacked when their run passed go out when VEE has judged them: the worker's part of `validated.py`.

* A turn takes each day of a schedule that lacks something, and sends at most one file of it: the next turn takes the rest.
* The file is queued, or in its folder, before its usage points count as sent: killed between, a folder gets it a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from gridtally_cloud.exchange import validated
from gridtally_cloud.exchange.contents import files_of
from gridtally_cloud.exchange.deliveries import queue
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.given import note_days
from gridtally_cloud.exchange.points import Point
from gridtally_cloud.exchange.schedules import Schedule, all_schedules
from gridtally_cloud.exchange.sending import put, stem_of
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import ConfigError, ContractError

log = logging.getLogger(__name__)

MOST, LAST_NUMBER = 500, 999
"""Days in a turn; the market's file numbers are given from the last one down, so that no late file has the name of a run's."""


def make_good(db: Database, now_ms: int) -> int:
    """How many usage points were sent later."""
    with db.read() as conn:
        lacks = validated.missing(conn)
        schedules = {schedule.name: schedule for schedule in all_schedules(conn)} if lacks else {}
    found = [(schedules[each.schedule], each.day) for each in lacks if each.schedule in schedules][:MOST]
    return sum(_send(db, schedule, day, LAST_NUMBER - n, now_ms) for n, (schedule, day) in enumerate(found))


def _send(db: Database, schedule: Schedule, day: int, number: int, now_ms: int) -> int:
    with db.write() as conn:
        try:
            files, points = _files(conn, schedule, day, number, now_ms)
            for name, data in files.items() if schedule.folder else ():
                put(Path(schedule.folder), name, data)
        except (ConfigError, ContractError, OSError) as error:
            log.warning("a late day could not be sent", extra={"schedule": schedule.name, "fault": str(error)})
            return 0
        if schedule.recipient:
            queue(conn, schedule.recipient, files, now_ms)
        note_days(conn, schedule.taker, points, (day, day), now_ms)
        validated.note_sent(conn, schedule.name, day, [point.number for point in points], now_ms)
        return len(points)


def _files(conn: Connection, schedule: Schedule, day: int, number: int, now_ms: int) -> tuple[dict[str, bytes], Sequence[Point]]:
    points = validated.came(conn, schedule, day, FORMATS[schedule.format].points)
    if not points:
        return {}, []
    stem = stem_of(schedule, day + schedule.ago, number, now_ms)
    return files_of(conn, schedule.wanted, points, (day, day), stem)[0], points
