"""Pay stations: what an operator sees, pays, takes back and closes; repeats, rules and limits."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.accounts import account
from gridtally_cloud.prepay import paystation, station_day
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.model import InstrumentState
from gridtally_cloud.prepay.station_day import CALLS_A_MINUTE, Station
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from support.payday import DAY_MS, HOUR_MS, METERS, OPENED_WH, Payday

MIRA = Station(7, "Mira, Market Street", "Asia/Kolkata")
ELSA = Station(8, "Elsa, Harbour", "Asia/Kolkata")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    yield town
    town.close()


def pay(town: Payday, amount: str, key: str, station: Station = MIRA, account_no: int = 0) -> paystation.Receipt:
    with town.db.write() as conn:
        return paystation.pay(conn, town.payments, station, account_no or town.account, nano(amount), key, town.now_ms)


def reverse(town: Payday, receipt: paystation.Receipt, station: Station = MIRA) -> paystation.Receipt:
    with town.db.write() as conn:
        return paystation.reverse(conn, town.payments, station, receipt.payment.payment_no, "wrong account", town.now_ms)


@pytest.mark.covers_part("C3-BR3")
def test_a_counter_payment_leaves_for_the_meter_at_once_and_once(town: Payday) -> None:
    first, again = pay(town, "200", "till-1"), pay(town, "200", "till-1")
    assert first.payment.payment_no == again.payment.payment_no
    assert first.payment.instrument is not None
    assert first.payment.instrument.state is InstrumentState.ISSUED
    town.round()
    assert town.balance().balance_nano == nano("200")
    with pytest.raises(RefusedCommand, match="reference_used"):
        pay(town, "300", "till-1")
    other = pay(town, "200", "till-1", ELSA)
    assert other.payment.payment_no != first.payment.payment_no
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


def test_the_operator_sees_a_masked_name_and_what_is_to_be_paid(town: Payday) -> None:
    with town.db.read() as conn:
        holder = account(conn, town.account)
        seen = paystation.find(conn, town.payments, METERS[0].serial, town.now_ms)
        assert paystation.find(conn, town.payments, str(town.account), town.now_ms) == seen
        quote = paystation.quote(conn, town.payments, town.account, nano("100"), town.now_ms)
        for number in ("", "nobody", METERS[0].serial[:-1], "9" * 30):
            with pytest.raises(RefusedCommand, match="not_found"):
                paystation.find(conn, town.payments, number, town.now_ms)
        for amount in ("99.99", "20000.01"):
            with pytest.raises(RefusedCommand, match="payment_too"):
                paystation.quote(conn, town.payments, town.account, nano(amount), town.now_ms)
    assert (seen.account_no, seen.least_nano, seen.most_nano) == (town.account, nano("100"), nano("20000"))
    assert holder.customer_name not in seen.masked_name
    assert [w[0] for w in seen.masked_name.split()] == [w[0] for w in holder.customer_name.split()]
    assert not quote.restores


def test_a_postpaid_account_is_paid_at_the_counter_too(town: Payday) -> None:
    pay(town, "500", "till-1", account_no=town.postpaid_account)
    with town.db.read() as conn:
        assert receivables.outstanding_nano(conn, town.postpaid_account) == nano("-500")


def test_a_reversal_takes_the_credit_back_once(town: Payday) -> None:
    receipt = pay(town, "200", "till-1")
    town.round()
    assert reverse(town, receipt).reversed_at_ms == reverse(town, receipt).reversed_at_ms == town.now_ms
    town.round()
    view = town.balance()
    assert (view.balance_nano, view.pending_nano, view.debt_nano) == (0, 0, 0)
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()
        assert prepay.payment_view(conn, receipt.payment.payment_no).refunded_nano == nano("200")
    with town.db.write() as conn, pytest.raises(RefusedCommand, match="refund_too_large"):
        prepay.refund_payment(conn, town.payments, receipt.payment.payment_no, nano("1"), town.now_ms, "desk")


def test_the_rules_of_a_reversal(town: Payday) -> None:
    receipt = pay(town, "200", "till-1")
    with pytest.raises(RefusedCommand, match="unknown_payment"):
        reverse(town, receipt, ELSA)
    town.now_ms += paystation.REVERSE_WITHIN_MS + 1
    with pytest.raises(RefusedCommand, match="reversal_too_late"):
        reverse(town, receipt)
    used = pay(town, "200", "till-2")
    town.round()
    town.wait(HOUR_MS // 4)
    town.read(0, OPENED_WH + 60_000)
    town.carry_up()
    with pytest.raises(RefusedCommand, match="credit_used"):
        reverse(town, used)


def test_the_file_of_a_day_stands_after_its_close(town: Payday) -> None:
    kept, back = pay(town, "200", "till-1"), pay(town, "150.50", "till-2")
    reverse(town, back)
    day = station_day.today(MIRA, town.now_ms)
    with town.db.write() as conn:
        file = station_day.close_day(conn, MIRA, day, town.now_ms)
        assert station_day.close_day(conn, MIRA, day, town.now_ms) == file
        with pytest.raises(RefusedCommand, match="day_ahead"):
            station_day.close_day(conn, MIRA, "2099-01-01", town.now_ms)
    rows = list(csv.DictReader(file.splitlines()))
    assert [(r["line"], r["receipt"], r["amount"]) for r in rows[:3]] == [
        ("payment", str(kept.payment.payment_no), "200"), ("payment", str(back.payment.payment_no), "150.5"),
        ("reversal", str(back.payment.payment_no), "-150.5")]  # fmt: skip
    assert (rows[3]["line"], rows[3]["amount"], rows[3]["currency"]) == ("total", "200", "INR")
    with pytest.raises(RefusedCommand, match="day_closed"):
        reverse(town, kept)
    late = pay(town, "100", "till-3")
    assert late.day > day
    with town.db.read() as conn:
        assert station_day.day_file(conn, MIRA, day) == file
        assert station_day.day_file(conn, ELSA, day).count("\n") == 1
    town.now_ms += DAY_MS
    assert pay(town, "100", "till-4").day == late.day


def test_no_spreadsheet_runs_what_an_operator_types(town: Payday) -> None:
    with pytest.raises(RefusedCommand, match="bad_key"):
        pay(town, "100", '=HYPERLINK("x")')
    receipt = pay(town, "100", "k")
    with town.db.write() as conn:
        paystation.reverse(conn, town.payments, MIRA, receipt.payment.payment_no, "=1+1", town.now_ms)
        assert ",'=1+1\n" in station_day.day_file(conn, MIRA, receipt.day)


def test_calls_are_counted_by_the_minute(town: Payday) -> None:
    with town.db.write() as conn:
        waits = [station_day.wait_s(conn, 7, "reverse", 90_000) for _ in range(CALLS_A_MINUTE["reverse"] + 1)]
        assert waits == [0] * CALLS_A_MINUTE["reverse"] + [30]
        assert station_day.wait_s(conn, 8, "reverse", 90_000) == 0
        assert station_day.wait_s(conn, 7, "reverse", 120_000) == 0
        assert not station_day.is_guessing(conn, 7, 120_000)
        for _ in range(CALLS_A_MINUTE["miss"]):
            station_day.wait_s(conn, 7, "miss", 120_000)
        assert station_day.is_guessing(conn, 7, 120_000)
        assert not station_day.is_guessing(conn, 7, 180_000)
