"""Two hands in the books of one account at the same time, on PostgreSQL: each amount moves once, and nobody decides on what is moved.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.billing import arrangements, assessments, deposits, late_run, service
from gridtally_cloud.billing.assessments import Rule, Wish
from gridtally_cloud.billing.receivables import outstanding_nano, post_payment
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.tables import account, app_user
from gridtally_cloud.store.days import day_of
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from support.meanwhile import meanwhile
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

ZONE = "Asia/Kolkata"
LATE = json.dumps({"kind": "late_payment", "currency": "INR", "percent": "1.5", "per": "month"})
PAID = nano("100")
Step = Callable[[Connection], object]


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """A home whose bill of November was due in December and is not paid; it is the second of January, and a deposit is held."""
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    with town.db.write() as conn:
        add_rule(conn, LATE, "", 0, START_MS, "desk")
        for login in ("asha", "ravi"):
            conn.execute(insert(app_user).values(login=login, name=login, role="operations", password_hash="", created_ms=0))
    town.now_ms = START_MS + 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    with town.db.write() as conn:
        service.issue_bill(conn, town.postpaid_account, START_MS, town.now_ms, town.now_ms, "desk")
        deposits.take(conn, town.postpaid_account, PAID, "R-1", town.now_ms, "desk")
    town.now_ms = START_MS + 62 * DAY_MS + HOUR_MS
    yield town
    town.close()


def _kinds(town: Payday, kind: str) -> int:
    with town.db.read() as conn:
        return len(conn.execute(select(receivable.c.receivable_no).where(receivable.c.kind == kind)).all())


def _owed(town: Payday) -> int:
    with town.db.read() as conn:
        return outstanding_nano(conn, town.postpaid_account)


def _held(town: Payday) -> int:
    with town.db.read() as conn:
        return deposits.held_nano(conn, town.postpaid_account)


def _pay(town: Payday, nano_amount: int) -> Step:
    return lambda conn: post_payment(conn, account_of(conn, town.postpaid_account), nano_amount, 1, town.now_ms)


def _month(town: Payday) -> Step:
    return lambda conn: late_run.charge_month(conn, town.postpaid_account, town.now_ms, "desk", "2026-12")


# ---- late payment and arrangements ------------------------------------------------------------------------------------


def test_a_month_is_charged_once(town: Payday) -> None:
    assert meanwhile(town.db, _month(town), _month(town)).result() == ()
    assert _kinds(town, "late") == 1


def test_a_month_by_hand_beside_the_end_of_the_month_waits_for_it(town: Payday) -> None:
    """Both used to wait for each other, and one of them came to nothing."""

    def ended(conn: Connection) -> None:
        arrangements.ended_of(conn, account_of(conn, town.postpaid_account), town.now_ms, "worker")

    assert meanwhile(town.db, ended, _month(town), _month(town)).result() == ()
    assert _kinds(town, "late") == 1


def test_a_charge_is_taken_back_once(town: Payday) -> None:
    with town.db.write() as conn:
        (charge,) = late_run.charge_month(conn, town.postpaid_account, town.now_ms, "desk", "2026-12")

    def waive(conn: Connection) -> None:
        late_run.waive(conn, charge.charge_no, town.now_ms, "desk", "asked")

    with pytest.raises(RefusedCommand, match="taken back already"):
        meanwhile(town.db, waive, waive).result()
    assert _kinds(town, "late_back") == 1


def test_one_arrangement_is_made_over_what_is_open_then(town: Payday) -> None:
    today = day_of(town.now_ms, ZONE)

    def make(conn: Connection) -> object:
        return arrangements.make(conn, town.postpaid_account, [today + 30, today + 60], [1, 1], 3, town.now_ms, "desk", "")

    owed_nano = _owed(town)
    made = meanwhile(town.db, _pay(town, PAID), make).result()
    assert sum(part.amount_nano for part in made.plan.instalments) == owed_nano - PAID
    with pytest.raises(RefusedCommand, match="runs: cancel it first"):
        meanwhile(town.db, _pay(town, 1), make).result()


def test_what_ended_beside_a_person_ends_once(town: Payday) -> None:
    today = day_of(town.now_ms, ZONE)
    with town.db.write() as conn:
        arrangements.make(conn, town.postpaid_account, [today + 1], [1], 0, town.now_ms, "desk", "")

    def cancel(conn: Connection) -> object:
        return arrangements.cancel(conn, town.postpaid_account, town.now_ms, "desk", "asked")

    def ended(conn: Connection) -> object:
        return arrangements.ended_of(conn, account_of(conn, town.postpaid_account), town.now_ms + 9 * DAY_MS, "worker")

    assert meanwhile(town.db, cancel, ended).result() == ()


# ---- deposits ---------------------------------------------------------------------------------------------------------


def test_a_deposit_is_given_back_or_applied_and_not_both(town: Payday) -> None:
    with town.db.write() as conn:
        _pay(town, _owed(town))(conn)

    def refund(conn: Connection) -> object:
        return deposits.refund(conn, town.postpaid_account, None, "R-2", town.now_ms, "desk")

    def again(conn: Connection) -> object:
        return deposits.refund(conn, town.postpaid_account, None, "R-3", town.now_ms, "desk")

    with pytest.raises(RefusedCommand, match="give back no more"):
        meanwhile(town.db, refund, again).result()
    assert (_held(town), _kinds(town, "deposit_refund")) == (0, 1)


def test_a_deposit_pays_only_what_a_payment_beside_it_left(town: Payday) -> None:
    left_nano = nano("10")
    before_nano = _owed(town)

    def apply(conn: Connection) -> object:
        return deposits.apply(conn, town.postpaid_account, town.now_ms, "desk")

    paid = meanwhile(town.db, _pay(town, before_nano - left_nano), apply).result()
    assert (paid, _owed(town)) == (left_nano, 0)


def test_one_receipt_is_one_deposit(town: Payday) -> None:
    def take(conn: Connection) -> object:
        return deposits.take(conn, town.postpaid_account, PAID, "R-9", town.now_ms, "desk")

    assert meanwhile(town.db, take, take).result() == 2 * PAID


def test_no_deposit_is_taken_of_who_pays_ahead_by_now(town: Payday) -> None:
    def changed(conn: Connection) -> None:
        conn.execute(update(account).where(account.c.account_no == town.postpaid_account).values(mode="prepaid"))

    def take(conn: Connection) -> object:
        return deposits.take(conn, town.postpaid_account, PAID, "R-9", town.now_ms, "desk")

    with pytest.raises(RefusedCommand, match="no deposit is asked for there"):
        meanwhile(town.db, changed, take).result()


def test_nothing_is_assessed_of_who_pays_ahead_by_now(town: Payday) -> None:
    first_day = day_of(START_MS, ZONE)
    wish = Wish(town.postpaid_account, first_day, first_day + 10, Rule.UNITS, (90_000,), nano("7"), 1000, "bypass")

    def changed(conn: Connection) -> None:
        conn.execute(update(account).where(account.c.account_no == town.postpaid_account).values(mode="prepaid"))

    with pytest.raises(RefusedCommand, match="its journal is corrected"):
        meanwhile(town.db, changed, lambda conn: assessments.propose(conn, wish, town.now_ms, "asha")).result()


def test_interest_of_a_day_is_posted_once(town: Payday) -> None:
    with town.db.write() as conn:
        rule = {"kind": "deposit_interest", "currency": "INR", "percent": "6", "per": "year"}
        add_rule(conn, json.dumps(rule), "", 0, START_MS, "desk")

    def interest(conn: Connection) -> int:
        account = account_of(conn, town.postpaid_account)
        return deposits.post_interest(conn, account, day_of(town.now_ms, ZONE), town.now_ms, "worker")

    assert meanwhile(town.db, interest, interest).result() == 0
    assert _held(town) > PAID


# ---- assessments ----------------------------------------------------------------------------------------------------


def test_an_assessment_is_decided_once_and_its_days_are_assessed_once(town: Payday) -> None:
    first_day = day_of(START_MS, ZONE)
    wish = Wish(town.postpaid_account, first_day, first_day + 10, Rule.UNITS, (90_000,), nano("7"), 1000, "bypass")

    def propose(conn: Connection) -> object:
        return assessments.propose(conn, wish, town.now_ms, "asha")

    with pytest.raises(RefusedCommand, match="no day is assessed twice"):
        meanwhile(town.db, propose, propose).result()

    def approve(conn: Connection) -> object:
        return assessments.approve(conn, 1, town.now_ms, "ravi")

    with pytest.raises(RefusedCommand, match="approved already"):
        meanwhile(town.db, approve, approve).result()
    assert _kinds(town, "assessment") == 1
