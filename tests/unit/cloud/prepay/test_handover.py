"""Both sides through a change of mode, of meter and of concentrator: the books hold to the nano, nobody is cut, nothing counts twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from gridtally_cloud.billing import deposits
from gridtally_cloud.billing.model import CHARGE_KINDS, BillKind, BillState, BillView, LineKind
from gridtally_cloud.billing.receivables import outstanding_nano
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.billing.service import issue_bill, list_bills
from gridtally_cloud.billing.store import bill_inputs, load_bill
from gridtally_cloud.customers.accounts import NewAccount, open_account
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.seed import DEMO_TARIFF
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.customers.tariffs import add_tariff
from gridtally_cloud.prepay import handover, migration, migration_rows, replaced
from gridtally_cloud.prepay.handover_tables import swap_of
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.reissue import going_on
from gridtally_cloud.prepay.settling import settle
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.prepay.wallet import balance as prepay_balance
from gridtally_cloud.store.tables import dcu, meter
from gridtally_cloud.workorders.service import OrderKind, orders
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.replay import replay
from gridtally_shared.lifecycle import Reason
from gridtally_shared.money import nano
from support.linked_pair import LinkedPair, charged_pair, faults
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, SIGNER, START_MS


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    with charged_pair(tmp_path) as pair:
        yield pair


def convert(pair: LinkedPair, mode: Mode, deposit: str = "0") -> None:
    with pair.db.write() as conn:
        handover.convert(conn, SIGNER, pair.account, mode, pair.now_ms, "asha", nano(deposit))
    pair.configure()
    pair.carry_down()


def mode_of(pair: LinkedPair) -> Mode:
    with pair.db.read() as conn:
        return account_of(conn, pair.account).mode


def owed(pair: LinkedPair) -> int:
    with pair.db.read() as conn:
        return outstanding_nano(conn, pair.account)


@pytest.mark.covers("ETSI-5.2.5-basic-4", "ETSI-5.2.5-alt6")
@pytest.mark.covers_part("C3-A2.8c", "ETSI-5.2.5-basic-3")
def test_to_regular_billing_with_the_rest_on_the_next_bill(pair: LinkedPair) -> None:
    """The WAN is away while it happens: the edge has done it and keeps it, the cloud is told once when it is back, with its time."""
    rest = pair.state().balance_nano
    convert(pair, Mode.POSTPAID)
    assert mode_of(pair) is Mode.PREPAID, "it is done when the edge has done it"
    pair.tell(p.LinkChanged(False))
    pair.wait(HOUR_MS)
    read_ms = pair.now_ms
    pair.read(0, OPENED_WH + 1_000)
    assert (pair.state().mode, mode_of(pair), confirmed(pair)) == (AccountMode.POSTPAID, Mode.PREPAID, [])
    pair.now_ms += HOUR_MS
    pair.greet()
    pair.sync()
    pair.sync()
    assert mode_of(pair) is Mode.POSTPAID
    assert confirmed(pair) == [(read_ms, "postpaid at 5001000 Wh")]
    assert (pair.balance().balance_nano, owed(pair)) == (0, -rest)
    pair.configure()
    pair.wait(HOUR_MS)
    pair.read(0, OPENED_WH + 9_000)
    pair.sync()
    assert owed(pair) == -rest
    assert pair.state().charged_wh == 1_000
    assert faults(pair) == []


def confirmed(pair: LinkedPair, account_no: int = 0) -> list[tuple[int, str]]:
    """What the cloud was told of changes that were done, and the time the meter's reading gave them."""
    with pair.db.read() as conn:
        rows = audit_rows(conn, subject=f"account:{account_no or pair.account}")
    return [(r.at_ms, r.detail) for r in rows if r.action == "account.converted"]


@pytest.mark.covers("C3-FR27")
def test_and_back_with_arrears_as_a_debt_and_the_deposit_as_credit(pair: LinkedPair) -> None:
    convert(pair, Mode.POSTPAID)
    tomorrow(pair, 0, 1_000)
    pair.configure()
    tomorrow(pair, 0, 61_000)
    with pair.db.write() as conn:
        issue_bill(conn, pair.account, START_MS, pair.now_ms, pair.now_ms, "asha")
    arrears = owed(pair)
    assert arrears > 0
    convert(pair, Mode.PREPAID, deposit="80")
    tomorrow(pair, 0, 62_000)
    assert mode_of(pair) is Mode.PREPAID
    state = pair.state()
    assert (state.balance_nano, state.debt_nano) == (nano("80"), 0)
    final = owed(pair) - arrears
    assert final > 0, "what was used between the last bill and the change"
    assert settle(pair.db, SIGNER, pair.now_ms) == 1
    pair.carry_down()
    tomorrow(pair, 0, 62_500)
    assert owed(pair) == 0
    assert (pair.state().charged_wh, pair.state().debt_nano) == (1_500, arrears + final)
    assert pair.problems() == []


