"""Both streams side by side: the display's balance and as-of, every line explained, the difference named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.replay_view import Replay, Side, replayed
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_edge.display.account import view_account
from gridtally_shared.money import nano
from support.payday import HOUR_MS, OPENED_WH, Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    town.pay("250")
    town.round()
    town.wait(HOUR_MS)
    town.read(0, OPENED_WH + 4_000)
    yield town
    town.close()


def seen(town: Payday, shown: int = 60) -> Replay:
    with town.db.read() as conn:
        return replayed(conn, town.account, shown)


def test_the_page_shows_the_balance_and_as_of_of_the_display(town: Payday) -> None:
    town.carry_up()
    page, display = seen(town), view_account(town.money, town.account, town.now_ms)
    assert display is not None
    assert (page.balance_nano, page.as_of_ms, page.seq) == (display.balance_nano, display.as_of_ms, display.seq)
    assert (page.finding, page.in_transit, page.unread) == ("", (), 0)
    assert page.balance_nano == town.balance().balance_nano


def test_the_difference_is_named_line_by_line(town: Payday) -> None:
    before = seen(town)
    town.carry_up()
    town.pay("100")
    town.carry_down()
    page = seen(town)
    assert page.seq > before.seq
    assert [(t.amount_nano, t.state) for t in page.in_transit] == [(nano("100"), "sent")]
    assert page.transit_nano == town.balance().pending_nano
    town.carry_up()
    assert seen(town).balance_nano == page.balance_nano + page.transit_nano


@pytest.mark.covers_part("C3-A3.3")
def test_each_line_says_how_it_came_about(town: Payday) -> None:
    town.carry_up()
    with town.db.write() as conn:
        paid = prepay.payments(conn, town.account)[0]
        prepay.refund_payment(conn, town.payments, paid.payment_no, nano("50"), town.now_ms, "desk")
    town.round()
    page = seen(town)
    by_kind = {(line.side, line.kind): line for line in page.lines}
    payment, sent, credit = (by_kind[key] for key in ((Side.CLOUD, "payment"), (Side.CLOUD, "instrument"), (Side.EDGE, "credit")))
    assert payment.payment_no == credit.payment_no == paid.payment_no
    assert (credit.amount_nano, credit.balance_nano) == (nano("250"), nano("250"))
    assert (sent.gseq, by_kind[Side.CLOUD, "refund"].amount_nano) == (2, nano("-50"))
    energy = by_kind[Side.EDGE, "energy"]
    assert energy.energy_wh == 4_000
    assert -energy.amount_nano == sum(p.amount_nano for p in energy.parts if p.pool != "paid") > 0
    assert sum(c.amount_nano for c in energy.charges) == -energy.amount_nano
    numbers = [line.number for line in page.lines if line.side is Side.EDGE]
    assert numbers == sorted(numbers)
    assert page.lines[-1].balance_nano == page.balance_nano
    running = 0
    for line in page.lines:
        if line.side is Side.EDGE:
            running += line.amount_nano
            assert line.balance_nano == running


def test_a_long_journal_shows_its_end_and_the_same_balance(town: Payday) -> None:
    for n in range(6):
        town.wait(HOUR_MS)
        town.read(0, OPENED_WH + 5_000 + n * 500)
    town.carry_up()
    whole, tail = seen(town), seen(town, 3)
    assert (tail.balance_nano, tail.seq, tail.head) == (whole.balance_nano, whole.seq, whole.head)
    assert len([x for x in tail.lines if x.side is Side.EDGE]) == 3


def test_what_does_not_fit_is_a_finding(town: Payday) -> None:
    town.carry_up()
    with town.db.write() as conn:
        conn.execute(update(account_mirror).values(balance_nano=account_mirror.c.balance_nano + 1))
    assert "the mirror is on record" in seen(town).finding
    with town.db.write() as conn:
        conn.execute(journal_entry.delete().where(journal_entry.c.seq == 2))
    page = seen(town)
    assert page.finding.startswith("entry 3:")
    assert page.seq == 1
    assert page.unread > 0
