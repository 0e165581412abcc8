"""What an event took of a postpaid requester, and gave back, stands on the next bill and is owed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_cloud.billing import arrangements, receivables, service
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.instalments import ArrangementState
from gridtally_cloud.billing.model import BillState, BillView, LineKind
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.store.days import day_of
from gridtally_shared.money import nano
from support.payday import DAY_MS, OPENED_WH, START_MS, Payday


def _bill(town: Payday, first: int, until: int) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, START_MS + first * DAY_MS, START_MS + until * DAY_MS, town.now_ms, "desk")


@pytest.mark.parametrize("amounts", [("40", "-15"), ("40",), ("-15",)])
def test_an_event_is_a_line_of_the_next_bill_and_of_no_other(tmp_path: Path, amounts: tuple[str, ...]) -> None:
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    town.now_ms += 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    first = _bill(town, 0, 30)
    town.now_ms += DAY_MS
    with town.db.write() as conn:
        account = account_of(conn, town.postpaid_account)
        for amount in amounts:
            receivables.post_event(conn, account, nano(amount), 7, town.now_ms)
    town.now_ms += 30 * DAY_MS
    town.read(2, OPENED_WH + 150_000)
    second = _bill(town, 30, 61)
    lines = [line for line in second.bill.lines if line.kind is LineKind.EVENT]
    assert [(line.amount_nano, line.reference) for line in lines] == [(nano(amount), "EVENT-7") for amount in amounts]
    charged = sum(line.amount_nano for line in second.bill.lines if line.kind is not LineKind.EVENT)
    with town.db.read() as conn:
        assert receivables.outstanding_nano(conn, town.postpaid_account) == second.bill.closing_nano
    assert abs(second.bill.closing_nano - first.bill.closing_nano - charged - sum(map(nano, amounts))) < 10**7, "within the coin"
    assert from_json(to_json(second.bill)) == second.bill
    for language in TEXTS:
        assert any("EVENT-7" in row.what for row in bill_page(second, language).rows)
    town.now_ms += 31 * DAY_MS
    town.read(2, OPENED_WH + 200_000)
    assert not any(line.kind is LineKind.EVENT for line in _bill(town, 61, 92).bill.lines)
    town.close()


def test_an_event_opens_no_older_bill_again_and_breaks_no_arrangement(tmp_path: Path) -> None:
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    town.now_ms += 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    first = _bill(town, 0, 30)
    town.now_ms = START_MS + 49 * DAY_MS
    with town.db.write() as conn:
        account = account_of(conn, town.postpaid_account)
        today = day_of(town.now_ms, account.zone)
        arrangements.make(conn, account.account_no, (today + 1, today + 40), (1, 1), 0, town.now_ms, "desk", "agreed")
    town.pay("410", town.postpaid_account)
    with town.db.write() as conn:
        receivables.post_event(conn, account, nano("40"), 7, town.now_ms)
    town.now_ms += 5 * DAY_MS
    with town.db.read() as conn:
        (kept,) = arrangements.arrangements_of(conn, account, town.now_ms)
    assert (kept.standing.state, kept.standing.rest_nano) == (ArrangementState.RUNNING, first.bill.closing_nano - nano("410"))
    town.pay("403.75", town.postpaid_account)
    with town.db.read() as conn:
        assert service.bill(conn, first.bill_no).state is BillState.PAID
        assert receivables.outstanding_nano(conn, town.postpaid_account) == nano("40")
    town.close()
