"""Estimated bills: the end of a period nobody read is estimated by VEE or the daily average, said on the bill, limited, and trued up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.billing import cli as bill_cli
from gridtally_cloud.billing import rebill, service, tail_cli
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.model import BillView, LineKind, Tail
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import day_of
from gridtally_cloud.vee.run import run_pending
from gridtally_cloud.workorders.service import OrderKind, orders
from gridtally_shared.contract.messages import Intervals
from gridtally_shared.errors import ConfigError, RefusedCommand
from support.edge_peer import block
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday
from support.typed import typed

PER_DAY = [40 + place % 7 for place in range(96)]
DAY_WH = sum(PER_DAY)
READ, END = 18, 20


def town_of(folder: Path, with_intervals: bool) -> Payday:
    """A billed home that was read for 18 days and then fell silent; time stands two days after the twentieth."""
    town = Payday(folder)
    town.read(2, OPENED_WH)
    for day in range(READ):
        town.now_ms += DAY_MS
        if with_intervals:
            send(town, day)
        town.read(2, OPENED_WH + (day + 1) * DAY_WH)
    town.now_ms = START_MS + END * DAY_MS + GRACE_MS + HOUR_MS
    judged(town)
    return town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = town_of(tmp_path, with_intervals=True)
    yield town
    town.close()


@pytest.fixture
def registers_only(tmp_path: Path) -> Iterator[Payday]:
    town = town_of(tmp_path, with_intervals=False)
    yield town
    town.close()


def send(town: Payday, day: int, more: int = 0) -> None:
    with town.db.write() as conn:
        values = [value + more for value in PER_DAY]
        take_intervals(town.arrival(conn), Intervals((block(town.homes[2].meter_no, START_MS + day * DAY_MS, values),)))


def judged(town: Payday) -> None:
    close_days(town.db, town.now_ms)
    run_pending(town.db, town.now_ms)


def issue(town: Payday, first: int = 0, until: int = END, estimate: bool = True) -> BillView:
    from_ms, to_ms = START_MS + first * DAY_MS, START_MS + until * DAY_MS
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, from_ms, to_ms, town.now_ms, "desk", estimate=estimate)


def reviews(town: Payday) -> list[str]:
    with town.db.read() as conn:
        return [order.reason for order in orders(conn) if order.kind is OrderKind.BILL_REVIEW]


def owed(town: Payday) -> int:
    with town.db.read() as conn:
        return service.outstanding_nano(conn, town.postpaid_account)


def test_days_nobody_read_are_estimated_by_vee_and_the_bill_says_so(town: Payday) -> None:
    with pytest.raises(RefusedCommand, match="journal_behind"):
        issue(town, estimate=False)
    view = issue(town)
    assert view.bill.used_wh == END * DAY_WH, "like days"
    assert view.bill.tail == Tail(START_MS + READ * DAY_MS, 2 * DAY_WH, "intervals")
    assert (view.bill.quality.measured, view.bill.quality.estimated) == (READ * 96, 2 * 96)
    assert view.bill.last is not None
    assert (view.bill.last.register_wh, view.bill.last.estimated) == (OPENED_WH + END * DAY_WH, True)
    assert view.bill.closing_nano == owed(town)
    assert from_json(to_json(view.bill)) == view.bill
    for language in TEXTS:
        page = bill_page(view, language)
        assert page.title == TEXTS[language]["title.estimated"]
        assert any(("10,0" if language == "es" else "10.0") in note or "10\N{NO-BREAK SPACE}%" in note for note in page.notes)
    assert reviews(town) == [], "a tenth, for the first time"
    assert issue(town, estimate=False) == view, "the same period is the same bill"


def test_readings_that_come_later_restate_it_and_it_is_made_again(town: Payday) -> None:
    old = issue(town)
    for day in range(READ, END):
        send(town, day, more=2)
    town.read(2, OPENED_WH + END * DAY_WH + 2 * 96 * 2)
    town.now_ms += GRACE_MS + DAY_MS
    judged(town)
    with town.db.read() as conn:
        waiting = {p.bill_no: p.delta_wh for p in rebill.proposals(conn)}
    assert waiting == {old.bill_no: 2 * 96 * 2}
    with town.db.write() as conn:
        (made,) = rebill.rebill(conn, old.bill_no, town.now_ms, "desk", "read at last")
        new = service.bill(conn, made.new_no)
    assert (new.bill.used_wh, new.bill.tail, new.bill.quality.estimated) == (END * DAY_WH + 2 * 96 * 2, None, 0)
    assert owed(town) == new.bill.closing_nano


def test_without_intervals_the_weeks_before_are_its_measure_and_the_next_bill_settles_it(registers_only: Payday) -> None:
    town = registers_only
    first = issue(town)
    assert first.bill.tail == Tail(START_MS + READ * DAY_MS, 2 * DAY_WH, "registers")
    town.now_ms = START_MS + 30 * DAY_MS
    town.read(2, OPENED_WH + 25 * DAY_WH)
    second = issue(town, END, 30, estimate=False)
    assert second.bill.tail is None
    assert first.bill.used_wh + second.bill.used_wh == 25 * DAY_WH, "no Wh twice, none lost"
    energy = next(line for line in second.bill.lines if line.kind is LineKind.ENERGY)
    assert energy.first == first.bill.last


def test_three_in_a_row_are_an_order_to_a_person_and_the_fourth_is_refused(town: Payday) -> None:
    issue(town)
    seen = []
    for number in range(1, 4):
        town.now_ms = START_MS + (END + number) * DAY_MS + GRACE_MS + HOUR_MS
        if number == 3:
            with pytest.raises(RefusedCommand, match="estimated_too_often"):
                issue(town, END + 2, END + 3)
        else:
            view = issue(town, END + number - 1, END + number)
            seen.append((view.bill.tail.in_row if view.bill.tail else 0, view.bill.used_wh))
    assert seen == [(2, DAY_WH), (3, DAY_WH)]
    assert reviews(town) == ["estimated_bill"]


def test_what_is_too_young_or_has_nothing_to_rest_on_is_refused_and_nothing_is_kept(town: Payday, tmp_path: Path) -> None:
    town.now_ms = START_MS + END * DAY_MS + HOUR_MS
    with pytest.raises(RefusedCommand, match="may still come"):
        issue(town)
    assert owed(town) == 0
    (tmp_path / "other").mkdir()
    other = Payday(tmp_path / "other")
    other.read(2, OPENED_WH)
    other.now_ms += 10 * DAY_MS
    with pytest.raises(RefusedCommand, match="nothing is known of meter"):
        issue(other, 0, 5)
    other.close()


def test_the_command_checks_and_makes_it(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("bill", str(town.postpaid_account), "--from", "2026-11-01", "--to", "2026-11-21")
    assert typed(town, bill_cli, *words, "--check") == 1
    assert typed(town, bill_cli, *words, "--check", "--estimate") == 0
    capsys.readouterr()
    assert typed(town, bill_cli, *words, "--estimate", "--language", "en") == 0
    assert capsys.readouterr().out.startswith("Estimated electricity bill B-")


# ---- the rule of its period -------------------------------------------------------------------------------------


def rule(town: Payday, from_day: int, tariff_id: str = "", **fields: object) -> None:
    """Holds from so many days after the first day on."""
    text = json.dumps({"kind": "estimated_bills", "currency": "INR", **fields})
    with town.db.write() as conn:
        add_rule(conn, text, tariff_id, day_of(START_MS, "Asia/Kolkata") + from_day, town.now_ms, "desk")


def test_how_many_in_a_row_is_judged_by_the_rule_of_the_period(town: Payday) -> None:
    """One at most while the first rule holds, as many as are asked for from the 24th day on."""
    rule(town, 0, most_in_row=1)
    rule(town, 23, most_in_row=9)
    issue(town)
    assert reviews(town) == ["estimated_bill"], "the last one that may be"
    town.now_ms = START_MS + (END + 10) * DAY_MS
    with pytest.raises(RefusedCommand, match="1 bills in a row are the most"):
        issue(town, END, END + 3)
    view = issue(town, END, END + 4)
    assert view.bill.tail is not None
    assert view.bill.tail.in_row == 2


def test_a_tariffs_own_rule_comes_before_that_of_all_and_none_may_be_forbidden(town: Payday) -> None:
    rule(town, 0, most_in_row=9)
    with town.db.read() as conn:
        tariff_id = account_of(conn, town.postpaid_account).tariff_id
    rule(town, 0, tariff_id, most_in_row=0)
    with pytest.raises(RefusedCommand, match="0 bills in a row are the most"):
        issue(town)
    assert owed(town) == 0


@pytest.mark.parametrize(("percent", "looked"), [("9.9", 1), ("10", 0)])
def test_how_much_is_much_is_a_rule(town: Payday, percent: str, looked: int) -> None:
    rule(town, 0, much_percent=percent)
    issue(town)
    assert len(reviews(town)) == looked, "2 days of 20 are a tenth"


def test_the_weeks_of_the_average_are_a_rule(registers_only: Payday) -> None:
    """As much as of ten days on the nineteenth: 19 days' use in ten days."""
    town = registers_only
    town.now_ms = START_MS + 19 * DAY_MS
    town.read(2, OPENED_WH + 28 * DAY_WH)
    town.now_ms = START_MS + END * DAY_MS + GRACE_MS + HOUR_MS
    rule(town, 0, look_back_days=10)
    tail = issue(town).bill.tail
    assert tail is not None
    assert tail.used_wh == 19 * DAY_WH // 10


