"""Time left at the concentrator: fed by charged readings, kept, told with caution, and never in the way of money."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from gridtally_edge.prepay import events as p
from gridtally_edge.prepay import forecasting
from gridtally_edge.prepay.forecast_rows import ForecastRow, kept
from gridtally_edge.prepay.rows import one, save
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import EntryKind, InstrumentType, Lane
from gridtally_shared.contract.prepay_messages import AccountMode, PolicyDocument, TimeLeftTold
from gridtally_shared.forecast.history import history_from
from gridtally_shared.forecast.timeleft import Basis, TimeLeft
from gridtally_shared.ledger.entries import Kind
from support.prepay_bench import HOUR_MS, Bench, tariff


class House:
    """Meter 1 of a bench, read each hour."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.wh = bench, 1_000_000

    def live(self, hours: int, watts: int = 1_000) -> None:
        for _ in range(hours):
            self.wh += watts
            self.bench.now_ms += HOUR_MS
            self.bench.read(1, self.wh)

    def left(self) -> TimeLeft | None:
        return kept(self.bench.db, 101, 1)

    def row(self) -> ForecastRow:
        found = one(self.bench.db, ForecastRow, 101, 1)
        assert found is not None
        return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(Bench(tmp_path))


def test_nothing_is_told_before_two_hours_are_known_and_then_cautiously(house: House) -> None:
    house.bench.credit(1, "840")
    assert house.left() is None
    house.live(1)
    assert house.left() is None
    house.live(47)
    left = house.left()
    assert left is not None
    assert left.basis is Basis.YOUNG
    assert left.central_ms is not None
    assert left.cautious_ms is not None
    truth_ms = house.bench.balance() * HOUR_MS // 8_400_000_000
    assert abs(left.central_ms - left.as_of_ms - truth_ms) < 3 * HOUR_MS
    assert left.as_of_ms < left.cautious_ms < left.central_ms


def test_a_credit_and_a_restart_keep_it_right(house: House) -> None:
    house.bench.credit(1, "840")
    house.live(30)
    before = house.left()
    house.bench.credit(1, "420")
    after = house.left()
    assert before
    assert after
    assert before.central_ms
    assert after.central_ms
    assert before.cautious_ms
    assert after.cautious_ms
    assert 45 * HOUR_MS < after.central_ms - before.central_ms < 55 * HOUR_MS
    house.bench.restart()
    assert house.left() == after
    hours = history_from(house.row().history).hours
    house.bench.trust()
    house.live(3)
    assert history_from(house.row().history).hours == hours + 3


def test_a_house_that_uses_nothing_is_known_to_use_nothing(house: House) -> None:
    house.bench.credit(1, "50")
    house.live(30)
    house.live(24, watts=0)
    left = house.left()
    assert house.bench.entries()[-1].kind != Kind.ENERGY or house.bench.entries()[-1].at_ms < house.bench.now_ms - 23 * HOUR_MS
    assert left is not None
    assert left.as_of_ms == house.bench.now_ms
    assert history_from(house.row().history).hours == 53


def test_below_zero_it_is_over(house: House) -> None:
    house.bench.credit(1, "10")
    house.live(5)
    left = house.left()
    assert left is not None
    assert left.basis is Basis.SPENT
    assert left.central_ms == left.as_of_ms


@pytest.mark.covers_part("C3-A1.1")
def test_low_is_told_with_the_cautious_value_while_the_uplink_is_cut(house: House) -> None:
    house.bench.configure(low_balance_nano=200_000_000_000)
    house.bench.credit(1, "600")
    house.bench.offline()
    house.live(50)
    row = house.bench.db.execute("SELECT at_ms, params FROM message WHERE code = 'LOW'").fetchone()
    assert row is not None
    told_ms = int(json.loads(row[1])["t"])
    assert 5 * HOUR_MS < told_ms < 24 * HOUR_MS


def hours_left(said: str) -> float:
    return int(json.loads(said)["t"]) / HOUR_MS