def tomorrow(pair: LinkedPair, home: int, wh: int, days: int = 1) -> None:
    pair.wait(days * DAY_MS)
    pair.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
    pair.read(home, OPENED_WH + wh)
    pair.sync()


def bills(pair: LinkedPair, account_no: int) -> list[BillView]:
    with pair.db.read() as conn:
        rows = [row for row in list_bills(conn, account_no) if row.kind is BillKind.BILL]
        return [load_bill(conn, row.bill_no) for row in rows]


@pytest.mark.covers("BYPL-13.6")
@pytest.mark.covers_part("BYPL-13.9")
def test_the_final_bill_ends_with_the_reading_that_opens_prepayment_and_comes_along_as_a_debt(pair: LinkedPair) -> None:
    """A billed home uses 10 kWh, asks for prepayment and uses 2 kWh more until it is done: 12 kWh are billed, the 13th is prepaid."""
    no = pair.postpaid_account
    pair.read(2, OPENED_WH)
    tomorrow(pair, 2, 10_000)
    with pair.db.write() as conn:
        handover.convert(conn, SIGNER, no, Mode.PREPAID, pair.now_ms, "asha", nano("80"))
    pair.configure()
    pair.carry_down()
    tomorrow(pair, 2, 12_000)
    assert bill_ends(pair, no) == [(OPENED_WH, OPENED_WH + 12_000)]
    (final,) = bills(pair, no)
    (change,) = [e for e in entries_of(pair.money, no, 1) if e.kind == Kind.MODE]
    assert (final.bill.to_ms, change.register_after_wh) == (change.at_ms, OPENED_WH + 12_000)
    assert confirmed(pair, no) == [(pair.now_ms, "prepaid at 5012000 Wh")], "active, with the time of the meter's reading"
    assert final.bill.closing_nano > nano("12")
    assert settle(pair.db, SIGNER, pair.now_ms) == 1
    assert settle(pair.db, SIGNER, pair.now_ms) == 0, "once"
    (carried,) = bills(pair, no)
    assert (carried.state, carried.due_nano) == (BillState.CARRIED, 0), "nobody has paid it"
    pair.carry_down()
    tomorrow(pair, 2, 13_000)
    state, problem = replay(no, 1, entries_of(pair.money, no, 1))
    assert problem is None
    assert (state.charged_wh, state.debt_nano) == (1_000, final.bill.closing_nano)
    with pair.db.read() as conn:
        assert outstanding_nano(conn, no) == 0
        assert reconcile(conn, no) == ()
        assert prepay_balance(conn, no).balance_nano == state.balance_nano > nano("60")


def bill_ends(pair: LinkedPair, account_no: int) -> list[tuple[int, int]]:
    """The registers each bill begins and ends with."""
    read = [[x for line in view.bill.lines for x in (line.first, line.last) if x] for view in bills(pair, account_no)]
    return [(min(x.register_wh for x in found), max(x.register_wh for x in found)) for found in read]


@pytest.mark.covers("BYPL-14.10")
def test_the_first_bill_takes_the_rest_of_the_wallet_and_no_wh_is_billed_twice(pair: LinkedPair) -> None:
    """1 kWh is prepaid, 8 are billed until the account is prepaid again; the bill holds what was left, and all sums agree."""
    rest = pair.state().balance_nano
    convert(pair, Mode.POSTPAID)
    tomorrow(pair, 0, 1_000)
    rest = -owed(pair)
    assert rest > 0
    pair.configure()
    tomorrow(pair, 0, 5_000)
    with pair.db.write() as conn:
        with pytest.raises(RefusedCommand, match="paid ahead"):
            bill_inputs(conn, account_of(conn, pair.account), START_MS, START_MS + HOUR_MS)
        view = issue_bill(conn, pair.account, START_MS, pair.now_ms, pair.now_ms, "asha")
    assert bill_ends(pair, pair.account) == [(OPENED_WH + 1_000, OPENED_WH + 5_000)]
    carried = [line.amount_nano for line in view.bill.lines if line.kind is LineKind.CONVERSION]
    assert carried == [-rest]
    charges = sum(line.amount_nano for line in view.bill.lines if line.kind in CHARGE_KINDS)
    assert view.bill.closing_nano == owed(pair)
    assert abs(charges - rest - view.bill.closing_nano) < nano("0.01")
    convert(pair, Mode.PREPAID)
    tomorrow(pair, 0, 9_000)
    assert bill_ends(pair, pair.account) == [(OPENED_WH + 5_000, OPENED_WH + 9_000), (OPENED_WH + 1_000, OPENED_WH + 5_000)]
    settle(pair.db, SIGNER, pair.now_ms)
    pair.carry_down()
    tomorrow(pair, 0, 9_500)
    assert pair.state().charged_wh == 1_500
    assert owed(pair) == 0
    assert faults(pair) == []


