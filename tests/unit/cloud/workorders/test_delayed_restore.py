"""A paid home whose switch does not close, as its concentrator tells: people are sent once, and not where the supply is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.ingest.measurements import take_event, take_status
from gridtally_cloud.workorders import no_power
from gridtally_cloud.workorders.service import OrderKind, WorkOrder, close_order, orders
from gridtally_shared.contract.messages import Event, MeterStatus
from gridtally_shared.events import BY_NAME
from gridtally_shared.supply_test import ARMED, CLOSED, OPEN
from support.payday import DAY_MS, HOUR_MS, Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    yield town
    town.close()


def told(town: Payday, switch: int, *, answering: bool = True, delayed: bool = True) -> None:
    with town.db.write() as conn:
        meter_no = account_of(conn, town.account).meter_no
        if delayed:
            take_event(town.arrival(conn), Event(meter_no, BY_NAME["restore_delayed"].code, town.now_ms, "tries=5 result=no_answer"))
        take_status(town.arrival(conn), MeterStatus(meter_no, town.now_ms, answering, switch))


def sent(town: Payday) -> list[WorkOrder]:
    no_power.judge(town.db, town.now_ms)
    with town.db.read() as conn:
        return [o for o in orders(conn, account_no=town.account) if o.is_open]


@pytest.mark.parametrize(("switch", "answering"), [(OPEN, True), (OPEN, False), (CLOSED, False)])
def test_people_are_sent_once_for_a_supply_that_is_owed_and_does_not_come(town: Payday, switch: int, answering: bool) -> None:
    told(town, switch, answering=answering)
    found = sent(town)
    assert {(o.kind, o.reason, o.opened_by) for o in found} == {
        (kind, "restore_failed", no_power.ACTOR) for kind in (OrderKind.FIELD, OrderKind.TROUBLE)
    }
    assert sent(town) == found
    with town.db.write() as conn:
        for each in found:
            close_order(conn, each.order_no, town.now_ms, "staff:dora")
    assert sent(town) == []
    town.wait(HOUR_MS)
    told(town, switch, answering=answering)
    assert len(sent(town)) == 2


@pytest.mark.parametrize("switch", [CLOSED, ARMED])
def test_nobody_is_sent_where_the_supply_is_back_or_waits_for_its_button(town: Payday, switch: int) -> None:
    told(town, OPEN)
    town.wait(HOUR_MS)
    told(town, switch, delayed=False)
    assert sent(town) == []


def test_a_delay_of_yesterday_sends_nobody(town: Payday) -> None:
    told(town, OPEN)
    town.wait(DAY_MS)
    assert sent(town) == []
