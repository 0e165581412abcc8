"""Fixed charges of a dark home are charged to the nano and wait as a debt where the policy says so; a home nobody pays for is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.money import nano
from gridtally_shared.prepay.packs import pack
from support.prepay_bench import DAY_MS, HOUR_MS, Bench, tariff

DAYS = 10


def dark(folder: Path, **rules: Any) -> Bench:
    """Cut at zero, with a tariff of 2.00 a day and 5 % tax; the fixed rule of a country pack unless told otherwise."""
    body = {"kind": "policy", "code": "home", "currency": "INR", "offline": {"cut": "allowed"}, "low": {"money": ["10"]},
            "zero_action": "disconnect", "fixed": json.loads(pack("gb_like"))["fixed"]} | rules  # fmt: skip
    documents = (PolicyDocument("home", 1, 0, json.dumps(body)),)
    bench = Bench(folder, policy={"policy_id": "home"}, documents=documents, tariffs=(tariff(fixed_per_day="2"),))
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    bench.finish()
    return bench


def live(bench: Bench, days: int = DAYS) -> None:
    for _ in range(days):
        bench.wait(DAY_MS)
        bench.trust()
        bench.online()


def pool(bench: Bench, which: Pool) -> int:
    state, problem = bench.replayed()
    assert problem is None
    return state.pools.get(which, 0)


@pytest.mark.parametrize(("collected", "lower", "debt"), [(True, "21", "0"), (False, "0", "21")])
def test_the_days_of_a_dark_home_are_charged_alike_and_taken_or_owed(tmp_path: Path, collected: bool, lower: str, debt: str) -> None:
    bench = dark(tmp_path, fixed={"cut": collected})
    balance_nano, fixed_nano = bench.balance(), pool(bench, Pool.FIXED)
    live(bench)
    assert pool(bench, Pool.FIXED) - fixed_nano == nano("20")
    assert bench.balance() == balance_nano - nano(lower)
    assert pool(bench, Pool.DEBT) == -nano(debt)
    assert len([e for e in bench.entries() if e.kind == Kind.FIXED]) >= DAYS


def test_in_the_pack_that_lets_them_wait_the_next_payment_pays_them_first(tmp_path: Path) -> None:
    bench = dark(tmp_path)
    live(bench)
    owed_nano, balance_nano = -pool(bench, Pool.DEBT), bench.balance()
    assert owed_nano == nano("21")
    bench.effects.clear()
    bench.credit(1, "20")
    assert (pool(bench, Pool.DEBT), bench.balance(), bench.orders()) == (-nano("1"), balance_nano, [])
    bench.credit(1, "50")
    assert (pool(bench, Pool.DEBT), bench.balance()) == (0, balance_nano + nano("49"))
    assert bench.order().close
    bench.finish()
    bench.wait(DAY_MS)
    assert bench.balance() < balance_nano + nano("49"), "on again: taken from the balance"
    assert pool(bench, Pool.DEBT) == 0


def test_a_home_nobody_pays_for_is_told_once_with_its_evidence(tmp_path: Path) -> None:
    bench = dark(tmp_path, dormant_days=30)

    def told() -> int:
        return [BY_CODE[e.code].name for e in bench.events()].count("account_dormant")

    live(bench, 29)
    assert told() == 0
    live(bench, 3)
    assert told() == 1
    (evidence,) = (d for d in bench.decisions() if d.verdict == "dormant")
    assert [(t.name, t.holds) for t in evidence.tests] == [("unpaid", True), ("clock", True)]
    assert all(not o.close for o in bench.orders())
    bench.credit(1, "5")
    live(bench, 29)
    assert told() == 1
    live(bench, 3)
    assert told() == 2
