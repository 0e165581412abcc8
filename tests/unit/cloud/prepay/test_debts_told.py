"""What comes to a prepaid account from its books and its events stands on its statement by name, and the household is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from gridtally_cloud.billing import assessments
from gridtally_cloud.billing.assessments import Rule, Wish
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.line_words import LineWords
from gridtally_cloud.billing.model import BillView, LineKind
from gridtally_cloud.billing.receivables import outstanding_nano
from gridtally_cloud.billing.service import issue_bill
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.commands import states
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.outgoing import messages_of
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.prepay import handover
from gridtally_cloud.prepay.notices import told
from gridtally_cloud.prepay.settling import settle
from gridtally_cloud.programs import money, service
from gridtally_cloud.programs.model import Booking, ScheduleView
from gridtally_cloud.store import meta
from gridtally_cloud.store.days import day_of
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_shared.contract.codec import encode
from gridtally_shared.ledger.replay import replay
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import Outcome, Programme
from support.linked_pair import LinkedPair, charged_pair
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, SIGNER, START_MS

ZONE = "Asia/Kolkata"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    with charged_pair(tmp_path) as pair:
        with pair.db.write() as conn:
            for login in ("asha", "ravi"):
                conn.execute(insert(app_user).values(login=login, name=login, role="operations", password_hash="", created_ms=0))
        yield pair


def tomorrow(pair: LinkedPair, home: int, wh: int) -> None:
    pair.wait(DAY_MS)
    pair.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
    pair.read(home, OPENED_WH + wh)
    pair.sync()


def to_the_box(pair: LinkedPair) -> None:
    pair.carry_down()
    pair.sync()


def statement(pair: LinkedPair, home: int) -> BillView:
    """Until now, made an hour later."""
    until_ms = pair.now_ms + 1
    pair.wait(HOUR_MS)
    pair.read(home, OPENED_WH + 20_000)
    pair.sync()
    with pair.db.write() as conn:
        return issue_bill(conn, pair.homes[home].account_no, START_MS, until_ms, pair.now_ms, "desk")


def shown(view: BillView, kind: LineKind) -> list[tuple[int, int, str]]:
    assert from_json(to_json(view.bill)) == view.bill
    return [(line.amount_nano, line.quantity, line.reference) for line in view.bill.lines if line.kind is kind]


def debt(pair: LinkedPair, account_no: int) -> int:
    state, problem = replay(account_no, 1, entries_of(pair.money, account_no, 1))
    assert problem is None
    return state.debt_nano


def test_an_assessment_approved_after_the_account_became_prepaid_is_a_debt_by_its_name(pair: LinkedPair) -> None:
    no = pair.postpaid_account
    pair.read(2, OPENED_WH)
    tomorrow(pair, 2, 10_000)
    wish = Wish(no, day_of(START_MS, ZONE), day_of(START_MS, ZONE) + 1, Rule.UNITS, (40_000,), nano("7"), 1000, "bypass")
    with pair.db.write() as conn:
        amount_nano = assessments.propose(conn, wish, pair.now_ms, "asha").amount_nano
        handover.convert(conn, SIGNER, no, Mode.PREPAID, pair.now_ms, "asha")
    pair.configure()
    pair.carry_down()
    tomorrow(pair, 2, 12_000)
    settle(pair.db, SIGNER, pair.now_ms)
    to_the_box(pair)
    before_nano = debt(pair, no)
    with pair.db.write() as conn:
        assessments.approve(conn, 1, pair.now_ms, "ravi")
    assert settle(pair.db, SIGNER, pair.now_ms) == 1
    to_the_box(pair)
    assert debt(pair, no) == before_nano + amount_nano
    view = statement(pair, 2)
    (final, assessed) = shown(view, LineKind.DEBT_TAKEN)
    assert assessed == (0, amount_nano, "A-1")
    assert (final[1], final[2][:2]) == (before_nano, "B-"), "the final bill"
    line = next(line for line in view.bill.lines if line.reference == "A-1")
    for language in TEXTS:
        assert "A-1" in LineWords(view, language).how(line)[1]
    with pair.db.read() as conn:
        assert [dict(n.params)["what"] for n in told(conn, no) if n.code == "debt_taken"] == ["A-1", final[2]]
        assert outstanding_nano(conn, no) == 0
        assert any("A-1" in m.text for m in messages_of(conn, no))


def test_an_assessment_taken_back_after_its_debt_was_carried_over_comes_back_as_credit(pair: LinkedPair) -> None:
    no = pair.postpaid_account
    pair.read(2, OPENED_WH)
    tomorrow(pair, 2, 10_000)
    wish = Wish(no, day_of(START_MS, ZONE), day_of(START_MS, ZONE) + 1, Rule.UNITS, (40_000,), nano("7"), 1000, "bypass")
    with pair.db.write() as conn:
        amount_nano = assessments.propose(conn, wish, pair.now_ms, "asha").amount_nano
        assessments.approve(conn, 1, pair.now_ms, "ravi")
        handover.convert(conn, SIGNER, no, Mode.PREPAID, pair.now_ms, "asha")
    pair.configure()
    pair.carry_down()
    tomorrow(pair, 2, 12_000)
    settle(pair.db, SIGNER, pair.now_ms)
    to_the_box(pair)
    with pair.db.write() as conn:
        assessments.take_back(conn, 1, pair.now_ms, "ravi")
    assert settle(pair.db, SIGNER, pair.now_ms) == 1
    to_the_box(pair)
    assert debt(pair, no) > amount_nano, "the debt is collected as it stands"
    assert [amount for amount, _, _ in shown(statement(pair, 2), LineKind.TOP_UP)] == [amount_nano]


def event(pair: LinkedPair, credit: str, spent: str) -> ScheduleView:
    """Account 1 pays for an event at the supply of account 2, which is over."""
    site = pair.homes[1].account_no
    begin_ms = pair.now_ms + 5 * HOUR_MS
    with pair.db.write() as conn:
        money.allow_events(conn, site, True, "desk", pair.now_ms)
        wish = Booking(programme=Programme.B, account_no=site, requester_no=pair.account, start_ms=begin_ms, end_ms=begin_ms + HOUR_MS,
                       credit_nano=nano(credit), by="desk")  # fmt: skip
        made = service.book(conn, SIGNER, wish, pair.now_ms)
        outcome = Outcome(made.schedule_no, "ended", pair.now_ms, nano(spent), 1_000, nano(credit) - nano(spent), 1)
        for step in (CommandState.QUEUED, CommandState.DELIVERED, CommandState.EXECUTING, CommandState.DONE):
            states.advance(conn, made.cmd_id, step, pair.now_ms, "dcu", "", encode(outcome) if step is CommandState.DONE else b"")
        money.settle_ended(conn, SIGNER, pair.now_ms)
    return made


def test_an_event_stands_on_the_statement_of_who_pays_for_it_and_its_overrun_is_a_debt_by_its_name(pair: LinkedPair) -> None:
    pair.read(1, OPENED_WH)
    pair.sync()
    cheap, dear = event(pair, "40", "12.5"), event(pair, "20", "25")
    assert settle(pair.db, SIGNER, pair.now_ms) == 1
    to_the_box(pair)
    view = statement(pair, 0)
    names = f"EVENT-{cheap.schedule_no}", f"EVENT-{dear.schedule_no}"
    assert shown(view, LineKind.EVENT) == [(nano("-40"), 0, names[0]), (nano("27.5"), 0, names[0]), (nano("-20"), 0, names[1])]
    assert shown(view, LineKind.DEBT_TAKEN) == [(0, nano("5"), names[1])]
    assert [amount for amount, _, _ in shown(view, LineKind.TOP_UP) if amount < 0] == [], "no event is told as a top-up"
    for language in TEXTS:
        words = LineWords(view, language)
        assert sum(names[0] in words.what(line) for line in view.bill.lines) == 2
    assert debt(pair, pair.account) == nano("5")


def test_an_account_whose_box_has_to_speak_first_keeps_no_other_one_waiting(pair: LinkedPair) -> None:
    """After a restore of our store nothing is signed for a concentrator that has not greeted."""
    pair.read(1, OPENED_WH)
    pair.sync()
    event(pair, "20", "25")
    with pair.db.write() as conn:
        meta.note_restore(conn, pair.now_ms + 1)
    assert settle(pair.db, SIGNER, pair.now_ms) == 0
    pair.wait(HOUR_MS)
    pair.greet()
    assert settle(pair.db, SIGNER, pair.now_ms) == 1
