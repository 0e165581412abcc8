"""The two thresholds of a low balance, in money and in time, each by itself; what the display knows of an event a day before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_edge.display.account import view_account
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import Words
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.contract.messages import CommandType, InstrumentType
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.money import NANO, nano
from gridtally_shared.schedules.document import Schedule, to_bytes
from support.prepay_bench import DAY_MS, HOUR_MS, Bench

LOW = {"kind": "policy", "code": "home", "currency": "INR", "low": {"money": ["50"], "hours": [24]}}


class House:
    """Meter 1 of a bench under a policy with both thresholds, read each hour."""

    def __init__(self, folder: Path) -> None:
        documents = (PolicyDocument("home", 1, 0, json.dumps(LOW)),)
        self.bench = Bench(folder, documents=documents, policy={"policy_id": "home"})
        self.wh = 1_000_000

    def credit(self, amount: str) -> None:
        """What was told of the empty account before is not counted."""
        self.bench.credit(1, amount)
        self.bench.effects.clear()

    def live(self, hours: int, watts: int) -> None:
        for _ in range(hours):
            self.wh += watts
            self.bench.now_ms += HOUR_MS
            self.bench.read(1, self.wh)

    @property
    def lows(self) -> int:
        return sum(code.startswith("LOW") for code in self.bench.messages())

    @property
    def told(self) -> list[str]:
        row = self.bench.db.execute("SELECT standing FROM account WHERE account_no = 101").fetchone()
        return sorted(name.partition(":")[0] for name in json.loads(row[0]).get("told", ()))


@pytest.mark.covers("C3-IE4")
@pytest.mark.parametrize("first", ["money", "hours"])
def test_money_and_time_cross_each_by_itself(tmp_path: Path, first: str) -> None:
    house = House(tmp_path)
    if first == "money":
        # 0.084 an hour; 48.00 are below the 50.00, and more than twenty days
        house.credit("400")
        house.live(30, 10)
        assert house.lows == 0
        house.bench.credit(1, "-352", type=InstrumentType.REFUND)
        house.live(1, 10)
        assert (house.lows, house.told) == (1, ["money"])
        house.live(4, 2_000)
    else:
        # 16.80 an hour; 350.00 are far above the 50.00, and less than a day
        house.credit("3000")
        house.live(30, 2_000)
        assert house.lows == 0
        house.bench.credit(1, f"-{(house.bench.balance() - nano('350')) // NANO}", type=InstrumentType.REFUND)
        house.live(1, 2_000)
        assert (house.lows, house.told) == (1, ["hours"])
        house.live(18, 2_000)
    assert (house.lows, house.told) == (2, ["hours", "money"])


@pytest.mark.covers("C3-S2.15")
def test_the_display_shows_the_balance_and_the_event_within_the_day_before_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "100")
    start_ms = bench.now_ms + 30 * HOUR_MS
    frame = Schedule(1, "A", 101, "Asia/Kolkata", start_ms, start_ms + 2 * HOUR_MS, currency="INR")
    bench.send(bench.command(CommandType.SCHEDULE, not_before_ms=start_ms, expires_ms=start_ms + 30 * DAY_MS, detail=to_bytes(frame)))
    bench.offline()
    for before_ms in (DAY_MS, 12 * HOUR_MS, HOUR_MS // 2):
        bench.wait(start_ms - before_ms - bench.now_ms)
        bench.read(1, 1_000_000)
        view = view_account(bench.db, 101, bench.now_ms)
        assert view is not None
        assert (view.balance_nano, view.as_of_ms) == (bench.balance(), bench.now_ms)
        words = Words("en", "INR", zone_of(view.config.zone))
        page = balance_page(words, view)
        assert words.money(view.balance_nano) in page
        assert words.moment(start_ms) in page
