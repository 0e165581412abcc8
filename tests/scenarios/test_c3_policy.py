"""Seed 002 (prepayment): rules that come as signed policies. A concentrator, a home with a switch, a policy of its own.

The core is the real one on a real money.db; the line's answers are given by hand, time is wound.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.money import nano
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench

MINUTE_MS = 60_000


def document(number: int = 1, from_ms: int = 0, **rules: Any) -> PolicyDocument:
    said = {"kind": "policy", "code": "home", "currency": "INR", "zero_action": "disconnect", "offline": {"cut": "allowed"}, **rules}
    return PolicyDocument("home", number, from_ms, json.dumps(said))


class Home:
    """A home whose account follows a policy; 840.00 were paid, 8.40 cost a kWh."""

    def __init__(self, folder: Path, *documents: PolicyDocument, account: dict[str, Any] | None = None, **rules: Any) -> None:
        self.bench = Bench(folder, policy={"policy_id": "home", **(account or {})}, documents=documents or (document(**rules),))
        self.bench.credit(1, "840")
        self.wh = 1_000_000

    def uses(self, kwh: float, hours: float = 5) -> None:
        """Use so much over some hours; the meter is read at their end."""
        self.bench.wait(int(hours * HOUR_MS))
        self.bench.trust()
        self.wh += int(kwh * 1000)
        self.reads()

    def reads(self) -> None:
        state = SwitchState.OPEN if self.is_dark else SwitchState.CLOSED
        self.bench.read(1, self.wh, state)

    def waits(self, ms: int) -> None:
        """Time passes, the meter is read again and has moved nothing."""
        self.bench.wait(ms)
        self.bench.trust()
        self.reads()

    is_dark = False

    def line_answers(self) -> None:
        """The switch does what was ordered last."""
        order = self.bench.order()
        self.bench.finish()
        self.is_dark = not order.close

    @property
    def is_cut_ordered(self) -> bool:
        return any(not order.close for order in self.bench.orders())

    def blocked(self) -> list[str]:
        return [t.name for t in self.bench.decisions()[-1].tests if not t.holds]

    def told(self, code: str) -> int:
        return self.bench.messages().count(code)

    def pool(self, pool: Pool) -> int:
        return self.bench.replayed()[0].pools.get(pool, 0)


@pytest.mark.covers("C3-FR10")
def test_rules_by_schedule_by_class_and_by_weather_block_or_allow_a_cut(tmp_path: Path) -> None:
    """It is a Monday, ten past eleven in Kolkata; each rule once where it blocks, and once where it does not."""
    for name, rules, mine, blocks in (
        ("night", {"protected": {"daily": [{"from": "18:00", "to": "08:00"}]}}, {}, False),
        ("noon", {"protected": {"daily": [{"from": "10:00", "to": "18:00"}]}}, {}, True),
        ("monday", {"protected": {"weekly": [{"days": ["mon"]}]}}, {}, True),
        ("sunday", {"protected": {"weekly": [{"days": ["sun"]}]}}, {}, False),
        ("class", {"protected": {"flags": [{"flag": "medical_device"}]}}, {"flags": ("medical_device",)}, True),
        ("no class", {"protected": {"flags": [{"flag": "medical_device"}]}}, {}, False),
        ("storm", {}, {"holds": ("weather",)}, True),
        ("small load", {"overdraft": [{"days": 30, "up_to_w": 2000}]}, {"contract_w": 2000}, True),
        ("large load", {"overdraft": [{"days": 30, "up_to_w": 2000}]}, {"contract_w": 5000}, False),
    ):
        (tmp_path / name).mkdir()
        home = Home(tmp_path / name, account=mine, **rules)
        home.uses(100)
        assert (name, home.is_cut_ordered) == (name, not blocks)


@pytest.mark.covers_part("C3-FR10")
def test_a_protection_that_ends_is_followed_by_the_cut(tmp_path: Path) -> None:
    home = Home(tmp_path, protected={"daily": [{"from": "16:00", "to": "09:00"}]})
    home.uses(100, hours=6)
    assert not home.is_cut_ordered
    assert home.blocked() == ["protected_hours"]
    assert home.bench.decisions()[-1].reason == "hours"
    assert home.told("PROT") == 1
    home.waits(15 * HOUR_MS)
    assert not home.is_cut_ordered
    for _ in range(4):
        home.waits(15 * MINUTE_MS)
    assert home.is_cut_ordered
    evidence = home.bench.decisions()[-1]
    assert (evidence.verdict, evidence.transition, evidence.policy, evidence.policy_version) == ("cut", "T13", "home", 1)


@pytest.mark.covers("C3-FR24")
@pytest.mark.parametrize(("cadence_s", "in_six_hours"), [(3_600, 6), (900, 24)])
def test_the_low_message_comes_at_its_own_cadence_until_the_supply_is_off(tmp_path: Path, cadence_s: int, in_six_hours: int) -> None:
    home = Home(tmp_path, low={"money": ["100"]}, notice={"cadence_s": cadence_s})
    home.uses(90)
    assert home.told("LOW") + home.told("LOW_BARE") == 1
    for _ in range(24):
        home.waits(15 * MINUTE_MS)
    assert home.told("LOW") + home.told("LOW_BARE") == 1 + in_six_hours
    home.uses(10, hours=0.25)
    home.line_answers()
    told = home.told("LOW") + home.told("LOW_BARE")
    for _ in range(8):
        home.waits(15 * MINUTE_MS)
    assert home.told("LOW") + home.told("LOW_BARE") == told


@pytest.mark.covers_part("C3-N3")
def test_a_signed_change_of_eligibility_takes_effect_on_its_day(tmp_path: Path) -> None:
    day_ms = START_MS + 12 * HOUR_MS
    home = Home(tmp_path, document(1, zero_action="none"), document(2, day_ms // 900_000 * 900_000))
    home.uses(101)
    assert not home.is_cut_ordered
    home.waits(8 * HOUR_MS)
    assert home.is_cut_ordered


def test_a_policy_that_is_not_here_cuts_nobody(tmp_path: Path) -> None:
    home = Home(tmp_path, PolicyDocument("home", 1, 0, '{"kind": "policy"}'))
    home.uses(101)
    assert not home.is_cut_ordered
    assert home.blocked() == ["policy"]


def test_emergency_credit_is_offered_taken_used_and_paid_back_first(tmp_path: Path) -> None:
    home = Home(tmp_path, emergency={"limit": "84", "threshold": "20"})
    home.uses(99)
    assert home.bench.messages()[-1] == "EC_OFFER"
    home.bench.tell(p.EmergencyAccepted(101))
    assert home.told("EC_ON") == 1
    home.uses(6)
    assert (home.pool(Pool.PAID), home.pool(Pool.EMERGENCY)) == (0, -nano("42"))
    assert not home.is_cut_ordered
    home.bench.credit(1, "50")
    assert (home.pool(Pool.PAID), home.pool(Pool.EMERGENCY)) == (nano("8"), 0)
    assert home.bench.replayed()[1] is None


def test_emergency_credit_that_is_used_up_is_followed_by_the_option_at_zero(tmp_path: Path) -> None:
    home = Home(tmp_path, emergency={"limit": "84", "threshold": "20", "auto": True})
    home.uses(105)
    assert not home.is_cut_ordered
    assert home.pool(Pool.EMERGENCY) == -nano("42")
    home.uses(6)
    assert home.pool(Pool.EMERGENCY) == -nano("84")
    assert home.is_cut_ordered
    home.line_answers()
    assert home.bench.kinds().count(Kind.SWITCH) == 1
    cut = next(e for e in home.bench.effects if isinstance(e, p.Announce) and e.code == "CUT")
    asked_nano = int(dict(cut.params)["a"])
    home.bench.credit(1, "84")
    assert home.bench.orders()[-1].close is False
    home.bench.tell(p.InstrumentArrived(home.bench.instrument(1, "1", amount_nano=asked_nano - nano("84"))))
    assert home.bench.orders()[-1].close


@pytest.mark.covers_part("C3-A2.8d", "C3-A2.8c")
@pytest.mark.parametrize(("option", "event"), [("replenish", "replenish_asked"), ("postpaid", "billing_asked")])
def test_where_the_option_is_a_request_supply_goes_on_and_offline_the_account_is_overdrawn(
    tmp_path: Path, option: str, event: str
) -> None:
    home = Home(tmp_path, zero_action=option)
    home.bench.offline()
    home.uses(101)
    home.uses(5)
    assert [BY_CODE[e.code].name for e in home.bench.events()].count(event) == 1
    assert home.told("OVERDRAWN") == 1
    assert not home.is_cut_ordered
    assert home.bench.balance() < 0
    home.bench.online()
    home.bench.credit(1, "500")
    assert home.bench.balance() > 0
    assert home.bench.orders() == []


def test_a_part_of_what_is_owed_buys_days_once(tmp_path: Path) -> None:
    home = Home(tmp_path, restore={"partial": [{"ratio_percent": "50", "days": 3}]}, overdraft=[{"money": "84"}])
    home.uses(115)
    home.line_answers()
    assert home.bench.balance() == -nano("126")
    home.bench.credit(1, "20")
    assert home.is_dark
    home.bench.credit(1, "70")
    home.line_answers()
    assert not home.is_dark
    assert home.bench.balance() == -nano("36")
    home.waits(2 * DAY_MS)
    assert not home.is_dark
    assert home.bench.order().close


@pytest.mark.covers_part("C3-A2.7")
def test_offline_without_a_code_nobody_is_cut_even_where_it_is_allowed(tmp_path: Path) -> None:
    home = Home(tmp_path, account={"keypad_key": b""})
    home.bench.offline()
    home.uses(101)
    assert not home.is_cut_ordered
    assert home.blocked() == ["offline"]
