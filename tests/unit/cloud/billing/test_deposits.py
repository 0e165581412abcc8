"""Deposits: a liability beside the receivables, with interest by rule; on the final bill, refunded, or as credit of prepayment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from gridtally_cloud.billing import cli as bill_cli
from gridtally_cloud.billing import deposit_cli, deposits, service
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.model import BillState, BillView, DepositHeld, LineKind
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.store.days import day_of
from gridtally_shared.errors import GridtallyError, RefusedCommand
from gridtally_shared.money import nano
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday
from support.typed import typed

RULE = {"kind": "deposit_interest", "currency": "INR", "percent": "6", "per": "year"}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """A billed home; time stands at noon of 1 November."""
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    town.now_ms += 12 * HOUR_MS
    yield town
    town.close()


def rule(town: Payday, begins: str = "2026-04-01", **more: object) -> None:
    path = town.folder / "deposit.json"
    path.write_text(json.dumps(RULE | more))
    assert typed(town, deposit_cli, "deposit", "rule", str(path), "--from", begins) == 0


def take(town: Payday, amount: str, receipt: str = "R-1") -> int:
    with town.db.write() as conn:
        return deposits.take(conn, town.postpaid_account, nano(amount), receipt, town.now_ms, "desk")


def held(town: Payday) -> int:
    with town.db.read() as conn:
        return deposits.held_nano(conn, town.postpaid_account)


def owed(town: Payday) -> int:
    with town.db.read() as conn:
        return service.outstanding_nano(conn, town.postpaid_account)


def month_later(town: Payday) -> None:
    """Noon of 1 December, after a month of use."""
    town.now_ms = START_MS + 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    town.now_ms += 12 * HOUR_MS


def bill(town: Payday, final: bool = False, first: int = 0, until: int = 30) -> BillView:
    from_ms, to_ms = START_MS + first * DAY_MS, START_MS + until * DAY_MS
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, from_ms, to_ms, town.now_ms, "desk", final)


def sides(town: Payday) -> dict[str, int]:
    """Debit less credit of each account of the books."""
    r = receivable.c
    sums: dict[str, int] = {}
    with town.db.read() as conn:
        for column, sign in ((r.debit_account, 1), (r.credit_account, -1)):
            for name, total in conn.execute(select(column, func.sum(r.amount_nano)).group_by(column)):
                sums[name] = sums.get(name, 0) + sign * int(total)
    assert sum(sums.values()) == 0
    return {name: total for name, total in sums.items() if total}


def test_a_deposit_is_a_liability_and_no_part_of_what_is_owed(town: Payday) -> None:
    assert take(town, "1000") == nano("1000")
    assert take(town, "1000") == nano("1000"), "the same receipt is the same money"
    assert take(town, "250", "R-2") == nano("1250")
    assert owed(town) == 0
    assert sides(town) == {"cash": nano("1250"), "deposit": -nano("1250")}
    month_later(town)
    view = bill(town)
    assert view.bill.closing_nano == owed(town) == nano("813.75"), "a bill that is not the last one leaves the deposit alone"
    assert view.bill.deposit == DepositHeld(nano("1250"))
    assert from_json(to_json(view.bill)) == view.bill
    for language in TEXTS:
        assert any("1250,00" in note or "1,250.00" in note for note in bill_page(view, language).notes)
    with town.db.read() as conn:
        assert [row.action for row in audit_rows(conn, limit=20)].count("deposit.taken") == 2


def test_interest_is_by_days_posted_once_and_the_day_of_the_run_changes_nothing(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    rule(town)
    rule(town, "2027-01-16", percent="12")
    take(town, "1000")
    with town.db.read() as conn:
        account = account_of(conn, town.postpaid_account)
        pieces = deposits.due_interest(conn, account, day_of(START_MS + 92 * DAY_MS, account.zone))
    # 29 days of 1000.00 in November, 31 of 1004.77 in December; January in two parts, of 1009.89
    assert [p.amount_nano for p in pieces] == [nano("4.77"), nano("5.12"), nano("2.49"), nano("5.31")]
    for day in (33, 33, 95):
        town.now_ms = START_MS + day * DAY_MS

        def killed() -> None:
            with town.db.write() as conn:
                deposits.post_interest(conn, account, day_of(town.now_ms, account.zone), town.now_ms, "desk")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            killed()
        assert typed(town, deposit_cli, "deposit", "interest") == 0
    assert held(town) == nano("1017.69")
    assert sides(town)["interest"] == nano("17.69")
    capsys.readouterr()
    assert typed(town, deposit_cli, "deposit", "show", str(town.postpaid_account)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["1000", "4.77", "5.12", "2.49", "5.31"]
    assert lines[-1].endswith("1017.69 is held")


def test_the_final_bill_is_paid_out_of_the_deposit_and_the_rest_is_refunded(town: Payday) -> None:
    rule(town)
    take(town, "1000")
    month_later(town)
    assert typed(town, bill_cli, "bill", str(town.postpaid_account), "--month", "2026-11", "--final") == 0
    view = bill(town, final=True)
    assert view.state is BillState.PAID
    assert (view.bill.closing_nano, owed(town), view.bill.deposit) == (0, 0, DepositHeld(nano("191.02"), nano("4.77")))
    assert [line.amount_nano for line in view.bill.lines if line.kind is LineKind.DEPOSIT] == [-nano("813.75")]
    for language in TEXTS:
        assert TEXTS[language]["line.deposit"] in [row.what for row in bill_page(view, language).rows]
    for _ in range(2):
        assert typed(town, deposit_cli, "deposit", "refund", str(town.postpaid_account), "--receipt", "R-9") == 0
    assert held(town) == 0
    with pytest.raises(RefusedCommand, match="0 is held"):
        typed(town, deposit_cli, "deposit", "refund", str(town.postpaid_account), "--receipt", "R-10")
    assert sides(town) == {"cash": nano("808.98"), "interest": nano("4.77"), "revenue": -nano("813.75")}


def test_a_small_deposit_pays_what_it_can(town: Payday) -> None:
    take(town, "500")
    month_later(town)
    view = bill(town, final=True)
    assert view.bill.closing_nano == owed(town) == view.due_nano == nano("313.75")
    assert held(town) == 0


def test_applied_to_arrears_it_stands_on_the_next_bill(town: Payday) -> None:
    take(town, "500")
    month_later(town)
    bill(town)
    with pytest.raises(RefusedCommand, match="is issued and not the last one"):
        bill(town, final=True)
    with pytest.raises(RefusedCommand, match="apply the deposit to that first"):
        typed(town, deposit_cli, "deposit", "refund", str(town.postpaid_account), "--receipt", "R-9")
    assert typed(town, deposit_cli, "deposit", "apply", str(town.postpaid_account)) == 0
    assert (owed(town), held(town)) == (nano("313.75"), 0)
    town.now_ms = START_MS + 61 * DAY_MS
    town.read(2, OPENED_WH + 150_000)
    second = bill(town, first=30, until=61)
    assert [line.amount_nano for line in second.bill.lines if line.kind is LineKind.DEPOSIT] == [-nano("500")]
    assert second.bill.closing_nano == owed(town)


REFUSED = (
    (("take", "{no}", "-5", "--receipt", "R"), "whole coins"), (("take", "{no}", "0.005", "--receipt", "R"), "whole coins"),
    (("take", "{no}", "much", "--receipt", "R"), "digits"), (("take", "{no}", "5", "--receipt", " "), "name the receipt"),
    (("take", "{no}", "6", "--receipt", "R-1"), "is known with"), (("take", "4711", "5", "--receipt", "R"), "unknown_account"),
    (("take", "{prepaid}", "5", "--receipt", "R"), "prepaid"), (("refund", "{no}", "1001", "--receipt", "R"), "give back no more"),
    (("apply", "{no}"), "owes nothing"), (("show", "4711"), "unknown_account"),
)  # fmt: skip


@pytest.mark.covers_part("C3-N6")
def test_what_can_not_be_done_is_refused_and_moves_nothing(town: Payday) -> None:
    """A prepaid account is asked for none."""
    take(town, "1000")
    for words, says in REFUSED:
        with pytest.raises(GridtallyError, match=says):
            typed(town, deposit_cli, "deposit", *(word.format(no=town.postpaid_account, prepaid=town.account) for word in words))
    assert sides(town) == {"cash": nano("1000"), "deposit": -nano("1000")}
    month_later(town)
    with town.db.write() as conn, pytest.raises(RefusedCommand, match="no final bill"):
        service.issue_bill(conn, town.account, START_MS, START_MS + DAY_MS, town.now_ms, "desk", final=True)
