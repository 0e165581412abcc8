"""Many homes behind one concentrator: cuts by the hour of a feeder and of all, the way back in turn; homes without a switch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.display.story import explained, standing
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.rows import AccountRow, SwitchRow, one
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.events import BY_CODE
from gridtally_shared.lifecycle import Reason
from gridtally_shared.messages.explain import Explanation
from gridtally_shared.meter_settings import LoadLimit, Setting, SettingKind, packed
from gridtally_shared.money import nano
from gridtally_shared.prepay.document import policy_of
from support.prepay_bench import DAY_MS, HOUR_MS, Bench, account_of, serial_of

MINUTE_MS = 60_000


def document(**rules: Any) -> PolicyDocument:
    said = {"kind": "policy", "code": "home", "currency": "INR", "zero_action": "disconnect", "offline": {"cut": "allowed"}, **rules}
    return PolicyDocument("home", 1, 0, json.dumps(said))


class Feeders(Bench):
    """The first half of the homes hangs on the feeder "north", the others on "south", unless the policy names one for all."""

    def configure(self, lease_ms: int = 7 * DAY_MS, share_permille: int = 100, **policy: Any) -> None:
        self.version += 1
        self.policy = self.policy | policy
        numbers = range(1, self.meters + 1)
        accounts = (account_of(n, **{"feeder": "north" if n <= self.meters // 2 else "south"} | self.policy) for n in numbers)
        self.tell(p.ConfigAccepted(m.DcuConfig(
            self.version, "dcu-1", self.now_ms, tuple(m.MeterConfig(n, serial_of(n), 100 + n) for n in numbers), tuple(accounts),
            self.tariffs, share_permille, self.now_ms + lease_ms,
        )))  # fmt: skip

    def use_up(self, *numbers: int) -> None:
        for n in numbers:
            self.credit(n, "8.40")
        self.tell(p.SweepRead(tuple(self.meter_read(n, 1_001_000) for n in numbers)))

    def cut(self) -> list[int]:
        return [o.meter_no for o in self.orders() if not o.close]


def settled(folder: Path, **policy: Any) -> Feeders:
    """Long after the last change of a rule."""
    bench = Feeders(folder, 20, policy)
    bench.wait(2 * DAY_MS)
    bench.trust()
    return bench


def test_one_feeder_loses_no_more_than_its_share_in_an_hour(tmp_path: Path) -> None:
    bench = settled(tmp_path)
    bench.use_up(*range(1, 11))
    assert bench.cut() == [1]
    blocked = {t.name: t for t in bench.decisions(2)[-1].tests if not t.holds}
    assert {q.name: q.value for q in blocked["feeder"].params} == {"cuts": "1", "allowed": "1", "feeder": "north"}
    bench.finish()
    bench.wait(HOUR_MS)
    bench.tell(p.SweepRead(tuple(bench.meter_read(n, 1_001_000) for n in range(2, 11))))
    assert bench.cut() == [1, 2]


def test_the_other_feeder_has_a_share_of_its_own_within_that_of_all(tmp_path: Path) -> None:
    bench = settled(tmp_path)
    bench.use_up(*range(1, 21))
    assert bench.cut() == [1, 11]


def test_a_paid_home_comes_back_whatever_its_feeder_s_share(tmp_path: Path) -> None:
    bench = settled(tmp_path)
    bench.use_up(*range(1, 11))
    bench.finish()
    bench.credit(1, "50")
    assert bench.order().close


def test_where_the_feeder_is_all_homes_the_breaker_still_waits_for_a_person_soon_after_a_change(tmp_path: Path) -> None:
    bench = Feeders(tmp_path, 20, {"feeder": "north"})
    bench.configure(share_permille=120)
    for n in range(1, 21):
        bench.credit(n, "8.40")
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    assert len(bench.cut()) == 2
    assert any("breaker" in e.detail for e in bench.events())
    for _ in range(3):
        bench.wait(HOUR_MS)
        bench.read_all(1_001_000)
    assert len(bench.cut()) == 2


# ---- the way back -------------------------------------------------------------------------------------------


def test_after_a_storm_is_announced_dark_homes_come_back_in_turn_and_a_paid_one_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 12, {"policy_id": "home"}, documents=(document(restore={"spread_s": 3600}),))
    for n in range(1, 13):
        bench.credit(n, "8.40")
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    for order in bench.orders():
        bench.finish(order=order)
    bench.effects.clear()

    bench.configure(holds=("weather",))
    assert [o for o in bench.orders() if o.close] == []
    bench.wait(MINUTE_MS)
    waits = next(n for n in range(1, 13) if n not in [o.meter_no for o in bench.orders()])
    bench.credit(waits, "50")
    assert (bench.orders()[-1].meter_no, bench.orders()[-1].close) == (waits, True)

    came: dict[int, int] = {}
    for minute in range(2, 62):
        bench.wait(MINUTE_MS)
        for order in bench.orders():
            came.setdefault(order.meter_no, minute)
            bench.finish(order=order)
        bench.effects.clear()
    assert sorted(came) == list(range(1, 13))
    assert len(set(came.values())) >= 8
    turns = [d for n in range(1, 13) if n != waits for d in bench.decisions(n) if d.verdict == "restore"]
    assert all(t.holds for d in turns for t in d.tests if t.name == "turn")


# ---- without a switch ---------------------------------------------------------------------------------------


class Switchless(Bench):
    wh = 1_000_000

    def uses(self, wh: int, hours: int = 1) -> None:
        self.now_ms += hours * HOUR_MS
        self.trust()
        self.wh += wh
        self.read(1, self.wh, SwitchState.NOT_FITTED)
        self.tell(p.Tick())

    def names(self) -> list[str]:
        return [BY_CODE[e.code].name for e in self.events()]

    def why(self) -> Explanation:
        row, switch = one(self.db, AccountRow, 101, 1), one(self.db, SwitchRow, 1)
        assert row is not None
        assert switch is not None
        account = replace(account_of(1), policy_id="home")
        rules = policy_of(self.documents[0].document, 1)
        return explained(self.db, row, standing(account, rules, self.replayed()[0], switch, self.now_ms))


def switchless(folder: Path, **rules: Any) -> Switchless:
    bench = Switchless(folder, 1, {"policy_id": "home"}, documents=(document(low={"money": ["10"]}, **rules),))
    bench.credit(1, "20")
    bench.uses(0)
    return bench


@pytest.mark.covers_part("C3-A")
def test_a_home_without_a_switch_is_told_then_somebody_is_sent_and_called_back_when_it_pays(tmp_path: Path) -> None:
    bench = switchless(tmp_path, no_switch={"action": "field_order", "after_days": 2})
    bench.uses(2_000)
    assert bench.messages().count("LOW") + bench.messages().count("LOW_BARE") == 1
    bench.uses(1_000)
    assert bench.messages().count("ZERO") == 1
    assert [s.code for s in bench.why().because] == ["not_fitted"]
    for _ in range(47):
        bench.uses(10)
    assert "field_cut_asked" not in bench.names()
    for _ in range(5):
        bench.uses(10)
    assert bench.names().count("field_cut_asked") == 1
    assert bench.messages().count("FIELD") == 1
    assert [t.name for t in bench.decisions()[-1].tests if not t.holds] == ["switch"]
    said = bench.why()
    assert ([s.code for s in said.because], [s.code for s in said.remedy]) == (["field"], ["pay_field"])

    asked_nano = int(dict(said.remedy[0].params)["a"])
    bench.tell(p.InstrumentArrived(bench.instrument(1, "1", amount_nano=asked_nano)))
    assert bench.names().count("field_cut_called_back") == 1
    assert bench.balance() > 0
    assert [s.code for s in bench.why().because] == []
    assert bench.orders() == []


def test_a_protection_calls_back_who_was_sent(tmp_path: Path) -> None:
    bench = switchless(tmp_path, no_switch={"action": "field_order", "after_days": 0})
    bench.uses(3_000)
    assert bench.names().count("field_cut_asked") == 1
    bench.configure(holds=("medical",))
    assert bench.names().count("field_cut_called_back") == 1
    bench.configure(holds=())
    assert bench.names().count("field_cut_asked") == 2
    assert bench.orders() == []


@pytest.mark.parametrize("rules", [{}, {"no_switch": {"action": "notify"}}])
def test_without_a_rule_a_home_without_a_switch_is_told_and_nothing_else(tmp_path: Path, rules: dict[str, Any]) -> None:
    bench = switchless(tmp_path, **rules)
    for _ in range(30):
        bench.uses(200, hours=24)
    assert bench.balance() < -nano("20")
    assert "field_cut_asked" not in bench.names()
    assert bench.messages().count("ZERO") == 1
    assert bench.orders() == []


LIFELINE = {"zero_action": "limit", "limit": {"steps": [{"code": "lifeline", "watts": 300}], "at_zero": 1}}


def test_without_a_switch_and_without_a_limiter_nothing_is_limited_and_the_account_is_told_what_happens(tmp_path: Path) -> None:
    bench = switchless(tmp_path, **LIFELINE)
    bench.uses(3_000)
    (look,) = (e for e in bench.effects if isinstance(e, p.RunTask))
    assert (look.type, look.settings) == (CommandType.READ_SETTINGS, (Setting(SettingKind.LOAD_LIMIT),))
    assert "STAYS_ON" not in bench.messages()
    bench.tell(p.ReadFinished(look.cmd_id, False, bench.now_ms, reason=Reason.UNSUPPORTED))
    for _ in range(5):
        bench.uses(100)
    assert bench.messages().count("STAYS_ON") == 1
    assert "LIMIT" not in bench.messages()
    assert [e for e in bench.effects if isinstance(e, p.RunTask)] == [look]
    bench.credit(1, "100")
    bench.uses(13_000)
    assert bench.messages().count("STAYS_ON") == 2
    assert bench.orders() == []


def test_without_a_switch_a_limiter_of_the_meter_keeps_the_limit_and_nothing_is_ever_switched(tmp_path: Path) -> None:
    bench = switchless(tmp_path, **LIFELINE)
    bench.uses(3_000)
    (look,) = (e for e in bench.effects if isinstance(e, p.RunTask))
    bench.tell(p.ReadFinished(look.cmd_id, True, bench.now_ms))
    written = next(e for e in bench.effects if isinstance(e, p.RunTask) and e.type == CommandType.WRITE_SETTINGS)
    assert written.settings == (packed(LoadLimit(300, 60)),)
    assert bench.messages().count("LIMIT") == 1
    assert [(d.verdict, all(t.holds for t in d.tests)) for d in bench.decisions() if d.verdict == "limit"]
    bench.tell(p.ReadFinished(written.cmd_id, True, bench.now_ms))
    for _ in range(6):
        bench.uses(2_000)
    assert bench.orders() == []
    assert "STAYS_ON" not in bench.messages()
    bench.credit(1, "500")
    lifted = [e for e in bench.effects if isinstance(e, p.RunTask)][-1]
    assert lifted.settings == (packed(LoadLimit(0, 60)),)


def test_a_cut_that_can_not_be_is_told_as_owed(tmp_path: Path) -> None:
    bench = switchless(tmp_path)
    bench.uses(3_000)
    assert bench.messages().count("STAYS_ON") == 1