@pytest.mark.covers("C3-A1.1")
def test_the_hours_left_are_noticed_offline_and_a_changed_threshold_takes_effect(tmp_path: Path) -> None:
    """48 h, with the uplink cut; then a policy of 24 h: the next warning comes below that."""
    def rules(number: int, from_ms: int, hours: int) -> PolicyDocument:
        text = {"kind": "policy", "code": "home", "currency": "INR", "low": {"hours": [hours]}, "offline": {"cut": "never"}}
        return PolicyDocument("home", number, from_ms, json.dumps(text))

    bench = Bench(tmp_path, policy={"policy_id": "home", "low_balance_nano": 0}, documents=(rules(1, 0, 48),))
    house = House(bench)

    def warned() -> list[float]:
        return [hours_left(row[0]) for row in bench.db.execute("SELECT params FROM message WHERE code = 'LOW'")]

    bench.credit(1, "2520")
    house.live(60)
    bench.credit(1, "-1000", type=InstrumentType.REFUND)
    house.live(1)
    assert warned() == []
    bench.offline()
    while not warned():
        house.live(1)
    assert 44 <= warned()[0] < 48
    changed_ms = bench.now_ms - bench.now_ms % 900_000 + 900_000
    bench.documents = (rules(1, 0, 48), rules(2, changed_ms, 24))
    bench.configure(policy_id="home", low_balance_nano=0)
    bench.offline()
    before = len(warned())
    while len(warned()) == before:
        house.live(1)
    assert 20 <= warned()[-1] < 24


def test_money_goes_on_whatever_happens_in_a_forecast(house: House) -> None:
    house.bench.credit(1, "100")
    house.live(4)
    row = house.row()
    row.history = "[99]"
    save(house.bench.db, row)
    entries, balance = len(house.bench.entries()), house.bench.balance()
    house.live(1)
    assert house.bench.balance() == balance - 8_400_000_000
    assert len(house.bench.entries()) == entries + 1
    assert "not understood" in house.row().fault
    assert house.left() is None
    house.live(4)
    assert house.row().fault == ""
    assert house.left() is not None


@pytest.mark.covers("C3-A1.2")
def test_near_its_end_each_reading_is_shown_on_the_meter_and_told_to_the_cloud(house: House) -> None:
    bench = house.bench

    def told() -> list[TimeLeftTold]:
        entries = bench.core.outbox.pending(Lane.URGENT, 0, 1 << 24)
        return [decode(TimeLeftTold, e.body) for e in entries if e.kind == EntryKind.TIME_LEFT]

    bench.credit(1, "2000")
    house.live(30)
    far = len(told())
    bench.credit(1, "-1500", type=InstrumentType.REFUND)
    house.live(1)
    bench.effects.clear()
    near = len(told())
    for _ in range(4):
        house.wh += 250
        bench.now_ms += HOUR_MS // 4
        bench.read(1, house.wh)
    assert far <= 32
    assert len(told()) == near + 4
    assert len([e for e in bench.effects if isinstance(e, p.ShowOnMeter)]) == 4
    last = told()[-1]
    assert (last.balance_nano, last.as_of_ms) == (bench.balance(), bench.now_ms)
    assert last.cautious_ms is not None
    assert last.central_ms is not None  # the date of zero; days, hours and minutes left are what lies between
    assert bench.now_ms < last.cautious_ms < last.central_ms < bench.now_ms + 48 * HOUR_MS
    moments = [t.as_of_ms for t in told()[-4:]]
    assert [b - a for a, b in pairwise(moments)] == [HOUR_MS // 4] * 3  # one message an interval
    bench.offline()
    house.live(3)
    assert len(told()) == near + 4


def test_only_so_many_are_made_in_one_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasting, "MOST_A_TURN", 2)
    bench = Bench(tmp_path, meters=5, tariffs=(tariff(),))
    for meter in range(1, 6):
        bench.credit(meter, "100")
    for hour in range(1, 5):
        bench.now_ms += HOUR_MS
        bench.read_all(1_000_000 + 1_000 * hour)
    made = [one(bench.db, ForecastRow, 100 + n, 1) for n in range(1, 6)]
    assert sum(row is not None and row.as_of_ms == bench.now_ms for row in made) == 2
    bench.wait(60_000)
    bench.wait(60_000)
    made = [one(bench.db, ForecastRow, 100 + n, 1) for n in range(1, 6)]
    assert all(row is not None and row.basis != "none" and not row.due for row in made)


def test_a_meter_is_one_to_be_read_each_interval_while_its_money_is_near_its_end(house: House) -> None:
    """By the time left, by the balance, over a restart; not any more after a top-up, nor where it is paid later."""
    bench = house.bench
    bench.credit(1, "2000")
    house.live(6)
    assert bench.core.near == frozenset()
    bench.credit(1, "-1800", type=InstrumentType.REFUND)  # no low level is crossed, but it lasts a day
    assert bench.core.near == {1}
    bench.restart()
    assert bench.core.near == {1}
    bench.trust()
    bench.credit(1, "3000")
    assert bench.core.near == frozenset()
    low_nano = bench.balance() + 1
    bench.configure(low_balance_nano=low_nano)
    assert bench.core.near == {1}
    bench.configure(mode=AccountMode.POSTPAID)
    assert bench.core.near == frozenset()
