"""Orders to VEE: many days in a row of the store, claimed by one, and none ever lost, whatever comes and whoever is killed."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event, func, insert, inspect, select

from gridtally_cloud.store import meta
from gridtally_cloud.store.bulk import ClosedDays
from gridtally_cloud.store.close import close_days, close_silent_day, take_days
from gridtally_cloud.store.days import slots_of
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.orders import APART, DAYS_A_SPAN, anything_waits, claim, ordered_days, settle, spans
from gridtally_cloud.store.tables import channel, interval_block, vee_order, vee_run
from gridtally_cloud.store.work import Hand, work_item
from gridtally_cloud.vee.run import run_pending, status_of
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block
from support.stores import ON_POSTGRES
from support.vee_left import waiting_days

FIRST = START_MS // 86_400_000
NOW_MS = START_MS + 60 * 86_400_000
METERS, DAYS, HOURS = 4, 4, range(0, 24, 6)
HANDS = (Hand("ann:1", 10_000), Hand("bob:2", 10_000))


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """Meters that count by the hour."""
    street = new_street(tmp_path, METERS)
    rows = [{"channel_no": n, "usage_point_no": n, "quantity": 11, "direction": "import", "unit": "Wh", "exponent": 0, "period_s": 3600}
            for n in street.meters]  # fmt: skip
    with street.db.write() as conn:
        conn.execute(insert(channel), rows)
    yield street
    street.db.close()


def take(db: Database, names: Sequence[tuple[int, int]], value: int = 100) -> None:
    """Whole days, closed past the inbox."""
    refs, grids = [ChannelRef(number, "Wh", "UTC") for _, number in names], [slots_of(day, "UTC", 3600) for day, _ in names]
    values = array("q", chain.from_iterable([value] * grid.n for grid in grids))
    with db.write() as conn:
        take_days(conn, ClosedDays(refs, grids, values, [b""] * len(refs)), NOW_MS)


def rows_of(db: Database) -> tuple[list[Any], list[Any]]:
    """(orders, days with a row of their own)"""
    o, r = vee_order.c, vee_run.c
    with db.read() as conn:
        orders = conn.execute(select(o.day, o.first_no, o.last_no).order_by(o.day, o.first_no)).all()
        return [tuple(row) for row in orders], [tuple(row) for row in conn.execute(select(r.day, r.channel_no, r.status))]


def waiting(db: Database) -> list[tuple[int, int]]:
    with db.read() as conn:
        return waiting_days(conn)


def test_a_span_reaches_over_few_that_are_not_of_it_and_ends() -> None:
    days = {(1, n) for n in (3, 4, 4 + APART, 5 + 2 * APART, 9_000)} | {(2, n) for n in range(DAYS_A_SPAN + 1)}
    found = list(spans(days))
    assert found == [(1, 3, 4 + APART), (1, 5 + 2 * APART, 5 + 2 * APART), (1, 9_000, 9_000),
                     (2, 0, DAYS_A_SPAN - 1), (2, DAYS_A_SPAN, DAYS_A_SPAN)]  # fmt: skip
    assert all(any(day == d and first <= n <= last for d, first, last in found) for day, n in days)


def test_days_closed_together_wait_by_one_row_and_are_judged_by_their_blocks(street: Street) -> None:
    db, names = street.db, [(FIRST, 1), (FIRST, 2), (FIRST, 4)]
    take(db, names)
    assert rows_of(db) == ([(FIRST, 1, 4)], [])
    with db.read() as conn:
        assert ordered_days(conn, [FIRST]) == set(names)
        assert [status_of(conn, FIRST, n) for n in street.meters] == ["pending", "pending", "raw", "pending"]
    assert {(o.day, o.channel_no) for o in run_pending(db, NOW_MS, limit=2)} == set(names[:2])
    assert rows_of(db)[0] == [(FIRST, 1, 4)], "it stays until all of it is judged"
    assert [o.channel_no for o in run_pending(db, NOW_MS)] == [4]
    assert rows_of(db) == ([], [(FIRST, n, "validated") for n in (1, 2, 4)])
    assert run_pending(db, NOW_MS) == ()


def test_a_late_block_orders_its_day_anew_before_and_after_it_was_judged(street: Street) -> None:
    for turn in range(2):
        day = FIRST + turn
        take(street.db, [(day, 1), (day, 2)])
        if turn:
            run_pending(street.db, NOW_MS)
        with street.db.write() as conn:
            store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, day * 86_400_000, [7], 3600), NOW_MS)
        close_days(street.db, NOW_MS)
        assert (day, 1, "pending") in rows_of(street.db)[1]
        assert waiting(street.db) == ([(day, 1)] if turn else [(day, 1), (day, 2)])
        run_pending(street.db, NOW_MS)
        assert waiting(street.db) == rows_of(street.db)[0] == []


def test_days_in_other_hands_are_set_aside_and_wait(street: Street) -> None:
    take(street.db, [(FIRST, n) for n in street.meters])
    with street.db.write() as conn:
        conn.execute(insert(work_item).values(kind="validate", run_no=0, usage_point_no=2, owner="eve:3", lease_until_ms=NOW_MS + 1,
                                              attempts=1, state="open", note=""))  # fmt: skip
    assert {o.channel_no for o in run_pending(street.db, NOW_MS)} == {1, 3, 4}
    assert rows_of(street.db)[0] == waiting(street.db)[1:] == []
    assert run_pending(street.db, NOW_MS) == ()
    assert [o.channel_no for o in run_pending(street.db, NOW_MS + 2)] == [2]


@pytest.mark.skipif(not ON_POSTGRES, reason="on SQLite there is one writer")
def test_two_workers_claim_different_orders(street: Street) -> None:
    take(street.db, [(FIRST, n) for n in street.meters])
    take(street.db, [(FIRST + 1, n) for n in street.meters])
    with street.db.engine.begin() as one, street.db.engine.begin() as other:
        first, second, third = claim(one, METERS, ()), claim(other, METERS, ()), claim(other, METERS, ())
        assert {day for day, _ in first.points} == {FIRST}
        assert first.points.keys() | second.points.keys() == {(FIRST + n, no) for n in range(2) for no in street.meters}
        assert third == second, "its own again"
        settle(other, second, ())
    assert rows_of(street.db)[0] == [(FIRST, 1, METERS)]


# ---- whatever comes, and whoever is killed -------------------------------------------------------------------------


class Killed(BaseException):
    """As a kill: nothing after it happens, and what is not committed is gone."""


@contextmanager
def killed_after(db: Database, statements: int) -> Iterator[None]:
    left = Counter(statements=statements)

    def count(*_: Any) -> None:
        left["statements"] -= 1
        if left["statements"] < 0:
            raise Killed

    event.listen(db.engine, "before_cursor_execute", count)
    try:
        yield
    except Killed:
        pass
    finally:
        event.remove(db.engine, "before_cursor_execute", count)


class Story:
    """Things that happen to the street in any order; a minute between two, in which leases end."""

    def __init__(self, street: Street, rng: random.Random) -> None:
        self.db, self.rng, self.now_ms = street.db, rng, NOW_MS

    def _some(self) -> list[tuple[int, int]]:
        every = [(FIRST + day, number) for day in range(DAYS) for number in range(1, METERS + 1)]
        return sorted(self.rng.sample(every, self.rng.randint(1, 6)))

    def days_are_taken(self) -> None:
        take(self.db, self._some(), self.rng.randrange(3) * 50)

    def values_arrive(self) -> None:
        """Some of a day, which may be there already, as they are or others."""
        for day, number in self._some()[:3]:
            hour, n = self.rng.choice(HOURS), self.rng.choice((1, 6))
            with self.db.write() as conn:
                values = [self.rng.choice((50, 50, 9_000))] * n
                store_block(conn, ChannelRef(number, "Wh", "UTC"), block(number, day * 86_400_000 + hour * 3_600_000, values, 3600), NOW_MS)

    def days_are_closed(self) -> None:
        close_days(self.db, self.now_ms, self.rng.choice(HANDS))

    def a_silent_day_is_closed(self) -> None:
        with self.db.write() as conn:
            close_silent_day(conn, *self._some()[0], self.now_ms)

    def vee_runs(self) -> None:
        run_pending(self.db, self.now_ms, self.rng.choice((1, 3, 500)), self.rng.choice(HANDS))

    def goes_on(self) -> None:
        self.now_ms += 60_000
        step: Callable[[], None] = self.rng.choice((self.days_are_taken, self.values_arrive, self.days_are_closed,
                                                    self.a_silent_day_is_closed, self.vee_runs, self.vee_runs))  # fmt: skip
        if self.rng.random() < 0.4:
            with killed_after(self.db, self.rng.randrange(30)):
                step()
        else:
            step()

    def ends(self) -> None:
        """All that arrived is closed, and VEE runs until nothing waits for it."""
        self.now_ms += 60_000
        while close_days(self.db, self.now_ms):
            pass
        for _ in range(20):
            self.now_ms += 60_000
            run_pending(self.db, self.now_ms)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_left_unjudged_whatever_comes_and_whoever_is_killed(street: Street, seed: int) -> None:
    story, b, r = Story(street, random.Random(seed)), interval_block.c, vee_run.c
    for _ in range(40):
        story.goes_on()
    story.ends()
    assert waiting(street.db) == rows_of(street.db)[0] == []
    measured = select(b.day, b.channel_no, func.max(b.version)).where(b.source.in_(("raw", "late", "conflict", "silent")))
    with street.db.read() as conn:
        assert not anything_waits(conn, ())
        closed = conn.execute(measured.group_by(b.day, b.channel_no).order_by(b.day, b.channel_no)).all()
        assert conn.execute(select(r.day, r.channel_no, r.version).order_by(r.day, r.channel_no)).all() == closed
        assert conn.execute(select(func.count()).select_from(work_item)).scalar_one() == 0
    assert len(closed) > 6


# ---- stores of before ----------------------------------------------------------------------------------------------


def test_open_orders_are_carried_over_and_back(street: Street) -> None:
    """A release that knows rows of one day only finds them, and this one theirs."""
    names = [(FIRST + day, n) for day in range(2) for n in (1, 2, 4)]
    take(street.db, names)
    assert [o.channel_no for o in run_pending(street.db, NOW_MS, limit=1)] == [1]
    with street.db.write() as conn:
        settings = Config()
        settings.set_main_option("script_location", str(meta.MIGRATIONS))
        settings.attributes["connection"] = conn
        command.downgrade(settings, "r0039")
    with street.db.read() as conn:
        assert "vee_order" not in inspect(conn).get_table_names()
        assert {index["name"] for index in inspect(conn).get_indexes("vee_run")} == {"ix_vee_run_status"}
        r = vee_run.c
        rows = conn.execute(select(r.day, r.channel_no).where(r.status == "pending").order_by(r.day, r.channel_no)).all()
        assert [tuple(row) for row in rows] == names[1:]
    meta.prepare(street.db)
    with street.db.read() as conn:
        assert {index["name"] for index in inspect(conn).get_indexes("vee_run")} == {"ix_vee_run_pending"}
    assert waiting(street.db) == names[1:]
    run_pending(street.db, NOW_MS)
    assert waiting(street.db) == []
