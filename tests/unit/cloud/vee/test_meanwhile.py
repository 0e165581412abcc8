"""What comes in while a day is judged or edited is not lost: on PostgreSQL, where others write at the same time.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.store.close import GRACE_MS, close_day, close_days
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef, days_slots, hold_points
from gridtally_cloud.vee.edit import Asked, Reason, decide, find, make
from gridtally_cloud.vee.edits import EditState
from gridtally_cloud.vee.edits import Step as EditStep
from gridtally_cloud.vee.run import run_day, run_pending, status_of
from gridtally_cloud.vee.tools import Tool
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.quality import Quality
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block
from support.meanwhile import Step, meanwhile
from support.stores import ON_POSTGRES
from support.vee_store import add_channel

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

DAY_MS, QUARTER_MS = 86_400_000, 900_000
DAY, NOW_MS = START_MS // DAY_MS, START_MS + 2 * DAY_MS + GRACE_MS
DAYLIGHT = [50 + place * (95 - place) // 10 + place % 3 for place in range(96)]
GUESSED_BY_THE_METER = int(Quality.PARTIAL).to_bytes(2, "little") * 4
REF = ChannelRef(1, "Wh", "UTC")
ASKED = Asked(1, START_MS, START_MS + QUARTER_MS, Tool.SET, "5", Reason.SITE_VISIT, "asha")


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """A meter with a judged day, of which the last four intervals are partial."""
    made = new_street(tmp_path, 1)
    with made.db.write() as conn:
        conn.execute(insert(app_user), [{"login": name, "name": name, "role": "operations", "password_hash": "", "created_ms": 0}
                                        for name in ("asha", "ravi")])  # fmt: skip
        add_channel(conn, 1)
        store_block(conn, REF, block(1, START_MS, DAYLIGHT[:92]), NOW_MS)
        store_block(conn, REF, block(1, START_MS + 92 * QUARTER_MS, [1, 2, 3, 4], quality=GUESSED_BY_THE_METER), NOW_MS)
    close_days(made.db, NOW_MS)
    run_pending(made.db, NOW_MS)
    yield made
    made.db.close()


def _late(conn: Connection) -> None:
    store_block(conn, REF, block(1, START_MS + 92 * QUARTER_MS, DAYLIGHT[92:]), NOW_MS)
    close_day(conn, DAY, 1, NOW_MS)


def _meanwhile(street: Street, first: Step, second: Step) -> Future[Any]:
    def holding(conn: Connection) -> None:
        hold_points(conn, [1])
        first(conn)

    return meanwhile(street.db, holding, second)


def test_a_day_is_judged_with_what_came_in_just_before(street: Street) -> None:
    _meanwhile(street, _late, lambda conn: run_day(conn, DAY, 1, NOW_MS)).result()
    with street.db.read() as conn:
        assert [slot.value for _, slot in sorted(days_slots(conn, 1, [DAY], estimates=True).items())] == DAYLIGHT
        assert status_of(conn, DAY, 1) == "validated"


def test_an_edit_waits_for_a_day_that_something_came_for(street: Street) -> None:
    """It would have marked the day as judged, and what came late would never have been."""
    with pytest.raises(RefusedCommand, match="not judged yet"):
        _meanwhile(street, _late, lambda conn: make(conn, ASKED, NOW_MS)).result()
    with street.db.read() as conn:
        assert status_of(conn, DAY, 1) == "pending"


def test_two_persons_decide_one_after_the_other(street: Street) -> None:
    with street.db.write() as conn:
        number = make(conn, ASKED, NOW_MS).edit_no
    with pytest.raises(RefusedCommand, match="can not be taken this step"):
        _meanwhile(street, lambda conn: decide(conn, number, EditStep.UNDO, "asha", NOW_MS),
                   lambda conn: decide(conn, number, EditStep.UNDO, "ravi", NOW_MS)).result()  # fmt: skip
    with street.db.read() as conn:
        assert find(conn, number).state is EditState.UNDONE
