"""A schedule comes to the concentrator a day before its start, at once where less is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.commands.receipts import queue_due
from gridtally_cloud.programs import service
from gridtally_cloud.programs.model import Booking
from gridtally_cloud.store.tables import outbox_down
from gridtally_edge.prepay.events import CommandArrived
from gridtally_edge.prepay.rows import ScheduleRow, some
from gridtally_shared.schedules.document import Programme
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, SIGNER, Payday


def book(town: Payday, in_ms: int) -> int:
    start_ms = town.now_ms + in_ms
    wish = Booking(Programme.A, town.account, start_ms, start_ms + HOUR_MS, "desk")
    with town.db.write() as conn:
        return service.book(conn, SIGNER, wish, town.now_ms).schedule_no


def held(town: Payday) -> list[int]:
    """What the concentrator holds after everything that is due was sent."""
    with town.db.write() as conn:
        queue_due(conn, SIGNER, town.now_ms)
        sent = select(outbox_down.c.payload).where(outbox_down.c.channel == "command").order_by(outbox_down.c.outbox_no)
        envelopes = [bytes(x) for x in conn.execute(sent).scalars()]
    for envelope in envelopes:
        town.tell(CommandArrived(envelope))
    return [row.schedule_no for row in some(town.money, ScheduleRow, "ORDER BY schedule_no")]


@pytest.mark.covers("C3-S2.9")
def test_an_event_in_three_days_is_there_a_day_before_and_one_in_five_hours_at_once(tmp_path: Path) -> None:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    near, far = book(town, 5 * HOUR_MS), book(town, 3 * DAY_MS)
    assert held(town) == [near]
    town.wait(2 * DAY_MS - HOUR_MS)
    assert far not in held(town)
    town.wait(HOUR_MS)
    assert far in held(town), "a day before its start, not later"
    town.close()
