"""Credits on the way: sent again until mirrored, told about while they are late, measured at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gridtally_cloud.prepay.notices import told
from gridtally_cloud.prepay.resend import HOUR_MS, MINUTE_MS, late_credits, level_of, progress, watch, within
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store.tables import dcu, outbox_down
from gridtally_edge.prepay.events import InstrumentArrived
from gridtally_shared.money import nano
from support.payday import OPENED_WH, START_MS, Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    yield town
    town.close()


def codes(town: Payday) -> list[str]:
    with town.db.read() as conn:
        return [n.code for n in reversed(told(conn, town.account))]


def levels(town: Payday) -> list[str]:
    with town.db.read() as conn:
        return [late.level for late in late_credits(conn)]


def test_each_level_is_told_once_and_arrival_ends_it(town: Payday) -> None:
    town.pay("100")
    for age_ms, expected in ((MINUTE_MS - 1, []), (MINUTE_MS, ["slow"]), (HOUR_MS, ["late"]), (24 * HOUR_MS, ["overdue"])):
        for _ in range(2):
            watch(town.db, START_MS + age_ms)
        assert levels(town) == expected
    assert codes(town) == ["credit_slow", "credit_late", "credit_overdue"]
    town.now_ms = START_MS + 24 * HOUR_MS + 1
    town.round()
    for _ in range(2):
        watch(town.db, town.now_ms)
    assert levels(town) == []
    assert codes(town)[-1] == "credit_arrived"


def test_a_credit_applied_but_not_mirrored_is_still_sent_and_still_late(town: Payday) -> None:
    town.pay("100")
    sent: list[bytes] = []
    line = Publisher(town.db, "w", lambda topic, payload: not sent.append(payload) if "instrument" in topic else True)
    line.send_due(town.now_ms, 1.0)
    town.tell(InstrumentArrived(sent[0]))
    watch(town.db, START_MS + MINUTE_MS)
    assert levels(town) == ["slow"]
    for minutes in (1, 3, 7, 15, 31, 47):
        line.send_due(START_MS + minutes * MINUTE_MS, 1.0)
    assert len(sent) == 7
    assert len(set(sent)) == 1
    town.tell(InstrumentArrived(sent[-1]))
    town.carry_up()
    line.send_due(START_MS + 10 * HOUR_MS, 1.0)
    assert len(sent) == 7
    assert town.balance().balance_nano == nano("100")


def test_the_desk_sees_whether_the_concentrator_is_there(town: Payday) -> None:
    town.pay("100")
    watch(town.db, START_MS + HOUR_MS)
    for online in (False, True):
        with town.db.write() as conn:
            conn.execute(update(dcu).values(online=online))
            assert [(late.online, late.level, late.amount_nano) for late in late_credits(conn)] == [(online, "late", nano("100"))]


def test_every_instant_of_a_credit_is_on_record(town: Payday) -> None:
    town.pay("100")
    town.now_ms += 5_000
    Publisher(town.db, "w", lambda _topic, _payload: True).send_due(town.now_ms, 1.0)
    town.now_ms += 7_000
    with town.db.read() as conn:
        envelope = bytes(conn.execute(select(outbox_down.c.payload).where(outbox_down.c.channel == "instrument")).scalar_one())
    town.tell(InstrumentArrived(envelope))
    town.now_ms += 9_000
    town.carry_up()
    town.pay("200")
    with town.db.read() as conn:
        first, second = progress(conn, START_MS, town.now_ms + 1)
    assert (first.captured_ms, first.issued_ms, first.last_sent_ms) == (START_MS, START_MS, START_MS + 5_000)
    assert (first.applied_ms, first.mirrored_ms) == (START_MS + 12_000, START_MS + 21_000)
    assert (second.applied_ms, second.mirrored_ms, second.attempts) == (None, None, 0)
    assert within((first, second), 12_000) == (1, 2)
    assert within((first, second), 11_999) == (0, 2)


def test_levels_grow_with_the_age() -> None:
    assert [level_of(ms) for ms in (0, MINUTE_MS, HOUR_MS, 24 * HOUR_MS)] == ["", "slow", "late", "overdue"]
