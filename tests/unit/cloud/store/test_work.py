"""Work split by usage point: leases, what fails at one point, runs and their progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from gridtally_cloud import runs
from gridtally_cloud.store import work
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import switch_counter
from gridtally_cloud.store.work import Hand, Result, Run
from support.stores import fresh_store

ANN, BOB = Hand("ann:1", 10_000), Hand("bob:2", 10_000)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    yield db
    db.close()


def _note(conn: Connection, point: int) -> int:
    """Leaves a row, which a second time would be refused."""
    conn.execute(insert(switch_counter).values(meter_no=point, value=1))
    return point


def _done(db: Database) -> list[int]:
    with db.read() as conn:
        return sorted(conn.execute(select(switch_counter.c.meter_no)).scalars())


def _held(db: Database, hand: Hand, now_ms: int) -> set[int]:
    with db.read() as conn:
        return work.in_other_hands(conn, "close", now_ms, hand)


def test_what_one_has_claimed_is_left_by_the_other_until_the_lease_ends(db: Database) -> None:
    def bob_comes(conn: Connection, point: int) -> int:
        assert point == 1
        raise KeyboardInterrupt  # as a kill: nothing after the claim happens

    with pytest.raises(KeyboardInterrupt):
        work.share(db, "close", [1, 2, 3], bob_comes, 1_000, ANN)
    assert _held(db, BOB, 10_999) == {1, 2, 3}
    assert work.share(db, "close", [1, 2, 3, 4], _note, 10_999, BOB) == [4]
    assert _held(db, BOB, 11_000) == set()
    assert work.share(db, "close", [1, 2, 3], _note, 11_000, BOB) == [1, 2, 3]
    assert _done(db) == [1, 2, 3, 4]
    assert _held(db, ANN, 11_000) == set()


def test_a_lot_is_one_transaction_and_one_of_it_that_fails_stops_no_other(db: Database) -> None:
    tried: list[tuple[int, ...]] = []

    def fails_at_two(conn: Connection, points: Sequence[int]) -> list[int]:
        tried.append(tuple(points))
        return [_note(conn, point) // (point != 2) for point in points]

    assert work.share_lots(db, "close", [[1, 2, 3], [4, 5]], fails_at_two, 1_000, ANN) == [[1], [3], [4, 5]]
    assert tried == [(1, 2, 3), (1,), (2,), (3,), (4, 5)]
    assert _done(db) == [1, 3, 4, 5]
    assert _held(db, BOB, 1_001) == {2}
    assert work.share_lots(db, "close", [[2, 6]], lambda conn, points: [_note(conn, p) for p in points], 1_001, BOB) == [[6]]


def test_a_lease_that_ended_before_its_work_began_does_nothing(db: Database) -> None:
    def slow(conn: Connection, point: int) -> int:
        return _note(conn, point)

    def ann_is_slow(conn: Connection, point: int) -> int:
        """While Ann is at the first point her leases end; Bob does the second, and she finds it gone."""
        if point == 1:
            conn.exec_driver_sql("UPDATE work_item SET owner = 'bob:2' WHERE usage_point_no = 2")
        return slow(conn, point)

    assert work.share(db, "close", [1, 2], ann_is_slow, 1_000, ANN) == [1]
    assert _done(db) == [1]


def test_a_point_that_fails_stops_no_other_and_is_set_aside_in_the_end(db: Database) -> None:
    def fails_at_two(conn: Connection, point: int) -> int:
        _note(conn, point)
        if point == 2:
            raise ZeroDivisionError("nothing there")
        return point

    now_ms = 1_000
    assert work.share(db, "close", [1, 2, 3], fails_at_two, now_ms, ANN) == [1, 3]
    assert _done(db) == [1, 3]
    for _ in range(work.ATTEMPTS - 1):
        now_ms += ANN.lease_ms
        assert work.share(db, "close", [2], fails_at_two, now_ms, BOB) == []
    assert _held(db, ANN, now_ms + 60_000) == {2}
    with db.write() as conn:
        assert work.notes(conn, work.IN_THE_DATA) == [(2, "failed", "ZeroDivisionError: nothing there")]
        assert work.retry_failed(conn, now_ms) == 1
    assert work.share(db, "close", [2], _note, now_ms, ANN) == [2]


def test_a_run_goes_on_after_a_kill_and_says_how_far_it_is(db: Database) -> None:
    with db.write() as conn:
        work.start_run(conn, "bill", range(1, 13), {"from": "2026-01-01"}, "test", 1_000)
        (run,) = work.open_runs(conn)

    def killed_at_five(conn: Connection, run: Run, point: int) -> Result:
        _note(conn, point)
        if point == 5:
            raise KeyboardInterrupt
        return Result()

    def refuses_six(conn: Connection, run: Run, point: int) -> Result:
        _note(conn, point)
        return Result("refused", "no period") if point == 6 else Result()

    with pytest.raises(KeyboardInterrupt):
        work.carry_on(db, run, killed_at_five, 1_000, ANN)
    with db.read() as conn:
        assert work.runs(conn)[0].settled == 4
    assert work.carry_on(db, run, refuses_six, 1_000, BOB) == 2  # 11 and 12; 5 to 10 are Ann's for now
    assert work.carry_on(db, run, refuses_six, 1_000, BOB) == 0
    assert work.carry_on(db, run, refuses_six, 11_000, BOB) == 6
    assert work.carry_on(db, run, refuses_six, 11_000, BOB) == 0
    with db.read() as conn:
        (told,) = work.runs(conn)
        assert (told.total, told.done, told.refused, told.failed, told.ended_ms) == (12, 11, 1, 0, 11_000)
        assert work.notes(conn, run.run_no) == [(6, "refused", "no period")]
        assert work.open_runs(conn) == []
    assert _done(db) == list(range(1, 13))
    assert not runs.take_up(db, 12_000, ANN)
