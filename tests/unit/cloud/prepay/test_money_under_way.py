"""Money that was on its way to a concentrator that is replaced: it comes along once, and nobody waits for it any longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from gridtally_cloud.prepay import control, replaced
from gridtally_cloud.prepay.notices import told
from gridtally_cloud.prepay.resend import late_credits, watch
from gridtally_cloud.store.tables import dcu
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.money import nano
from support.linked_pair import LinkedPair, charged_pair
from support.payday import DAY_MS, HOUR_MS, SIGNER


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    with charged_pair(tmp_path) as pair:
        yield pair


def test_what_was_on_its_way_to_a_dead_box_is_no_more_on_its_way(pair: LinkedPair) -> None:
    left = pair.balance().balance_nano
    pair.pay("100")
    assert pair.balance().pending_nano == nano("100")
    with pair.db.write() as conn:
        for name in ("dcu-two", "dcu-three"):
            conn.execute(insert(dcu).values(dcu=name, serial=name, state="enrolled", created_ms=pair.now_ms))
            replaced.replace_edge(conn, SIGNER, pair.account, name, pair.now_ms, "asha")
    assert (pair.balance().balance_nano, pair.balance().pending_nano) == (0, left + nano("100")), "once, with the box that never spoke"
    pair.now_ms += 2 * DAY_MS
    watch(pair.db, pair.now_ms)
    with pair.db.read() as conn:
        assert {(late.epoch, late.amount_nano) for late in late_credits(conn, pair.account)} == {(3, left + nano("100"))}
        assert told(conn, pair.account) == (), "nobody paid that again"


def test_who_waits_for_his_credit_does_not_hear_that_it_arrived_at_a_dead_box(pair: LinkedPair) -> None:
    pair.pay("100")
    pair.now_ms += HOUR_MS
    watch(pair.db, pair.now_ms)
    with pair.db.write() as conn:
        conn.execute(insert(dcu).values(dcu="dcu-two", serial="two", state="enrolled", created_ms=pair.now_ms))
        replaced.replace_edge(conn, SIGNER, pair.account, "dcu-two", pair.now_ms, "asha")
    watch(pair.db, pair.now_ms)
    with pair.db.read() as conn:
        assert [notice.code for notice in told(conn, pair.account)] == ["credit_late"]
        assert late_credits(conn, pair.account) == ()


def test_an_order_of_the_desk_that_came_late_is_no_credit(pair: LinkedPair) -> None:
    with pair.db.write() as conn:
        control.order(conn, SIGNER, pair.account, LimitOrder(500), pair.now_ms, "desk")
    pair.now_ms += HOUR_MS
    watch(pair.db, pair.now_ms)
    pair.meet()
    watch(pair.db, pair.now_ms)
    with pair.db.read() as conn:
        assert (told(conn, pair.account), late_credits(conn, pair.account)) == ((), ())