@pytest.mark.parametrize("more", [2, -2])
def test_for_more_it_is_made_again_only_as_long_as_the_rule_of_its_period_allows_and_for_less_always(town: Payday, more: int) -> None:
    rule(town, 0, correct_days=30)
    rule(town, END, correct_days=300)
    old = issue(town)
    for day in range(READ, END):
        send(town, day, more=more)
    town.read(2, OPENED_WH + END * DAY_WH + 2 * 96 * more)
    town.now_ms = START_MS + (END + 30) * DAY_MS  # the 31st day after its last one
    judged(town)
    if more < 0:
        with town.db.write() as conn:
            assert rebill.rebill(conn, old.bill_no, town.now_ms, "desk", "read at last")
        return
    with pytest.raises(RefusedCommand, match="for more than the 30 days its rule allows"), town.db.write() as conn:
        rebill.rebill(conn, old.bill_no, town.now_ms, "desk", "read at last")
    with town.db.write() as conn:
        assert service.bill(conn, old.bill_no) == old, "it stands"
        rebill.leave(conn, old.bill_no, town.now_ms, "desk", "too late")
    assert owed(town) == old.bill.closing_nano


def test_a_rule_is_added_listed_and_refused_where_it_can_not_be_meant(
    town: Payday, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(town, tail_cli, "estimates", "rules") == 0
    assert "at most three in a row" in capsys.readouterr().out
    path = tmp_path / "estimated.json"
    path.write_text('{"kind": "estimated_bills", "currency": "INR", "most_in_row": 2, "correct_days": 365}')
    assert typed(town, tail_cli, "estimates", "rule", str(path), "--from", "2026-11-01") == 0
    said = "rule 1: all tariffs in INR from 2026-11-01: at most 2 estimated bills in a row, a person looks above 20 %"
    assert capsys.readouterr().out.startswith(said)
    with pytest.raises(RefusedCommand, match="let this one begin later"):
        typed(town, tail_cli, "estimates", "rule", str(path), "--from", "2026-11-01")
    for field, value in (("most_in_row", 37), ("much_percent", 20), ("look_back_days", 6), ("least_days", 8), ("percent", "2")):
        with pytest.raises(ConfigError, match=field):
            rule(town, 40, **{field: value})
