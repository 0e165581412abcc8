"""A sweep whose k-th database operation fails, for every k: all of it is there afterwards, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.drivers.model import MeterEvent, Reading, SwitchState
from gridtally_edge.journal.readings import MeterState, MeterUpdate, ReadingsJournal
from gridtally_edge.journal.schema import READINGS
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_shared.contract.messages import Lane

QUARTER = 900_000
T0 = 1_790_000_100_000 // QUARTER * QUARTER


class FailingDisk:
    """A connection whose `fail_at`-th statement ends with a disk error; ROLLBACK always works."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.count, self.fail_at = 0, 0

    def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        self.count += 1
        if self.count == self.fail_at and statement != "ROLLBACK":
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, parameters)

    def executemany(self, statement: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        self.count += 1
        if self.count == self.fail_at:
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.executemany(statement, rows)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        self._connection.close()


def sweep(now_ms: int) -> tuple[MeterUpdate, ...]:
    profile = MeterUpdate(
        MeterState(1, "1001", now_ms, True, SwitchState.CLOSED, mark_ms=now_ms), QUARTER,
        (Reading(1, now_ms, 5_000), Reading(21, now_ms, 230_000)), (Reading(11, now_ms - QUARTER, 50),),
        (MeterEvent(101, now_ms - 5_000), MeterEvent(7, now_ms - 4_000)),
    )  # fmt: skip
    formed = MeterUpdate(
        MeterState(2, "1002", now_ms, True, mark_ms=now_ms - 2 * QUARTER), QUARTER,
        (Reading(1, now_ms - 2 * QUARTER, 100), Reading(1, now_ms, 160)), forms_intervals=True,
    )  # fmt: skip
    return profile, formed


def content(connection: sqlite3.Connection) -> tuple[object, ...]:
    tables = ("sample", "interval", "event", "meter_state", "outbox_lane", "outbox_entry")
    return tuple(connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables)


def test_all_or_nothing_whichever_operation_fails(tmp_path: Path) -> None:
    migrate(tmp_path / "whole.db", READINGS)
    counter = FailingDisk(open_store(tmp_path / "whole.db", READINGS))
    journal = ReadingsJournal(counter)  # type: ignore[arg-type]
    started = counter.count
    journal.commit_sweep(sweep(T0), Lane.LIVE, T0)
    operations = counter.count - started
    counter.close()
    assert operations > 20
    for failing in range(1, operations + 1):
        path = tmp_path / f"{failing}.db"
        migrate(path, READINGS)
        disk = FailingDisk(open_store(path, READINGS))
        broken = ReadingsJournal(disk)  # type: ignore[arg-type]
        before = content(disk)  # type: ignore[arg-type]
        disk.count, disk.fail_at = 0, failing
        with pytest.raises(sqlite3.OperationalError, match="disk I/O"):
            broken.commit_sweep(sweep(T0), Lane.LIVE, T0)
        assert broken.states == {}
        disk.close()
        again = open_store(path, READINGS)
        assert content(again) == before
        outcome = ReadingsJournal(again).commit_sweep(sweep(T0), Lane.LIVE, T0)
        assert (outcome.samples, outcome.intervals, len(outcome.events)) == (4, 3, 2)
        assert [row[1:3] for row in again.execute("SELECT * FROM outbox_entry ORDER BY lane, seq")] == [
            (Lane.URGENT, 1), (Lane.LIVE, 1), (Lane.LIVE, 2), (Lane.LIVE, 3), (Lane.LIVE, 4), (Lane.LIVE, 5)]  # fmt: skip
        again.close()