def reviews(pair: LinkedPair) -> list[tuple[str, str]]:
    with pair.db.read() as conn:
        return [(o.reason, o.detail) for o in orders(conn) if o.kind is OrderKind.MODE_REVIEW]


@pytest.mark.covers_part("ETSI-5.2.5-alt2")
def test_a_change_the_meter_refuses_is_over_told_to_a_person_and_may_be_ordered_again(pair: LinkedPair) -> None:
    pair.takes_mode = Reason.METER_FAULT
    before = pair.state()
    convert(pair, Mode.POSTPAID)
    assert pending(pair) is Mode.POSTPAID, "until the journal says otherwise"
    pair.sync()
    pair.sync()
    assert (pending(pair), mode_of(pair), reviews(pair)) == (None, Mode.PREPAID, [("meter_refused", "meter_fault")])
    tomorrow(pair, 0, 2_000)
    assert (pair.state().mode, pair.state().charged_wh, owed(pair)) == (AccountMode.PREPAID, 2_000, 0)
    assert (before.mode, confirmed(pair), faults(pair)) == (AccountMode.PREPAID, [], [])
    with pair.db.read() as conn:
        assert all(again.type is not InstrumentType.MODE_SET for again in going_on(conn, pair.account, 1, pair.state()))
    pair.takes_mode = ""
    convert(pair, Mode.POSTPAID)
    tomorrow(pair, 0, 2_000)
    assert (mode_of(pair), faults(pair)) == (Mode.POSTPAID, [])


def pending(pair: LinkedPair, account_no: int = 0) -> Mode | None:
    with pair.db.read() as conn:
        return handover.pending_mode(conn, account_of(conn, account_no or pair.account))


@pytest.mark.covers_part("C3-N6")
def test_a_deposit_of_the_books_comes_along_by_itself_with_its_interest(pair: LinkedPair) -> None:
    """100 held for a year less a day at 10 %: nobody names it, and nobody can name another amount."""
    no = pair.postpaid_account
    rule = {"kind": "deposit_interest", "currency": "INR", "percent": "10", "per": "year"}
    with pair.db.write() as conn:
        add_rule(conn, json.dumps(rule), "", 0, pair.now_ms, "desk")
        deposits.take(conn, no, nano("100"), "R-1", pair.now_ms - 31 * DAY_MS, "desk")
    due = nano("100.82")  # 30 days in two months: 0.82
    with pair.db.write() as conn, pytest.raises(RefusedCommand, match=r"100.82 is held"):
        handover.convert(conn, SIGNER, no, Mode.PREPAID, pair.now_ms, "asha", nano("80"))
    with pair.db.write() as conn:
        handover.convert(conn, SIGNER, no, Mode.PREPAID, pair.now_ms, "asha")
        assert deposits.held_nano(conn, no) == 0
        brought = [row.amount_nano for row in conn.execute(select(instrument).where(instrument.c.account_no == no)) if row.amount_nano]
    assert brought == [due]


@pytest.mark.covers_part("ETSI-5.2.5-alt2")
def test_what_came_along_with_a_refused_change_goes_back_to_the_bills(pair: LinkedPair) -> None:
    """A billed home gives a deposit of 80; its meter refuses. It is billed on, with 80 in credit, and nothing is left in the journal."""
    no = pair.postpaid_account
    pair.read(2, OPENED_WH)
    pair.takes_mode = Reason.NOT_READ_BACK
    with pair.db.write() as conn:
        handover.convert(conn, SIGNER, no, Mode.PREPAID, pair.now_ms, "asha", nano("80"))
    pair.configure()
    pair.carry_down()
    tomorrow(pair, 2, 1_000)
    assert settle(pair.db, SIGNER, pair.now_ms) == 1
    assert settle(pair.db, SIGNER, pair.now_ms) == 0, "once"
    pair.carry_down()
    tomorrow(pair, 2, 2_000)
    with pair.db.read() as conn:
        assert (account_of(conn, no).mode, outstanding_nano(conn, no)) == (Mode.POSTPAID, -nano("80"))
        assert reconcile(conn, no) == ()
        assert prepay_balance(conn, no).balance_nano == 0
    assert reviews(pair) == [("meter_refused", "not_read_back")]


