"""Restated data of a bill: cancelled and made again, with the books whole and the difference in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from gridtally_cloud.billing import arrangements, late_run, rebill, service
from gridtally_cloud.billing.instalments import ArrangementState
from gridtally_cloud.billing.model import BillState, BillView, LineKind
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.receivables import post_payment
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.billing.usage import channel_of
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.tables import app_user, tariff_version
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import day_of
from gridtally_cloud.vee.edit import Asked, Reason, decide, make
from gridtally_cloud.vee.edits import EditState, Step
from gridtally_cloud.vee.run import run_pending
from gridtally_cloud.vee.tables import vee_restated
from gridtally_cloud.vee.tools import Tool
from gridtally_shared.contract.messages import Intervals
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from support.edge_peer import block
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday

DAYS = 4
PER_DAY = [40 + place % 7 for place in range(96)]
DAY_WH = sum(PER_DAY)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """Four days of a billed home, judged by VEE; a bill of the first two and one of the others."""
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    for day in range(DAYS):
        town.now_ms += DAY_MS
        with town.db.write() as conn:
            take_intervals(town.arrival(conn), Intervals((block(town.homes[2].meter_no, START_MS + day * DAY_MS, PER_DAY),)))
        town.read(2, OPENED_WH + (day + 1) * DAY_WH)
    town.now_ms += GRACE_MS + HOUR_MS
    town.read(2, OPENED_WH + DAYS * DAY_WH + 100)
    close_days(town.db, town.now_ms)
    run_pending(town.db, town.now_ms)
    with town.db.write() as conn:
        for login in ("asha", "ravi"):
            conn.execute(insert(app_user).values(login=login, name=login, role="operations", password_hash="", created_ms=0))
    yield town
    town.db.close()


def issue(town: Payday, first: int, until: int) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, START_MS + first * DAY_MS, START_MS + until * DAY_MS, town.now_ms, "desk")


def edit(town: Payday, day: int, tool: Tool, argument: str = "") -> None:
    """A person changes a day, another one approves it where it is billed, and VEE says what stands."""
    begin_ms = START_MS + day * DAY_MS
    with town.db.write() as conn:
        number = channel_of(conn, account_of(conn, town.postpaid_account).usage_point_no)
        assert number is not None
        asked = Asked(number, begin_ms, begin_ms + DAY_MS, tool, argument, Reason.SITE_VISIT, "asha", "seen")
        made = make(conn, asked, town.now_ms)
        if made.state is EditState.PROPOSED:
            decide(conn, made.edit_no, Step.APPROVE, "ravi", town.now_ms)


def again(town: Payday, bill_no: str, note: str = "checked on site") -> tuple[rebill.Rebilled, ...]:
    with town.db.write() as conn:
        return rebill.rebill(conn, bill_no, town.now_ms, "desk", note)


def view_of(town: Payday, bill_no: str) -> BillView:
    with town.db.read() as conn:
        return service.bill(conn, bill_no)


def owed(town: Payday) -> int:
    with town.db.read() as conn:
        return service.outstanding_nano(conn, town.postpaid_account)


def waiting(town: Payday) -> dict[str, int]:
    with town.db.read() as conn:
        return {p.bill_no: p.delta_wh for p in rebill.proposals(conn)}


@pytest.mark.covers_part("I2-S5.12.3", "I2-S6.11.3")
def test_a_restated_day_cancels_its_bill_and_makes_it_again(town: Payday) -> None:
    old = issue(town, 0, 4)
    assert old.bill.used_wh == 4 * DAY_WH
    assert waiting(town) == {}
    town.pay("100", town.postpaid_account)
    edit(town, 1, Tool.ADD, "10")
    assert waiting(town) == {old.bill_no: 960}
    made = again(town, old.bill_no)
    new = view_of(town, made[0].new_no)
    # 0.960 kWh x 7 and 5 % tax
    assert [(one.old_no, one.now_nano - one.was_nano) for one in made] == [(old.bill_no, nano("7.056"))]
    assert new.bill.used_wh == old.bill.used_wh + 960
    assert (view_of(town, old.bill_no).state, view_of(town, old.bill_no).cancelled_by) == (BillState.CANCELLED, new.bill_no)
    assert new.due_nano == owed(town) == new.bill.closing_nano
    assert abs(new.bill.closing_nano - (old.bill.closing_nano + nano("7.056") - nano("100"))) <= nano("0.01")
    assert waiting(town) == {}
    with town.db.read() as conn:
        r = receivable.c
        sums = {row.kind: row.total for row in conn.execute(select(r.kind, func.sum(r.amount_nano).label("total")).group_by(r.kind))}
    assert sums["bill"] - sums["cancel"] - sums["payment"] == owed(town)
    assert new.bill.corrects is not None
    assert [(day.was_wh, day.now_wh) for day in new.bill.corrects.days] == [(DAY_WH, DAY_WH + 960)]
    assert [moved.kind for moved in new.bill.corrects.lines] == [LineKind.ENERGY, LineKind.TAX_ENERGY]
    for language in TEXTS:
        page = bill_page(new, language)
        row = next(row for row in page.rows if old.bill_no in row.what)
        assert len(row.how) == 5, "charges, energy, its tax, one day, the reason"
        assert row.how[3].startswith({"en": "2 Nov 2026", "es": "2 nov 2026", "hi": "2 नव 2026"}[language])
        assert row.how[4].endswith("checked on site")
        assert any("96" in note for note in page.notes), "96 intervals were set by a person"
        assert any(new.bill_no in note for note in bill_page(view_of(town, old.bill_no), language).notes)


def test_a_restatement_may_touch_every_bill_of_a_city(town: Payday) -> None:
    """More than a statement has parameters for, once: then none was proposed at all."""
    old = issue(town, 0, 4)
    edit(town, 1, Tool.ADD, "10")
    with town.db.write() as conn:
        bills = vee_restated.c.bills + " " + " ".join(f"B-9{n:06}" for n in range(66_000))
        conn.execute(update(vee_restated).where(vee_restated.c.bills != "").values(bills=bills))
    assert waiting(town) == {old.bill_no: 960}


def test_a_smaller_bill_takes_its_late_payment_charge_with_it_and_a_greater_one_does_not(town: Payday) -> None:
    rule = {"kind": "late_payment", "currency": "INR", "percent": "0.1", "per": "day"}
    old = issue(town, 0, 2)
    town.now_ms += 30 * DAY_MS
    with town.db.write() as conn:
        add_rule(conn, json.dumps(rule), "home", 0, town.now_ms, "desk")
        (charge,) = late_run.charge_month(conn, town.postpaid_account, town.now_ms, "desk", "2026-11")
    edit(town, 1, Tool.ADD, "10")
    more = again(town, old.bill_no)
    assert view_of(town, more[0].new_no).bill.lines[-1].kind is not LineKind.LATE_BACK
    edit(town, 1, Tool.ADD, "-20")
    less = view_of(town, again(town, more[0].new_no)[0].new_no)
    back = [line.amount_nano for line in less.bill.lines if line.kind is LineKind.LATE_BACK]
    assert back == [-charge.amount_nano]
    assert less.bill.closing_nano == owed(town) == less.due_nano
    with town.db.read() as conn:
        assert [c.is_back for c in late_run.charges_of(conn, town.postpaid_account)] == [True]


def test_a_greater_bill_does_not_break_the_arrangement_of_the_one_before(town: Payday) -> None:
    old = issue(town, 0, 2)
    town.now_ms += 20 * DAY_MS
    with town.db.write() as conn:
        today = day_of(town.now_ms, "Asia/Kolkata")
        made = arrangements.make(conn, town.postpaid_account, (today, today + 30), (1, 1), 0, town.now_ms, "desk", "agreed")
    edit(town, 1, Tool.ADD, "100")
    again(town, old.bill_no)
    first, second = (part.amount_nano for part in made.plan.instalments)
    assert first + second == old.bill.closing_nano
    with town.db.write() as conn:
        post_payment(conn, account_of(conn, town.postpaid_account), first, 1, town.now_ms)
    town.now_ms += 2 * DAY_MS
    with town.db.read() as conn:
        (found,) = arrangements.arrangements_of(conn, account_of(conn, town.postpaid_account), town.now_ms)
    assert found.standing.state is ArrangementState.RUNNING
    assert owed(town) > second, "what is more is due on the new bill's own day"


def test_the_next_bill_goes_on_from_the_new_one(town: Payday) -> None:
    first = issue(town, 0, 2)
    edit(town, 1, Tool.ADD, "-10")
    made = again(town, first.bill_no)
    second = issue(town, 2, 4)
    new = view_of(town, made[0].new_no)
    assert second.bill.opening_nano == new.bill.closing_nano
    assert second.bill.closing_nano == owed(town)
    assert (second.bill.first, second.bill.used_wh) == (new.bill.last, 2 * DAY_WH)
    with pytest.raises(RefusedCommand, match="cancelled already"):
        again(town, first.bill_no)
    with pytest.raises(RefusedCommand, match="no bill"):
        again(town, "B-9999999")
    with town.db.write() as conn, pytest.raises(RefusedCommand, match="no bill"):
        rebill.leave(conn, "B-9999999", town.now_ms, "desk", "")


def test_what_was_paid_too_much_is_a_credit(town: Payday) -> None:
    old = issue(town, 0, 2)
    town.pay("500", town.postpaid_account)
    edit(town, 0, Tool.MULTIPLY, "0.5")
    again(town, old.bill_no)
    assert owed(town) < 0
    with town.db.read() as conn:
        states = {row.bill_no: (row.state, row.due_nano) for row in service.list_bills(conn, town.postpaid_account)}
    assert states[old.bill_no] == (BillState.CANCELLED, 0)
    assert sorted(state for state, _ in states.values()) == [BillState.CANCELLED, BillState.PAID]


def test_a_mark_moves_no_amount_and_stands_on_the_next_bill(town: Payday) -> None:
    old = issue(town, 0, 2)
    edit(town, 1, Tool.UNTRUST)
    assert waiting(town) == {old.bill_no: 0}
    with pytest.raises(RefusedCommand, match="same amount"):
        again(town, old.bill_no)
    assert view_of(town, old.bill_no).state is BillState.ISSUED, "nothing half done"
    with town.db.write() as conn:
        rebill.leave(conn, old.bill_no, town.now_ms, "desk", "the customer knows")
        with pytest.raises(RefusedCommand, match="since anybody looked"):
            rebill.leave(conn, old.bill_no, town.now_ms, "desk", "again")
    assert waiting(town) == {}
    edit(town, 2, Tool.UNTRUST)
    later = issue(town, 2, 4)
    assert later.bill.quality.untrusted == 96
    assert any("untrustworthy" in note for note in bill_page(later, "en").notes)


# ---- tariffs that need intervals ----------------------------------------------------------------------------------

BANDS = [{"from": "00:00", "to": "06:00", "period": "night"}, {"from": "06:00", "to": "24:00", "period": "day"}]
ENERGY = {"kind": "energy", "code": "energy", "rates": [{"periods": ["night"], "price": "4"}, {"periods": ["day"], "price": "8"}]}
DEMAND = {"kind": "demand", "code": "demand", "window_min": 30, "sliding": True, "price": "100"}


def priced_by(town: Payday, *items: dict[str, Any]) -> None:
    version = {"from": "2020-01-01", "hours": [{"bands": BANDS}], "items": list(items)}
    text = json.dumps({"kind": "tariff", "code": "shop", "currency": "INR", "zone": "Asia/Kolkata", "versions": [version]})
    with town.db.write() as conn:
        conn.execute(update(tariff_version).values(document=text))


def named(view: BillView) -> dict[str, int]:
    return {line.reference: line.amount_nano for line in view.bill.lines if line.amount_nano}


@pytest.mark.covers_part("BYPL-2.5")
def test_time_of_use_and_demand_are_billed_by_the_intervals(town: Payday) -> None:
    priced_by(town, ENERGY, DEMAND)
    bill = issue(town, 0, 4)
    night_wh, pairs = sum(PER_DAY[:24]), [a + b for a, b in pairwise(PER_DAY)]
    assert named(bill) == {
        "energy night": 4 * night_wh * 4_000_000, "energy day": 4 * (DAY_WH - night_wh) * 8_000_000,
        "demand": max(pairs) * 2 * 100_000_000 * 4 // 30,
    }  # fmt: skip
    assert any(note.startswith("Meter") for note in bill_page(bill, "en").notes), "the register at both ends stands below"


def test_a_later_bill_of_the_same_cycle_is_made_again_too(town: Payday) -> None:
    priced_by(town, ENERGY, DEMAND)
    first, second = issue(town, 0, 2), issue(town, 2, 4)
    edit(town, 0, Tool.ADD, "100")
    made = again(town, first.bill_no)
    assert [one.old_no for one in made] == [first.bill_no, second.bill_no], "its demand is the cycle's highest"
    newest = view_of(town, made[-1].new_no)
    assert newest.bill.closing_nano == owed(town)
    with town.db.read() as conn:
        assert not any(p.account_no == town.postpaid_account for p in rebill.proposals(conn))
    town.pay("150", town.postpaid_account)
    assert owed(town) == newest.bill.closing_nano - nano("150")


def test_what_a_tariff_counts_and_nobody_measured_is_refused(town: Payday) -> None:
    priced_by(town, ENERGY | {"measure": "apparent"})
    with pytest.raises(RefusedCommand, match=r"interval_apparent_vah.*none was measured"):
        issue(town, 0, 4)
    priced_by(town, DEMAND)
    town.now_ms += DAY_MS
    town.read(2, OPENED_WH + 5 * DAY_WH)
    with pytest.raises(RefusedCommand, match="96 intervals are missing"):
        issue(town, 0, 5)
