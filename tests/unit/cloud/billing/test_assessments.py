"""Energy not measured after tampering: assessed by a rule, approved by a second person, a line of the next bill beside the intervals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.billing import assessment_cli, assessments, late_run, service
from gridtally_cloud.billing.assessments import AssessmentState, Wish, amount_of
from gridtally_cloud.billing.model import BillState, BillView, LineKind
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.receivables import due_of_bills
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.tables import account, app_user
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_cloud.store.tables import interval_block, interval_inbox
from gridtally_shared.contract.messages import Intervals
from gridtally_shared.errors import GridtallyError, RefusedCommand
from gridtally_shared.money import nano
from support.edge_peer import block
from support.payday import DAY_MS, OPENED_WH, START_MS, Payday
from support.typed import typed

LOW, FULL = 10, 40
"""Wh a quarter hour while the meter was bypassed, and afterwards."""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """Ten days with a bypass, ten without; time stands at 21 November."""
    town = Payday(tmp_path)
    register = OPENED_WH
    town.read(2, register)
    for day in range(20):
        values = [LOW if day < 10 else FULL] * 96
        town.now_ms += DAY_MS
        with town.db.write() as conn:
            take_intervals(town.arrival(conn), Intervals((block(town.homes[2].meter_no, START_MS + day * DAY_MS, values),)))
        register += sum(values)
        town.read(2, register)
    with town.db.write() as conn:
        for login, role in (("asha", "operations"), ("ravi", "operations"), ("desk", "desk")):
            conn.execute(insert(app_user).values(login=login, name=login, role=role, password_hash="", created_ms=0))
    yield town
    town.close()


BY_AVERAGE = ("average", "2026-11-11", "2026-11-21", "--price", "7", "--times", "2", "--reason", "bypass seen on site")


def say(town: Payday, action: str, *words: str) -> int:
    return typed(town, assessment_cli, "assessment", action, *words)


def propose(town: Payday, *words: str, days: tuple[str, str] = ("2026-11-01", "2026-11-11"), by: str = "asha") -> int:
    return say(town, "propose", str(town.postpaid_account), *days, *(words or BY_AVERAGE), "--by", by)


def bill(town: Payday, first: int, until: int) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, START_MS + first * DAY_MS, START_MS + until * DAY_MS, town.now_ms, "desk")


def owed(town: Payday) -> int:
    with town.db.read() as conn:
        return service.outstanding_nano(conn, town.postpaid_account)


def held_intervals(town: Payday) -> list[tuple[object, ...]]:
    with town.db.read() as conn:
        return [tuple(row) for table in (interval_inbox, interval_block) for row in conn.execute(select(table))]


UNMEASURED = 10 * 96 * (FULL - LOW)
AMOUNT = UNMEASURED * nano("7") * 2 // 1000


@pytest.mark.covers_part("BYPL-5.6b", "I2-S7.6.2")
def test_the_next_bill_has_the_assessment_and_no_interval_is_another(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    before = held_intervals(town)
    assert before
    assert propose(town) == 0
    assert owed(town) == 0, "nothing is owed before a second person stands for it"
    with pytest.raises(RefusedCommand, match="another person has to approve"):
        say(town, "approve", "1", "--by", "asha")
    assert say(town, "approve", "1", "--by", "ravi") == 0
    assert owed(town) == AMOUNT == nano("403.20")
    with pytest.raises(RefusedCommand, match="approved already"):
        say(town, "approve", "1", "--by", "ravi")
    view = bill(town, 0, 20)
    (line,) = (line for line in view.bill.lines if line.kind is LineKind.ASSESSMENT)
    assert (line.amount_nano, line.quantity, line.reference) == (AMOUNT, UNMEASURED, "A-1")
    assert (line.from_ms, line.to_ms) == (START_MS, START_MS + 10 * DAY_MS)
    assert view.bill.used_wh == 10 * 96 * (FULL + LOW), "what was measured stays what it was"
    assert held_intervals(town) == before
    assert view.bill.closing_nano == owed(town) == view.due_nano
    for language in TEXTS:
        row = next(row for row in bill_page(view, language).rows if "A-1" in row.what)
        assert ("28,800" if language == "es" else "28.800") in row.how[0]
        assert len(row.how) == 3, "the amount, the days, the rule"
    with town.db.read() as conn:
        rows = conn.execute(select(receivable).where(receivable.c.kind == "assessment")).all()
        actions = [row.action for row in audit_rows(conn, limit=20)]
    assert [(r.debit_account, r.credit_account, r.amount_nano) for r in rows] == [("receivable", "assessment", AMOUNT)]
    assert {"assessment.proposed", "assessment.approved"} <= set(actions)
    town.pay("1000", town.postpaid_account)
    with town.db.read() as conn:
        assert service.bill(conn, view.bill_no).state is BillState.PAID
        assert sum(due.rest_nano for due in due_of_bills(conn, town.postpaid_account).values()) == 0
    capsys.readouterr()
    assert say(town, "list", str(town.postpaid_account)) == 0
    assert "38400 Wh less 9600 Wh measured, 403.2  approved (asha, ravi) bypass seen on site" in capsys.readouterr().out


def test_taken_back_it_is_owed_no_more_and_both_stand_on_the_bill(town: Payday) -> None:
    propose(town)
    say(town, "approve", "1", "--by", "ravi")
    assert say(town, "take-back", "1", "--by", "ravi") == 0
    assert owed(town) == 0
    kinds = {line.kind: line.amount_nano for line in bill(town, 0, 20).bill.lines}
    assert kinds[LineKind.ASSESSMENT] == -kinds[LineKind.ASSESSMENT_BACK] == AMOUNT
    with pytest.raises(RefusedCommand, match="nothing to take back"):
        say(town, "take-back", "1", "--by", "ravi")


def test_refused_by_the_second_person_nothing_is_owed_and_it_can_be_proposed_anew(town: Payday) -> None:
    propose(town)
    assert say(town, "refuse", "1", "--by", "ravi") == 0
    assert owed(town) == 0
    assert propose(town, "load", "500", "8", "0.6", "--price", "7", "--reason", "seen") == 0  # 500 x 8 x 0.6 x 10 = 24 kWh, 9.6 measured
    assert propose(town, "units", "12.5", "--price", "7", "--reason", "seen", days=("2026-11-11", "2026-11-12")) == 0
    with town.db.read() as conn:
        found = assessments.assessments_of(conn, town.postpaid_account)
    assert [(a.assessed_wh, a.measured_wh, a.amount_nano) for a in found[1:]] == [
        (24_000, 9_600, nano("100.80")), (12_500, 3_840, nano("60.62"))]  # fmt: skip
    assert found[0].state is AssessmentState.REFUSED


def test_an_unpaid_assessment_is_late_as_its_bill_is(town: Payday) -> None:
    """It is due with the bill that shows it, and bears the same late payment charge."""
    propose(town)
    say(town, "approve", "1", "--by", "ravi")
    bill(town, 0, 20)
    with town.db.write() as conn:
        add_rule(conn, json.dumps({"kind": "late_payment", "currency": "INR", "percent": "3", "per": "month"}), "", 0, town.now_ms, "desk")
    town.now_ms = START_MS + 62 * DAY_MS
    (charge,) = late_run.run(town.db, town.now_ms, "desk", "2026-12")
    assert charge.base_nano == owed(town) - charge.amount_nano


def test_it_is_rounded_once_half_even_to_the_coin() -> None:
    assert amount_of(5, nano("1"), 1000, "INR") == 0
    assert amount_of(15, nano("1"), 1000, "INR") == nano("0.02")
    assert amount_of(8_660, nano("7"), 1000, "INR") == nano("60.62")


GIVEN = ("--price", "7", "--reason", "seen")
REFUSED = (
    (("average", "2026-11-05", "2026-11-15", *GIVEN), "outside of those"),
    (("average", "2026-11-18", "2026-11-21", *GIVEN), "3 days of it"), (("average", "2026-11-18", *GIVEN), "two days"),
    (("load", "500", "25", "1", *GIVEN), "24 hours"), (("load", "500", *GIVEN), "a factor"),
    (("units", "1", *GIVEN), "nothing is owed"), (("units", "-1", *GIVEN), "above zero"), (("units", "x", *GIVEN), "digits"),
    (("units", "50", "--price", "0", "--reason", "x"), "above zero"), (("units", "50", "--price", "7", "--reason", " "), "a reason"),
)  # fmt: skip


def test_what_can_not_be_assessed_is_refused_and_nothing_is_kept(town: Payday) -> None:
    for words, says in REFUSED:
        with pytest.raises(GridtallyError, match=says):
            propose(town, *words)
    for days in (("2026-11-11", "2026-11-01"), ("2026-11-20", "2026-11-30"), ("2020-01-01", "2026-01-01")):
        with pytest.raises(GridtallyError, match="days that are over"):
            propose(town, days=days)
    for by in ("nobody", "desk"):
        with pytest.raises(GridtallyError, match="nobody of operations"):
            propose(town, by=by)
    wish = Wish(town.account, 20_758, 20_760, assessments.Rule.UNITS, (1000,), nano("7"), 1000, "seen")
    with town.db.write() as conn, pytest.raises(RefusedCommand, match="prepaid"):
        assessments.propose(conn, wish, town.now_ms, "asha")
    with pytest.raises(RefusedCommand, match="no assessment 9"):
        say(town, "approve", "9", "--by", "ravi")
    with town.db.read() as conn:
        assert assessments.assessments_of(conn, town.postpaid_account) == ()
    propose(town)
    with pytest.raises(RefusedCommand, match="no day is assessed twice"):
        propose(town)


def test_of_a_closed_account_nothing_is_assessed_for_no_bill_would_ask_for_it(town: Payday) -> None:
    with town.db.write() as conn:
        conn.execute(update(account).where(account.c.account_no == town.postpaid_account).values(closed_ms=town.now_ms))
    with pytest.raises(RefusedCommand, match="has had its last bill"):
        propose(town)
    assert owed(town) == 0