def test_a_migration_the_meter_refuses_ends_and_the_account_keeps_its_tariff(pair: LinkedPair) -> None:
    no = pair.postpaid_account
    pair.read(2, OPENED_WH)
    pair.takes_mode = Reason.METER_FAULT
    with pair.db.write() as conn:
        had = account_of(conn, no).tariff_id
        add_tariff(conn, "ahead", 0, DEMO_TARIFF, pair.now_ms, "asha")
        asked = migration.ask(conn, migration_rows.Wish(no, Mode.PREPAID, migration_rows.Profile(tariff_id="ahead")), pair.now_ms, "asha")
    migration.carry_out(pair.db, SIGNER, pair.now_ms)
    with pair.db.read() as conn:
        assert account_of(conn, no).tariff_id == "ahead"
    pair.configure()
    pair.carry_down()
    tomorrow(pair, 2, 1_000)
    migration.carry_out(pair.db, SIGNER, pair.now_ms)
    with pair.db.read() as conn:
        found = migration_rows.migration(conn, asked.migration_no)
        assert (found.state.value, found.reason) == ("refused", "meter_refused: meter_fault")
        assert (account_of(conn, no).tariff_id, account_of(conn, no).mode) == (had, Mode.POSTPAID)


def test_what_can_not_be_is_refused_and_says_what_to_do(pair: LinkedPair) -> None:
    convert(pair, Mode.POSTPAID)
    with pytest.raises(RefusedCommand, match="on its way to postpaid already"):
        convert(pair, Mode.POSTPAID)
    with pair.db.write() as conn, pytest.raises(RefusedCommand, match="a deposit is given back when"):
        handover.convert(conn, SIGNER, pair.postpaid_account, Mode.PREPAID, pair.now_ms, "asha", -1)
    with pair.db.write() as conn:
        for meter_no, closing_wh, why in ((pair.homes[0].meter_no, None, "already"), (999, None, "no meter 999"),
                                          (pair.homes[1].meter_no, None, "serves account")):  # fmt: skip
            with pytest.raises(RefusedCommand, match=why):
                replaced.swap_meter(conn, SIGNER, pair.account, meter_no, closing_wh, None, pair.now_ms, "asha")


@pytest.mark.parametrize(("measure", "what"), [("apparent", "kVAh"), ("net_import", "net import")])
def test_kvah_and_net_metering_are_refused_at_enrolment_and_at_conversion(pair: LinkedPair, measure: str, what: str) -> None:
    """Safety 19: with a sentence that names the measure and what to do."""
    items = [{"kind": "energy", "code": "energy", "measure": measure, "price": "8"}]
    document = {"kind": "tariff", "code": "special", "currency": "INR", "zone": "Asia/Kolkata",
                "versions": [{"from": "2020-01-01", "items": items}]}  # fmt: skip
    with pair.db.write() as conn:
        add_tariff(conn, "special", 0, json.dumps(document), pair.now_ms, "asha")
        conn.execute(update(account_table).where(account_table.c.account_no == pair.postpaid_account).values(tariff_id="special"))
        with pytest.raises(RefusedCommand, match=f"bills .*{what}.*: choose a tariff of imported kWh"):
            handover.convert(conn, SIGNER, pair.postpaid_account, Mode.PREPAID, pair.now_ms, "asha")
        account = account_of(conn, pair.postpaid_account)
        conn.execute(update(account_table).where(account_table.c.account_no == account.account_no).values(closed_ms=pair.now_ms))
        new = NewAccount(account.customer_no, account.usage_point_no, account.meter_no, Mode.PREPAID, "special", "INR", "Asia/Kolkata",
                         "en", "", pair.now_ms)  # fmt: skip
        with pytest.raises(RefusedCommand, match=what):
            open_account(conn, new, "asha")
        assert open_account(conn, replace(new, mode=Mode.POSTPAID), "asha").mode is Mode.POSTPAID


def test_asking_for_the_mode_it_has_is_refused(pair: LinkedPair) -> None:
    with pytest.raises(RefusedCommand, match="prepaid already"):
        convert(pair, Mode.PREPAID)


