"""Two transactions at the same time on PostgreSQL: the second begins while the first is open, and ends after it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, text

from gridtally_cloud.store.db import Database
from support.waiting import wait_until

Step = Callable[[Connection], Any]
WAITS = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()"


def meanwhile(db: Database, first: Step, second: Step, rest: Step | None = None) -> Future[Any]:
    """What came of `second`: it was begun when `first` had done all but commit, and had either ended or was waiting when `rest` of the
    first was done, if any, and at the commit."""

    def other() -> Any:
        with db.write() as conn:
            return second(conn)

    return beside(db, first, other, rest)


def beside(db: Database, first: Step, other: Callable[[], Any], rest: Step | None = None) -> Future[Any]:
    """The same with work that opens its own transactions."""
    with ThreadPoolExecutor(1) as pool:
        with db.write() as conn:
            first(conn)
            begun = pool.submit(other)
            wait_until(lambda: begun.done() or _waits(db), 10, "the other transaction waits or has ended")
            if rest is not None:
                rest(conn)
        begun.exception()
    return begun


def _waits(db: Database) -> bool:
    with db.engine.connect() as conn:
        return conn.execute(text(WAITS)).first() is not None
