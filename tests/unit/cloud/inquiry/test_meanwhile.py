"""Meters asked by two at the same time, on PostgreSQL: no limit of a day is passed, no rate, and no gap is asked for twice.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.inquiry import pace, requests, retailers, service
from gridtally_cloud.inquiry.received import report
from gridtally_cloud.inquiry.requests import DataRequest, Kind, State
from gridtally_cloud.inquiry.service import Asker, Question, Reason, Refusal
from gridtally_cloud.store.days import day_of
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import channel, command
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.quantities import INTERVAL_IMPORT
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block
from support.meanwhile import meanwhile
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

SIGNER = KeySigner.from_seed(b"\x06" * 32)
NOW_MS = START_MS + MS_PER_DAY + 3 * MS_PER_HOUR
DAY = day_of(START_MS, "UTC")


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """Two meters with a day that has a hole in it."""
    street = new_street(tmp_path)
    with street.db.write() as conn:
        for n in (1, 2):
            conn.execute(insert(channel).values(channel_no=n, usage_point_no=n, quantity=INTERVAL_IMPORT.code, direction="import",
                                                unit="Wh", exponent=0, period_s=900))  # fmt: skip
            for first, count in ((0, 20), (24, 72)):
                store_block(conn, ChannelRef(n, "Wh", "UTC"), block(n, START_MS + first * 900_000, [100] * count), NOW_MS)
    yield street
    street.db.close()


def _ask(conn: Connection, point: int = 1) -> DataRequest | Refusal:
    return service.ask(conn, SIGNER, Asker("", "desk"), Question(point, Kind.POWER_STATUS), NOW_MS)


def _commands(street: Street) -> int:
    with street.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(command)).scalar_one())


def test_the_last_answer_of_the_day_is_given_once(street: Street) -> None:
    second = meanwhile(street.db, _ask, _ask).result()
    assert isinstance(second, Refusal)
    assert (second.reason, _commands(street)) == (Reason.DAILY_LIMIT, 1)


def test_a_limit_that_is_set_meanwhile_counts_from_the_next_question_on(street: Street) -> None:
    closed = retailers.Limit(retailers.EVERYWHERE, Kind.POWER_STATUS, 0)
    first = meanwhile(street.db, lambda conn: retailers.set_limit(conn, closed, "desk", NOW_MS), _ask).result()
    assert isinstance(first, DataRequest)
    with street.db.write() as conn:
        assert isinstance(_ask(conn, 2), Refusal)


def test_two_questions_at_once_do_not_pass_the_rate(street: Street) -> None:
    with street.db.write() as conn:
        pace.set_per_minute(conn, 1, "desk", NOW_MS)
    second = meanwhile(street.db, _ask, lambda conn: _ask(conn, 2)).result()
    assert isinstance(second, DataRequest)
    assert (second.state, _commands(street)) == (State.QUEUED, 1)


def test_a_gap_that_two_ask_for_at_once_is_asked_for_once(street: Street) -> None:
    def ask(conn: Connection) -> requests.Asked:
        return requests.ask_gaps(conn, SIGNER, report(conn, DAY, DAY, NOW_MS, 1), "desk", NOW_MS)

    second = meanwhile(street.db, ask, ask).result()
    assert (second.requests, second.under_way, _commands(street)) == ((), 1, 1)