# ---- another meter


def test_the_credit_follows_the_account_behind_another_meter(pair: LinkedPair) -> None:
    home = pair.homes[0]
    with pair.db.write() as conn:
        number = conn.execute(select(func.max(meter.c.meter_no))).scalar_one() + 1
        point = conn.execute(select(meter.c.usage_point_no).where(meter.c.meter_no == home.meter_no)).scalar_one()
        conn.execute(insert(meter).values(meter_no=number, serial="NEW-1", dcu="dcu-pay", usage_point_no=point, installed_ms=pair.now_ms))
        replaced.swap_meter(conn, SIGNER, pair.account, number, OPENED_WH + 1_200, 50, pair.now_ms, "asha")
    pair.configure()
    pair.now_ms += HOUR_MS
    pair.tell(p.MeterRead(number, "NEW-1", pair.now_ms, 350, switch=SwitchState.CLOSED))
    pair.sync()
    state = pair.state()
    assert (state.charged_wh, state.meter_no) == (1_200 + 300, number)
    assert pair.balance().balance_nano == state.balance_nano
    assert faults(pair) == []


def another_meter(pair: LinkedPair, serial: str, closing_wh: int | None, opening_wh: int | None) -> int:
    """Install a meter behind the account, with the registers of the work order; its number."""
    with pair.db.write() as conn:
        number = int(conn.execute(select(func.max(meter.c.meter_no))).scalar_one()) + 1
        point = conn.execute(select(meter.c.usage_point_no).where(meter.c.meter_no == pair.homes[0].meter_no)).scalar_one()
        conn.execute(insert(meter).values(meter_no=number, serial=serial, dcu="dcu-pay", usage_point_no=point, installed_ms=pair.now_ms))
        replaced.swap_meter(conn, SIGNER, pair.account, number, closing_wh, opening_wh, pair.now_ms, "asha")
    return number


def noted(pair: LinkedPair) -> tuple[str, int | None, int | None]:
    with pair.db.read() as conn:
        found = swap_of(conn, pair.account)
    return found.kind, found.closing_wh, found.opening_wh


def another_edge(pair: LinkedPair) -> None:
    with pair.db.write() as conn:
        conn.execute(insert(dcu).values(dcu="dcu-new", serial="S-new", state="enrolled", created_ms=pair.now_ms))
        replaced.replace_edge(conn, SIGNER, pair.account, "dcu-new", pair.now_ms, "asha")


def test_of_two_meters_in_a_row_that_the_edge_did_not_hear_of_no_closing_value_is_told(pair: LinkedPair) -> None:
    """It would be charged as the register of the first: megawatt-hours nobody used."""
    before_wh = pair.state().charged_wh
    another_meter(pair, "NEW-1", OPENED_WH + 1_200, 9_000_000)
    last = another_meter(pair, "NEW-2", 9_000_580, 50)
    assert noted(pair) == ("meter", None, 50)
    pair.configure()
    pair.now_ms += HOUR_MS
    pair.tell(p.MeterRead(last, "NEW-2", pair.now_ms, 350, switch=SwitchState.CLOSED))
    pair.sync()
    assert (pair.state().charged_wh, pair.state().meter_no) == (before_wh + 300, last)
    assert faults(pair) == []


def test_another_edge_behind_a_meter_the_old_one_did_not_hear_of_begins_at_the_new_meters_register(pair: LinkedPair) -> None:
    another_meter(pair, "NEW-1", OPENED_WH + 1_200, 9_000_000)
    another_edge(pair)
    assert noted(pair)[::2] == ("edge", 9_000_000)


def test_another_meter_before_another_edge_has_begun_leaves_the_epoch_as_it_was_to_begin(pair: LinkedPair) -> None:
    """The open cycle is taken over all the same, from the new meter's register on."""
    another_edge(pair)
    with pair.db.write() as conn:
        conn.execute(update(meter).where(meter.c.dcu == "dcu-pay").values(dcu="dcu-new"))
        begun_ms = swap_of(conn, pair.account).swapped_ms
    pair.now_ms += HOUR_MS
    with pair.db.write() as conn:
        conn.execute(insert(meter).values(meter_no=77, serial="NEW-1", dcu="dcu-new", installed_ms=pair.now_ms))
        replaced.swap_meter(conn, SIGNER, pair.account, 77, OPENED_WH + 1_200, 9_000_000, pair.now_ms, "asha")
        assert swap_of(conn, pair.account).swapped_ms == begun_ms
    assert noted(pair) == ("edge", None, 9_000_000)
