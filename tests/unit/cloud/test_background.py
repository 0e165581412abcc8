"""Work beside a worker's messages: it holds up nobody, is done once at a time, and one that fails is tried again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.background import EachBeside, beside
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import LinkDown
from support.stores import fresh_store
from support.waiting import wait_until


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    yield db
    db.close()


def test_who_starts_it_waits_for_nothing_and_it_is_done_once_at_a_time_by_all_processes(db: Database) -> None:
    answered, asked = threading.Event(), list[int]()

    def ask(now_ms: int) -> None:
        asked.append(now_ms)
        assert answered.wait(10)

    start, other = beside(db, "bank", ask), Database(db.url)
    start(1)
    wait_until(lambda: asked == [1], 10, "it is asked")
    start(2)
    with other.alone("job bank") as theirs:
        assert not theirs
    answered.set()
    wait_until(lambda: start(3) or 3 in asked, 10, "asked again once it was answered")
    assert asked[:2] == [1, 3]
    other.close()


def test_one_that_fails_is_begun_again(db: Database) -> None:
    asked = list[int]()

    def ask(now_ms: int) -> None:
        asked.append(now_ms)
        raise LinkDown("the bank does not answer")

    start = beside(db, "bank", ask)
    wait_until(lambda: start(1) or len(asked) > 1, 10, "asked again")


def test_each_is_in_its_own_thread_once_at_a_time_and_only_so_many_at_once() -> None:
    answered = {name: threading.Event() for name in ("slow", "slower", "third")}
    asked = list[str]()

    def ask(name: str, now_ms: int) -> None:
        asked.append(name)
        assert answered[name].wait(10)

    each = EachBeside("receiver", lambda now_ms: tuple(answered), ask, most=2)
    for now_ms in range(3):
        each.start_due(now_ms)
    wait_until(lambda: len(asked) == 2, 10, "two are asked")
    assert sorted(asked) == ["slow", "slower"]
    answered["slow"].set()
    wait_until(lambda: each.start_due(4) or asked.count("slow") + asked.count("third") > 1, 10, "the next one is asked where one is done")
    for event in answered.values():
        event.set()
    wait_until(lambda: each.start_due(5) or "third" in asked, 10, "and all in the end")
    assert asked.count("slower") >= 1
