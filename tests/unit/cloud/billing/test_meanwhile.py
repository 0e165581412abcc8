"""Bills, payments and VEE at the same time, on PostgreSQL: no payment is counted twice or not at all, no period is billed twice.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from gridtally_cloud import runs
from gridtally_cloud.billing import rebill, service
from gridtally_cloud.billing.model import BillView, LineKind
from gridtally_cloud.billing.receivables import outstanding_nano, post_payment
from gridtally_cloud.billing.tables import bill as bill_table
from gridtally_cloud.billing.usage import channel_of
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_cloud.store import work
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.work import Hand, work_item
from gridtally_cloud.vee.edit import Asked, Reason, make
from gridtally_cloud.vee.run import run_pending
from gridtally_cloud.vee.tools import Tool
from gridtally_shared.contract.messages import Intervals
from gridtally_shared.money import nano
from support.edge_peer import block
from support.meanwhile import meanwhile
from support.payday import DAY_MS, HOUR_MS, METERS, OPENED_WH, START_MS, Payday
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

DAYS, PER_DAY = 2, [40 + place % 7 for place in range(96)]
PAID = nano("5")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """Three billed homes of which two days are read; the third one's days are judged by VEE."""
    town = Payday(tmp_path, Plan("dcu-pay", postpaid=len(METERS)))
    for home in range(len(METERS)):
        town.read(home, OPENED_WH)
    for day in range(DAYS):
        town.now_ms += DAY_MS
        with town.db.write() as conn:
            take_intervals(town.arrival(conn), Intervals((block(town.homes[2].meter_no, START_MS + day * DAY_MS, PER_DAY),)))
        for home in range(len(METERS)):
            town.read(home, OPENED_WH + (day + 1) * sum(PER_DAY))
    town.now_ms += GRACE_MS + HOUR_MS
    for home in range(len(METERS)):
        town.read(home, OPENED_WH + DAYS * sum(PER_DAY) + 100)
    close_days(town.db, town.now_ms)
    run_pending(town.db, town.now_ms)
    with town.db.write() as conn:
        conn.execute(insert(app_user).values(login="asha", name="asha", role="operations", password_hash="", created_ms=0))
    yield town
    town.close()


def _bill(town: Payday, conn: Connection, first: int, until: int) -> BillView:
    span = START_MS + first * DAY_MS, START_MS + until * DAY_MS
    return service.issue_bill(conn, town.postpaid_account, *span, town.now_ms, "desk")


def _pay(town: Payday, conn: Connection) -> None:
    post_payment(conn, account_of(conn, town.postpaid_account), PAID, 1, town.now_ms)


def _owed(town: Payday) -> int:
    with town.db.read() as conn:
        return outstanding_nano(conn, town.postpaid_account)


@pytest.mark.parametrize("payment_first", [True, False])
def test_a_payment_beside_a_bill_counts_once(town: Payday, payment_first: bool) -> None:
    """It stands on that bill or on the next one, and what is owed in the end is what both bills charge, less the payment."""
    steps = [lambda conn: _pay(town, conn), lambda conn: _bill(town, conn, 0, 1)]
    first, second = steps if payment_first else reversed(steps)
    meanwhile(town.db, first, second).result()
    with town.db.write() as conn:
        _bill(town, conn, 1, 2)
    with town.db.read() as conn:
        views = [service.bill(conn, row.bill_no) for row in service.list_bills(conn, town.postpaid_account)]
    lines = [line for view in views for line in view.bill.lines]
    assert [line.amount_nano for line in lines if line.kind is LineKind.PAYMENT] == [-PAID]
    charged = sum(line.amount_nano for line in lines if line.kind is not LineKind.PAYMENT)
    assert abs(_owed(town) - (charged - PAID)) < 2 * nano("0.01")
    assert max(views, key=lambda view: view.bill.to_ms).bill.closing_nano == _owed(town)


def test_two_desks_bill_a_period_once(town: Payday) -> None:
    other = meanwhile(town.db, lambda conn: _bill(town, conn, 0, 1), lambda conn: _bill(town, conn, 0, 1)).result()
    with town.db.read() as conn:
        assert [row.bill_no for row in service.list_bills(conn, town.postpaid_account)] == [other.bill_no]
        assert outstanding_nano(conn, town.postpaid_account) == other.bill.closing_nano


def test_what_vee_changes_beside_a_bill_is_restated_or_on_it(town: Payday) -> None:
    def changed(conn: Connection) -> None:
        number = channel_of(conn, account_of(conn, town.postpaid_account).usage_point_no)
        assert number is not None
        make(conn, Asked(number, START_MS, START_MS + DAY_MS, Tool.SET, "99", Reason.SITE_VISIT, "asha", "seen"), town.now_ms)

    view = meanwhile(town.db, changed, lambda conn: _bill(town, conn, 0, 1)).result()
    shown = view.bill.days[0].used_wh
    with town.db.read() as conn:
        assert shown == 96 * 99 or [p.bill_no for p in rebill.proposals(conn)] == [view.bill_no]


def test_workers_that_make_bills_at_the_same_time_number_them_without_a_gap(town: Payday) -> None:
    with town.db.write() as conn:
        arguments = {"from": "2026-11-01", "to": "2026-11-02", "at_ms": town.now_ms}
        work.start_run(conn, "bill", runs.points_for(conn, "bill"), arguments, "desk", town.now_ms)
    start = threading.Barrier(3)

    def worker(number: int) -> None:
        start.wait(10)
        while runs.take_up(town.db, town.now_ms, Hand(f"worker {number}")):
            pass

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with town.db.read() as conn:
        assert [*conn.execute(select(bill_table.c.bill_id).order_by(bill_table.c.bill_id)).scalars()] == [1, 2, 3]
        assert {*conn.execute(select(work_item.c.state, work_item.c.attempts))} == {("done", 1)}
