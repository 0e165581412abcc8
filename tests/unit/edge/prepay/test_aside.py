"""An account in which we can not go on is set aside: nothing is charged or switched there, the cloud is told, no other home notices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_shared.contract import messages as m
from gridtally_shared.events import BY_NAME as EVENTS
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench

RENT = {
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
    "versions": [{"from": "2020-01-01", "items": [
        {"kind": "energy", "code": "energy", "price": "8"}, {"kind": "fixed", "code": "rent", "price": "1"}]}],
}  # fmt: skip


def pass_day(bench: Bench) -> None:
    bench.now_ms += DAY_MS
    bench.trust()
    bench.online()
    for meter_no in (1, 2):
        bench.read(meter_no, 1_000_000 + (bench.now_ms - START_MS) // DAY_MS)


def running_of(bench: Bench) -> str:
    return str(bench.db.execute("SELECT running FROM charging WHERE account_no = 101").fetchone()[0])


@pytest.fixture
def street(tmp_path: Path) -> Bench:
    """Two homes with credit. What the first was charged for its days was mixed up: the next day would be charged a second time."""
    bench = Bench(tmp_path, meters=2, tariffs=(m.TariffDocument("home", 1, 0, json.dumps(RENT)),))
    for meter_no in (1, 2):
        bench.credit(meter_no, "10")
        bench.read(meter_no, 1_000_000)
    pass_day(bench)
    old = running_of(bench)
    pass_day(bench)
    mixed = f"{running_of(bench).partition(' ')[0]} {old.partition(' ')[2]}"
    bench.db.execute("UPDATE charging SET running = ? WHERE account_no = 101", (mixed,))
    bench.effects.clear()
    return bench


def test_the_others_are_charged_and_switched_as_ever(street: Bench) -> None:
    before = street.kinds(1)
    street.wait(HOUR_MS)
    street.read(2, 1_002_000)
    assert street.kinds(1) == before
    assert street.order(close=False).meter_no == 2


def test_the_cloud_is_told_once(street: Bench) -> None:
    for _ in range(3):
        street.wait(HOUR_MS)
    faults = [e.detail for e in street.events() if e.code == EVENTS["ledger_fault"].code]
    assert len(faults) == 1
    assert faults[0].startswith("account=101 set aside: own entry")


def test_nothing_is_switched_there_and_its_money_waits_for_the_next_start(street: Bench) -> None:
    street.wait(HOUR_MS)
    street.read(1, 1_009_000)
    street.credit(1, "500")
    street.configure()
    street.wait(HOUR_MS)
    assert [o.meter_no for o in street.orders() if o.meter_no == 1] == []
    assert street.core.aside == frozenset({101})
