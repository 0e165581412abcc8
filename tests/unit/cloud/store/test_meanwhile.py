"""The way down with several workers at the same time, on PostgreSQL: each message in one worker's hands, and none after its answer.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from gridtally_cloud.store import outbox
from support.cloud_store import START_MS, Street, new_street
from support.meanwhile import meanwhile
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

LEASE_MS = 10_000


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """Three messages, the last one the most urgent."""
    street = new_street(tmp_path)
    with street.db.write() as conn:
        for ref, priority in (("a", 50), ("b", 50), ("c", 5)):
            outbox.put(conn, street.dcu, "command", ref, b"", START_MS, priority)
    yield street
    street.db.close()


def _claim(owner: str, limit: int = 100, at_ms: int = START_MS) -> Callable[[Connection], list[str]]:
    return lambda conn: [due.ref for due in outbox.claim(conn, owner, at_ms, LEASE_MS, limit)]


def _done(ref: str) -> Callable[[Connection], None]:
    return lambda conn: outbox.done(conn, "command", ref, START_MS)


def test_two_workers_take_different_messages_the_urgent_ones_first(street: Street) -> None:
    first: list[list[str]] = []
    second = meanwhile(street.db, lambda conn: first.append(_claim("one", 2)(conn)), _claim("two"))
    assert (first, second.result()) == ([["c", "a"]], ["b"])


def test_what_is_being_answered_is_not_taken(street: Street) -> None:
    assert meanwhile(street.db, _done("c"), _claim("one")).result() == ["a", "b"]


def test_what_is_answered_while_it_is_sent_stays_answered(street: Street) -> None:
    meanwhile(street.db, _claim("one", 1), _done("c")).result()
    with street.db.write() as conn:
        outbox.sent(conn, "one", 3, START_MS, START_MS)
        assert _claim("one")(conn) == ["a", "b"]


def test_who_was_too_slow_takes_nothing_out_of_anothers_hands(street: Street) -> None:
    later_ms = START_MS + LEASE_MS
    with street.db.write() as conn:
        _claim("slow")(conn)
    meanwhile(street.db, _claim("quick", at_ms=later_ms), lambda conn: outbox.sent(conn, "slow", 1, later_ms, later_ms)).result()
    with street.db.write() as conn:
        assert _claim("third", at_ms=later_ms)(conn) == []
        assert [outbox.attempts_of(conn, "command", ref) for ref in "abc"] == [2, 2, 2]
