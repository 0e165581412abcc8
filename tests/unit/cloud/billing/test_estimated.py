"""Estimated bills: the end of a period nobody read is estimated by VEE or the daily average, said on the bill, limited, and trued up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.billing import cli as bill_cli
from gridtally_cloud.billing import rebill, service
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.model import BillView, LineKind, Tail
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.vee.run import run_pending
from gridtally_cloud.workorders.service import OrderKind, orders
from gridtally_shared.contract.messages import Intervals
from gridtally_shared.errors import RefusedCommand
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
