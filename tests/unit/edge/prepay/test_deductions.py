"""What is left of a payment after everything that is taken out of it, worked out by hand (BYPL-17.5a, prepayment.md 3.4)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.instruments.details import ChargeCorrection, DebtTaken
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.money import nano
from support.prepay_bench import HOUR_MS, Bench

RULES = {
    "kind": "policy", "code": "home", "currency": "INR", "zero_action": "none", "low": {"money": ["10"]},
    "emergency": {"limit": "10.00", "auto": True},
    "debts": [{"kind": "payment", "period": "week", "percent": "25", "cap_per_period": "5.00"}],
}  # fmt: skip


@pytest.mark.covers_part("BYPL-17.5a")
def test_arrears_and_emergency_credit_are_taken_before_the_wallet_grows(tmp_path: Path) -> None:
    """8.40 paid, 1.5 kWh used at 8 and 5 % tax: 12.60, so 4.20 of emergency credit. Owed: 40 of arrears and 2 of a correction. Of 50 paid
    a quarter would be 12.50 for the arrears, but no more than 5 a week; 4.20 pay the emergency credit back: 40.80 are left. Of 20 more
    in the same week nothing is taken: 60.80."""
    bench = Bench(tmp_path, policy={"policy_id": "home"}, documents=(PolicyDocument("home", 1, 0, json.dumps(RULES)),))
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_500)
    assert bench.replayed()[0].emergency_used_nano == nano("4.20")
    bench.credit(1, "-40", type=m.InstrumentType.DEBT, detail=encode(DebtTaken("payment", "arrears")))
    bench.credit(1, "-2", type=m.InstrumentType.CORRECTION, detail=encode(ChargeCorrection("reading", 1, 2)))
    bench.credit(1, "50")
    state, _ = bench.replayed()
    assert (state.balance_nano, state.emergency_used_nano, state.pools[Pool.DEBT_PAYMENT]) == (nano("40.80"), 0, -nano("37"))
    bench.credit(1, "20")
    assert bench.balance() == nano("60.80")
