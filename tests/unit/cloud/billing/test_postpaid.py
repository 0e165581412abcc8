"""The postpaid bill against a slow oracle in fractions, and the receivables around it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gridtally_cloud.billing import service
from gridtally_cloud.billing.model import Bill, BillState, BillView, DataQuality, LineKind, Party, Reading
from gridtally_cloud.billing.postpaid import BillInputs, Stop, postpaid_bill
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.prepay import service as prepay
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.tariff.daybook import starts_at
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.running import Terms
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday

PARTY = Party(3, "Carmen Ortega", "3 Acacia Lane", "10000003", "Home", "Asia/Kolkata", "es", "INR")
MONTH_MS = 30 * DAY_MS


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 31)), min_size=1, max_size=12),
    st.integers(1, 50_000_000), st.integers(0, 10**10), st.integers(0, 300_000),
)  # fmt: skip
def test_bills_of_all_months_add_up_to_one_bill_of_the_whole(
    months: list[tuple[int, int]], price: int, per_day: int, tax: int
) -> None:
    document = {"kind": "flat", "currency": "INR", "energy_per_kwh": decimal_text(price * 1000), "fixed_per_day": decimal_text(per_day),
                "tax_percent": decimal_text(tax * 100_000)}  # fmt: skip
    plan = tariff_plan([json.dumps(document)], "Asia/Kolkata")
    register, day, owed, charged = OPENED_WH, 0, 0, Fraction(0)
    stops = [Stop(starts_at(740_000, plan.zone), Reading(0, OPENED_WH))]
    for used, days in months:
        stops.append(Stop(starts_at(740_000 + day + days, plan.zone), Reading(1, register + used)))
        bill = postpaid_bill(BillInputs(PARTY, 0, 1, plan, Terms("home", "Asia/Kolkata"), tuple(stops), owed, (), (), DataQuality()))
        charged += exact(bill)
        register, day, owed = register + used, day + days, bill.closing_nano
    net_energy, net_days = (register - OPENED_WH) * price, day * per_day
    whole = net_energy + net_days + net_energy * tax // 10**6 + net_days * tax // 10**6
    assert charged == whole
    assert abs(owed - whole) <= len(months) * 5_000_000  # each bill rounds once, by half a coin at most


def exact(bill: Bill) -> int:
    return sum(line.amount_nano for line in bill.lines)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    yield town
    town.close()


def month_of_use(town: Payday, register_wh: int, used_wh: int) -> int:
    """A reading at each of 30 midnights and one hour after; the register at the end."""
    town.read(2, register_wh)
    town.now_ms += MONTH_MS
    town.read(2, register_wh + used_wh)
    return register_wh + used_wh


def issue(town: Payday, from_ms: int, to_ms: int) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, from_ms, to_ms, town.now_ms, "desk")


def test_a_hand_worked_bill(town: Payday) -> None:
    month_of_use(town, OPENED_WH, 123_456)
    view = issue(town, START_MS, START_MS + MONTH_MS)
    # 123.456 kWh x 7 = 864.192; tax 43.2096; 30 days x 2.50 = 75; tax 3.75; together 986.1516
    assert view.due_nano == view.bill.closing_nano == nano("986.15")
    lines = {line.kind: line for line in view.bill.lines}
    assert lines[LineKind.ENERGY].amount_nano == nano("864.192")
    assert lines[LineKind.TAX_ENERGY].amount_nano == nano("43.2096")
    assert (lines[LineKind.FIXED].quantity, lines[LineKind.FIXED].amount_nano) == (30, nano("75"))
    assert lines[LineKind.TAX_FIXED].amount_nano == nano("3.75")
    first, last = lines[LineKind.ENERGY].first, lines[LineKind.ENERGY].last
    assert first is not None
    assert last is not None
    assert (first.register_wh, last.register_wh) == (OPENED_WH, OPENED_WH + 123_456)
    assert not first.estimated
    assert view.state is BillState.ISSUED


@pytest.mark.covers_part("BYPL-18.2", "BYPL-18.5")
def test_paying_a_bill_in_parts_and_over(town: Payday) -> None:
    register = month_of_use(town, OPENED_WH, 100_000)
    view = issue(town, START_MS, START_MS + MONTH_MS)  # 700 + 35 + 75 + 3.75
    assert owed(town) == view.due_nano == nano("813.75")
    town.pay("500", town.postpaid_account)
    assert reload(town, view).state is BillState.PART_PAID
    assert reload(town, view).due_nano == owed(town) == nano("313.75")
    town.pay("400", town.postpaid_account)
    assert reload(town, view).state is BillState.PAID
    assert owed(town) == -nano("86.25")
    month_of_use(town, register, 100_000)
    second = issue(town, START_MS + MONTH_MS, START_MS + 2 * MONTH_MS)
    assert second.bill.opening_nano == nano("813.75")
    assert [line.amount_nano for line in second.bill.lines if line.kind is LineKind.PAYMENT] == [-nano("500"), -nano("400")]
    assert second.bill.closing_nano == owed(town) == nano("813.75") - nano("86.25")
    assert town.instruments() == []


def owed(town: Payday) -> int:
    with town.db.read() as conn:
        return service.outstanding_nano(conn, town.postpaid_account)


def reload(town: Payday, view: BillView) -> BillView:
    with town.db.read() as conn:
        return service.bill(conn, view.bill_no)


def test_the_receivables_are_double_entry(town: Payday) -> None:
    month_of_use(town, OPENED_WH, 100_000)
    issue(town, START_MS, START_MS + MONTH_MS)
    town.pay("500", town.postpaid_account)
    with town.db.read() as conn:
        rows = conn.execute(select(receivable).order_by(receivable.c.receivable_no)).all()
    assert [(r.debit_account, r.credit_account, r.amount_nano) for r in rows] == [
        ("receivable", "revenue", nano("813.75")), ("cash", "receivable", nano("500")),
    ]  # fmt: skip


def test_a_boundary_without_a_reading_is_estimated_and_says_so(town: Payday) -> None:
    town.read(2, OPENED_WH)
    town.now_ms += MONTH_MS - 12 * HOUR_MS
    town.read(2, OPENED_WH + 90_000)
    town.now_ms += 36 * HOUR_MS
    town.read(2, OPENED_WH + 93_600)
    view = issue(town, START_MS, START_MS + MONTH_MS)
    energy = next(line for line in view.bill.lines if line.kind is LineKind.ENERGY)
    assert energy.last is not None
    assert energy.last == Reading(START_MS + MONTH_MS, OPENED_WH + 91_200, estimated=True)
    assert "(estimada)" in str(service.render_context(view, "es"))
    second_start = START_MS + MONTH_MS
    town.now_ms += MONTH_MS
    town.read(2, OPENED_WH + 200_000)
    second = issue(town, second_start, second_start + MONTH_MS)
    following = next(line for line in second.bill.lines if line.kind is LineKind.ENERGY)
    assert following.first == energy.last


CASES = (
    ("the end before the beginning", DAY_MS, 0, "bad_period"),
    ("not over", 0, 40 * DAY_MS, "period_not_over"),
    ("before the account", -60 * DAY_MS, -30 * DAY_MS, "account_not_open"),
)


@pytest.mark.parametrize(("from_ms", "to_ms", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_can_not_be_billed_is_refused_with_its_reason(town: Payday, from_ms: int, to_ms: int, reason: str) -> None:
    month_of_use(town, OPENED_WH, 1_000)
    with pytest.raises(RefusedCommand) as caught:
        issue(town, START_MS + from_ms, START_MS + to_ms)
    assert caught.value.reason == reason
    assert len(caught.value.detail) > 20


def test_nothing_received_and_data_behind_are_refused(town: Payday) -> None:
    town.now_ms += 2 * MONTH_MS
    with pytest.raises(RefusedCommand, match="no_data"):
        issue(town, START_MS, START_MS + MONTH_MS)
    town.now_ms -= MONTH_MS + DAY_MS
    town.read(2, OPENED_WH)
    town.now_ms += MONTH_MS + DAY_MS
    with pytest.raises(RefusedCommand, match="journal_behind"):
        issue(town, START_MS, START_MS + MONTH_MS)


def test_the_same_period_gives_the_same_bill_and_an_overlap_is_refused(town: Payday) -> None:
    month_of_use(town, OPENED_WH, 100_000)
    view = issue(town, START_MS, START_MS + MONTH_MS)
    assert issue(town, START_MS, START_MS + MONTH_MS) == view
    assert owed(town) == nano("813.75")
    with pytest.raises(RefusedCommand, match=view.bill_no):
        issue(town, START_MS + DAY_MS, START_MS + MONTH_MS)


def test_an_unknown_bill_and_account_are_named(town: Payday) -> None:
    with town.db.read() as conn:
        with pytest.raises(RefusedCommand, match="B-0000404"):
            service.bill(conn, "B-0000404")
        with pytest.raises(RefusedCommand, match="404"):
            service.list_bills(conn, 404)


def test_a_register_that_went_back_stops_the_bill(town: Payday) -> None:
    month_of_use(town, OPENED_WH, -1_000)
    with pytest.raises(RefusedCommand, match="register_went_back"):
        issue(town, START_MS, START_MS + MONTH_MS)


def test_a_small_bill_can_be_paid_and_a_paid_one_not_again(town: Payday) -> None:
    town.read(2, OPENED_WH)
    town.now_ms += DAY_MS
    town.read(2, OPENED_WH + 1_000)
    view = issue(town, START_MS, START_MS + DAY_MS)  # 7 + 0.35 + 2.50 + 0.125: below the smallest top-up
    assert view.due_nano == nano("9.98")
    order = prepay.order_payment(town.db, town.payments, town.postpaid_account, nano("9.98"), town.now_ms, "c", bill_no=view.bill_no)
    town.deliver(town.choose(order, "netbanking"))
    assert reload(town, view).state is BillState.PAID
    for bill_no in (view.bill_no, "B-0000404"):
        with pytest.raises(RefusedCommand, match=bill_no), town.db.write() as conn:
            prepay.create_order(conn, town.payments, town.postpaid_account, nano("1"), town.now_ms, "c", bill_no=bill_no)
